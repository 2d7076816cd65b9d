package main

import (
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// policyRuleID returns the ID of the owner's rule of a name.
func (r *router) policyRuleID(name string) string {
	r.t.Helper()
	for _, rule := range r.leases.Snapshot().Own.Rules {
		if rule.Name == name {
			return string(rule.ID)
		}
	}
	r.t.Fatalf("there is no policy rule %q", name)
	return ""
}

// policy runs a command that works and compares what it prints, with ID for each ID.
func (r *router) policy(want string, args ...string) {
	r.t.Helper()
	rules := r.leases.Snapshot().Own.Rules
	out, complaints, code := r.do(append([]string{"policy"}, args...)...)
	for _, rule := range append(rules, r.leases.Snapshot().Own.Rules...) {
		out = strings.ReplaceAll(out, string(rule.ID), "ID")
	}
	if out != strings.TrimLeft(want, "\n") || code != 0 || complaints != "" {
		r.t.Errorf("portreeve policy %s: exit code %d, %s, printed\n%swant\n%s", strings.Join(args, " "), code, complaints, out, want)
	}
}

func TestPolicyEdit(t *testing.T) {
	r := newRouter(t)
	l, err := r.leases.Open(t.Context(), lease.Request{
		Mapping: lease.Mapping{Protocol: lease.UDP, External: netip.AddrPortFrom(netip.Addr{}, 3074), Internal: netip.MustParseAddrPort("192.168.1.20:3074")},
		Origin:  lease.OriginUPnP, Client: netip.MustParseAddr("192.168.1.20"), Lifetime: time.Hour + 30*time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	r.policy(`
policy rule "night" added: denies everything to devices 192.168.1.20
nothing has been changed: this is what would be
not allowed any more is the lease ID: udp 3074 to 192.168.1.20:3074, of 02:00:00:00:00:20: rule "night" denies port 3074; it lasts another 1h 0m and is not renewed
--close closes them at once
`, "add", "--name", "night", "--action", "deny", "--devices", "192.168.1.20", "--dry-run")
	if own := r.leases.Snapshot().Own; len(own.Rules) != 0 {
		t.Errorf("tried, and done: %+v", own)
	}
	r.policy(`
policy rule ID "games" added: allows tcp/udp on ports 3074, 5000-5010 asked by upnp, pcp at Sat-Sun 10:00-20:00 with 4 mappings for each device for at most 2h 0m
`, "add", "--name", "games", "--action", "allow", "--ports", "3074,5000-5010", "--by", "upnp,pcp", "--protocol", "both", "--schedule", "Sat-Sun 10:00-20:00",
		"--mappings-per-device", "4", "--max-lifetime", "2h")
	r.policy(`
policy rule ID "night" added: denies everything to devices `+nasMAC+`
not allowed any more is the lease ID: udp 3074 to 192.168.1.20:3074, of 02:00:00:00:00:20: rule "night" denies port 3074; it lasts another 1h 0m and is not renewed
--close closes them at once
`, "add", "--name", "night", "--action", "deny", "--devices", nasMAC, "--position", "2")
	out, _, _ := r.do("policy", "list")
	for _, want := range []string{
		`1 +- +no torrents +config +never since [0-9T:Z+-]+ +denies tcp on ports 6881-6889\n`,
		`2 +[0-9a-z]{8} +night +cli +never since [0-9T:Z+-]+ +denies everything to devices 02:00:00:00:00:20\n`,
		`3 +[0-9a-z]{8} +games +cli +never since [0-9T:Z+-]+ +allows tcp/udp on ports 3074, 5000-5010 asked by upnp, pcp at Sun,Sat 10:00-20:00 with 4 mappings for each device for at most 2h 0m\n`,
		`then +- +- +default +1 times, last [0-9T:Z+-]+ +allows 1024-65535\n$`,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("the list has no %s:\n%s", want, out)
		}
	}
	r.policy(`
policy rule ID "games" changed: allows everything asked by upnp, pcp
not allowed any more is the lease ID: udp 3074 to 192.168.1.20:3074, of 02:00:00:00:00:20: rule "night" denies port 3074; it lasts another 1h 0m and is not renewed
--close closes them at once
`, "edit", "games", "--protocol", "any", "--ports", "", "--schedule", "", "--mappings-per-device", "0", "--max-lifetime", "")
	r.policy(`
policy rule ID "games" is at position 2
`, "move", r.policyRuleID("games"), "first")
	r.policy(`
policy rule ID "games" is at position 3
nothing has been changed: this is what would be
not allowed any more is the lease ID: udp 3074 to 192.168.1.20:3074, of 02:00:00:00:00:20: rule "night" denies port 3074; it would be closed
`, "move", "games", "3", "--dry-run", "--close")
	if _, there := r.leases.Snapshot().ByID(l.ID); !there {
		t.Error("the dry run has closed the lease")
	}
	r.policy(`
policy rule ID "games" is at position 3
not allowed any more is the lease ID: udp 3074 to 192.168.1.20:3074, of 02:00:00:00:00:20: rule "night" denies port 3074; it is closed
`, "move", "games", "last", "--close")
	if _, there := r.leases.Snapshot().ByID(l.ID); there {
		t.Error("the lease is not closed")
	}
	r.policy("policy rule ID \"night\" is disabled\n", "disable", "night")
	r.policy(`
policy rule ID "night" changed: asks about tcp/udp/sctp to devices `+nasMAC+` to clients 192.168.1.0/28, 2001:db8::1 described as "game" (switched off)
`, "edit", "night", "--action", "ask", "--clients", "192.168.1.0/28,2001:db8::1", "--description", "game", "--protocol", "both,sctp")
	r.policy("policy rule ID \"night\" is enabled\n", "enable", "night")
	if own := r.leases.Snapshot().Own; own.Rules[0].Disabled || !own.Rules[0].Ask || own.Rules[0].Description != "game" {
		t.Errorf("the rule is %+v", own.Rules[0])
	}
	r.fails(exitNotFound, `there is no policy rule "x": portreeve policy list shows them all`, "policy", "remove", "games", "x")
	r.policy("policy rule ID \"games\" removed\npolicy rule ID \"night\" removed\n", "remove", "games", "night")
	if own := r.leases.Snapshot().Own; len(own.Rules) != 0 {
		t.Errorf("left: %+v", own.Rules)
	}
}

func TestPolicySet(t *testing.T) {
	r := newRouter(t)
	r.policy("policy set\n", "set", "--never", "25,6000-6010", "--ports", "none", "--default", "deny", "--mappings-per-device", "32", "--mappings", "64",
		"--lifetime", "upnp=1m-12h", "--lifetime", "pcp=2m-1d")
	out, _, _ := r.do("policy", "show")
	for _, want := range []string{
		`ports +none +owner`, `never +25, 6000-6010 +owner`, `otherwise +what no rule allows is denied +owner`, `mappings +32 for each device +owner`, ` +64 for all +owner`,
		`lifetime +by upnp 1m 0s to 12h 0m +owner`, `lifetime +by nat-pmp 1s to 1d 0h +default`, `pool +203.0.113.20, 203.0.113.21 +config`,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("the policy has no %s:\n%s", want, out)
		}
	}
	r.policy("policy set\n", "set", "--preset", "everything")
	if own := r.leases.Snapshot().Own; own.Ports.String() != "1-65535" || own.Never.String() != "21, 23, 135, 137-139, 445, 3389" || own.DefaultDeny != nil {
		t.Errorf("everything: %+v", own)
	}
	r.policy("policy set\n", "set", "--unset", "never", "--unset", "ports", "--unset", "default", "--unset", "mappings", "--unset", "mappings-per-device",
		"--unset", "lifetime=upnp", "--lifetime", "pcp=1m-1h")
	own := r.leases.Snapshot().Own
	if own.Never != nil || own.Ports != nil || own.DefaultDeny != nil || own.Mappings != 0 || own.MappingsPerDevice != 0 || len(own.Lifetimes) != 1 || own.Lifetimes[lease.OriginPCP].Max != time.Hour {
		t.Errorf("left: %+v", own)
	}
}

func TestPolicyComplaints(t *testing.T) {
	r := newRouter(t)
	if _, complaints, code := r.do("policy", "add", "--name", "mine", "--action", "deny"); code != 0 {
		t.Fatal(complaints)
	}
	for _, tt := range []struct {
		code int
		want string
		args string
	}{
		{exitUsage, `portreeve: --action is "", allowed are allow, ask and deny`, "add"},
		{
			exitUsage, "portreeve: --action is \"drop\", allowed are allow, ask and deny\n" +
				"  --ports is \"0\", allowed is a port from 1 to 65535, or a range such as 5000-5010\n" +
				"  --schedule is wrong: \"nights\": a window needs a beginning and an end, such as 16:00-22:00\n" +
				"  --mappings-per-device is -1, allowed are 1 to 65535, and 0 to leave it as it is otherwise\n" +
				"  --networks is \"a/b\", allowed is the name of an interface, of at most 15 characters\n" +
				"  --devices is \"nas\", allowed is a MAC address such as 02:00:00:00:00:10, or the address of a device that is there\n" +
				"  --by is \"http\", allowed are upnp, nat-pmp and pcp\n" +
				"  --protocol has \"icmp\", allowed are tcp, udp, sctp, udplite and dccp, and none for all\n",
			"add --action drop --networks a/b --devices nas --by http --protocol icmp --ports 0 --schedule nights --mappings-per-device -1",
		},
		{exitUsage, `--max-lifetime is "long": allowed is such as 90m, 4h, 2d or 1d12h`, "add --action allow --max-lifetime long"},
		{exitUsage, `--position is "1": allowed are 2 to 3, first and last; what comes before is in the configuration file`, "add --action allow --position 1"},
		{exitUsage, `the position is "4": allowed are 2 to 2, first and last`, "move mine 4"},
		{exitForbidden, `the policy rule "no torrents" is in the configuration file: change it there`, "move no+torrents 1"},
		{exitUsage, "nothing is to be changed", "edit mine --dry-run"},
		{exitUsage, "nothing is to be set", "set --close"},
		{exitUsage, `--mappings is 0: allowed are 1 to 65535; --unset mappings gives it back`, "set --mappings 0"},
		{exitUsage, `--lifetime is "upnp": allowed is a protocol with the shortest and the longest time`, "set --lifetime upnp"},
		{exitUsage, `--preset is "all": allowed are high, web, everything, nothing`, "set --preset all"},
		{exitUsage, `--unset is "all": allowed are default, lifetime=nat-pmp, lifetime=pcp, lifetime=upnp, mappings, mappings-per-device, never, ports`, "set --unset all"},
		{
			exitUsage, "portreeve: --never is \"x\", allowed is a port from 1 to 65535, or a range such as 5000-5010\n" +
				"  --default is \"maybe\", allowed are allow and deny\n" +
				"  --lifetime (via) is \"stun\", allowed are upnp, nat-pmp and pcp\n" +
				"  --lifetime (max_seconds) is 60, allowed are 3600, which is min_seconds, to 604800\n",
			"set --never x --default maybe --lifetime stun=1m-2m --lifetime upnp=1h-1m",
		},
	} {
		args := strings.Fields(tt.args)
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "+", " ")
		}
		r.fails(tt.code, tt.want, append([]string{"policy"}, args...)...)
	}
	if own := r.leases.Snapshot().Own; own.Version != 2 || len(own.Rules) != 1 {
		t.Errorf("something was applied: %+v", own)
	}
}
