package passage_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"log/slog"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/firewall/passage"
	"github.com/portreeve/portreeve/test/netns"
)

func TestMain(m *testing.M) { netns.Main(m) }

// ours is our rule as nft prints it.
const ours = `ct status dnat ct mark & 0x10000000 == 0x10000000 accept comment "portreeve: mapped connections"`

// nft runs nft with a script.
func nft(t *testing.T, script string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "nft", "-f", "-")
	// Old versions of nft want each closing brace on a line of its own.
	cmd.Stdin = strings.NewReader(strings.NewReplacer("; } }", ";\n}\n}", "; }", ";\n}", "} }", "}\n}").Replace(script) + "\n")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("nft: %v\n%s\n%s", err, out, script)
	}
	return string(out)
}

// load replaces all rules.
func load(t *testing.T, script string) {
	t.Helper()
	nft(t, "flush ruleset\n"+script)
	t.Cleanup(func() { _ = exec.CommandContext(context.Background(), "nft", "flush", "ruleset").Run() })
}

func ruleset(t *testing.T) string {
	t.Helper()
	return nft(t, "list ruleset")
}

// forward is a ruleset with a table "inet filter" whose chain at the forward hook has these rules.
func forward(policy, rules string) string {
	return `table inet filter {
		set banned { type ipv4_addr; elements = { 198.51.100.7 }; }
		map hosts { type ipv4_addr : verdict; elements = { 192.168.1.9 : accept, 192.168.1.66 : drop }; }
		chain zones { jump wan; }
		chain wan { counter; reject; }
		chain log_only { ip saddr @banned drop; counter; }
		chain detour { goto log_only; }
		chain further { goto detour; }
		chain open { counter; ct status dnat accept; }
		chain ajar { iifname wan0 return; ct status dnat accept; }
		chain forward { type filter hook forward priority filter; policy ` + policy + ";\n" + rules + "\n} }"
}

func TestWhereOurRuleIsPut(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		next         string // what follows our rule; "}" is the end of the chain
	}{
		{"policy drops", forward("drop", "ct state established,related accept"), "}"},
		{"last rule drops", forward("accept", "ct state established,related accept\niifname br-lan accept\ncounter drop"), "counter packets 0 bytes 0 drop"},
		{"behind whom the owner has banned", forward("drop", "ip saddr @banned drop\nip saddr 192.0.2.0/24 drop\niifname br-lan accept\nreject"), "reject"},
		{"behind what is no connection", forward("drop", "ct state invalid drop\nmeta nfproto ipv6 drop\nreject"), "reject"},
		{"behind a verdict map that accepts what is established", forward("drop", "ct state vmap { established : accept, related : accept, invalid : drop }\nreject"), "reject"},
		{"behind a verdict map with intervals", forward("drop", "tcp dport vmap { 80-90 : accept, 443 : continue }\nreject"), "reject"},
		{"before a verdict map that drops what is new", forward("accept", "ct state vmap { established : accept, new : drop }"), "ct state vmap"},
		{"before a verdict map that leads to a chain that rejects", forward("accept", "iifname br-lan accept\niifname vmap { wan0 : jump zones }"), "iifname vmap"},
		{"before a map of the owner's", forward("accept", "ct state established accept\nip daddr vmap @hosts"), "ip daddr vmap @hosts"},
		{"behind what a map has for the other family", forward("accept", "meta nfproto vmap { ipv4 : jump log_only, ipv6 : jump zones }\nreject"), "reject"},
		{"before a chain that rejects, two jumps away", forward("accept", "ct state established accept\njump log_only\njump zones"), "jump zones"},
		{"before a goto to what leaves the rest to the policy", forward("drop", "iifname br-lan accept\niifname wan0 goto log_only\ncounter accept"), `iifname "wan0" goto log_only`},
		{"before a goto, two gotos away", forward("drop", "iifname br-lan accept\ngoto further"), "goto further"},
		{"before a goto to a chain that rejects", forward("accept", "iifname br-lan accept\ngoto zones"), "goto zones"},
		{"before a goto to what returns some to the policy", forward("drop", "iifname br-lan accept\ngoto ajar"), "goto ajar"},
		{"before what is returned to the policy", forward("drop", "iifname br-lan accept\niifname wan0 return\ncounter accept"), `iifname "wan0" return`},
		{"behind a goto that a jump comes back from", forward("drop", "jump further\nreject"), "reject"},
		{"behind a goto to what accepts all that is translated", forward("drop", "iifname wan0 goto open"), "}"},
		{"in a table of IPv4", "table ip mine { chain f { type filter hook forward priority 10; policy drop; } }", "}"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			load(t, tt.script)
			before := ruleset(t)
			p := passage.New(nil)
			if opened, err := p.Sync(t.Context()); err != nil || opened != 1 {
				t.Fatalf("opened %d chains, want 1; error %v", opened, err)
			}
			_, behind, found := strings.Cut(ruleset(t), ours+"\n")
			if !found || !strings.HasPrefix(strings.TrimSpace(behind), tt.next) {
				t.Errorf("want our rule before %q:\n%s", tt.next, ruleset(t))
			}
			same(t, "our rule is all that was added", before, strings.ReplaceAll(ruleset(t), "\t\t"+ours+"\n", ""))

			opened := ruleset(t)
			if n, err := p.Sync(t.Context()); err != nil || n != 0 {
				t.Errorf("again: opened %d chains; error %v", n, err)
			}
			same(t, "doing it again changes nothing", opened, ruleset(t))
			if err := p.Clear(t.Context()); err != nil {
				t.Fatal(err)
			}
			same(t, "as before when it is cleared", before, ruleset(t))
			if err := p.Clear(t.Context()); err != nil {
				t.Errorf("clear again: %v", err)
			}
		})
	}
}

func TestWhereNoRuleIsNeeded(t *testing.T) {
	for name, script := range map[string]string{
		"no rules at all":                                 "",
		"policy accepts":                                  forward("accept", "ct state established accept\niifname br-lan counter"),
		"all that is translated is accepted":              forward("drop", "ct state established,related accept\ncounter ct status dnat accept\nct state invalid drop\nreject"),
		"only the banned are dropped":                     forward("accept", "jump log_only"),
		"a goto leaves the rest to a policy that accepts": forward("accept", "goto further"),
		"a return, too":                                   forward("accept", "iifname wan0 return"),
		"a goto to what accepts, and so does the rest":    forward("drop", "iifname wan0 goto open\nct status dnat accept\nreject"),
		"IPv6":                              "table ip6 filter { chain forward { type filter hook forward priority 0; policy drop; } }",
		"IPv6 in a common table":            forward("accept", "meta nfproto ipv6 jump zones"),
		"another hook":                      "table inet filter { chain input { type filter hook input priority 0; policy drop; } }",
		"a table that is not in force":      "table inet filter { flags dormant; chain forward { type filter hook forward priority 0; policy drop; } }",
		"the chain of iptables, left to it": "table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; } }",
	} {
		t.Run(name, func(t *testing.T) {
			load(t, script)
			before := ruleset(t)
			if opened, err := passage.New(nil).Sync(t.Context()); err != nil || opened != 0 {
				t.Errorf("opened %d chains, want none; error %v", opened, err)
			}
			same(t, "untouched", before, ruleset(t))
		})
	}
}

// What others have done to our rule is mended, and it goes when the owner makes it needless.
func TestOurRuleIsMended(t *testing.T) {
	want := forward("drop", "iifname br-lan accept\n"+ours+"\nreject")
	for name, script := range map[string]string{
		"twice":                            forward("drop", ours+"\niifname br-lan accept\n"+ours+"\nreject"),
		"behind the rule that drops":       forward("drop", "iifname br-lan accept\nreject\n"+ours),
		"too early":                        forward("drop", ours+"\niifname br-lan accept\nreject"),
		"a rule of another version of us":  forward("drop", "iifname br-lan accept\n"+`accept comment "portreeve: mapped connections"`+"\nreject"),
		"our rule in place, as it must be": want,
		"it is gone":                       forward("drop", "iifname br-lan accept\nreject"),
	} {
		t.Run(name, func(t *testing.T) {
			load(t, want)
			wanted := ruleset(t)
			load(t, script)
			if _, err := passage.New(nil).Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
			same(t, "the chain", wanted, ruleset(t))
		})
	}
	t.Run("needless", func(t *testing.T) {
		load(t, forward("accept", ours))
		if opened, err := passage.New(nil).Sync(t.Context()); err != nil || opened != 0 {
			t.Errorf("opened %d chains, want none; error %v", opened, err)
		}
		if strings.Contains(ruleset(t), "portreeve") {
			t.Errorf("our rule is still there:\n%s", ruleset(t))
		}
	})
}

// A program can reserve its table. Then its owner is told, and the other chains are opened all the same.
func TestTableThatIsReserved(t *testing.T) {
	load(t, forward("drop", ""))
	reserve(t, "add table inet theirs { flags owner; }; add chain inet theirs forward { type filter hook forward priority 1; policy drop; }")
	var log bytes.Buffer
	p := passage.New(slog.New(slog.NewTextHandler(&log, nil)))
	check := func(when string) {
		t.Helper()
		problems := p.Check(t.Context())
		if len(problems) != 1 || !strings.Contains(problems[0].What, "inet theirs forward") || !strings.Contains(problems[0].Do, "ct status dnat") {
			t.Errorf("%s: %+v, want one problem about inet theirs forward", when, problems)
		}
	}
	before := ruleset(t)
	check("before the start")
	same(t, "check changes nothing", before, ruleset(t))
	for range 2 {
		if _, err := p.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	check("while it runs")
	if n := strings.Count(ruleset(t), ours); n != 1 {
		t.Errorf("%d rules of ours, want one, in the other table:\n%s", n, ruleset(t))
	}
	if n := strings.Count(log.String(), "inet theirs forward"); n != 1 {
		t.Errorf("logged %d times, want once:\n%s", n, &log)
	}
	if err := p.Clear(t.Context()); err != nil {
		t.Error(err)
	}
	same(t, "cleared", before, ruleset(t))
}

func TestCancelled(t *testing.T) {
	load(t, forward("drop", ""))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	before := ruleset(t)
	if _, err := passage.New(nil).Sync(ctx); err == nil {
		t.Error("no error")
	}
	same(t, "nothing was written", before, ruleset(t))
}

// reserve runs a command in an nft that stays, so that its tables stay its own.
func reserve(t *testing.T, command string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "nft", "--interactive")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		_ = cmd.Wait() // it was cancelled
	})
	if _, err := io.WriteString(stdin, command+"\nlist tables\n"); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		if strings.HasSuffix(lines.Text(), "table inet theirs") {
			return
		}
		if strings.Contains(lines.Text(), "Error") {
			t.Fatalf("nft: %s", lines.Text())
		}
	}
	t.Fatal("nft has ended")
}

func same(t *testing.T, what, want, got string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}
