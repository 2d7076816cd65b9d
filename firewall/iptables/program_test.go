package iptables

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/portreeve/portreeve/test/netns"
)

func TestMain(m *testing.M) { netns.Main(m) }

// empty makes the network of the tests hold no rules, now and after the test.
func empty(t *testing.T) {
	t.Helper()
	wipe := func() {
		for _, p := range everyProgram(t) {
			tables, err := p.saved(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			for table, have := range tables {
				var lines []string
				for _, chain := range have.names {
					if have.chains[chain].policy == "-" {
						lines = append(lines, "-F "+chain)
					} else {
						lines = append(lines, "-F "+chain, ":"+chain+" ACCEPT [0:0]")
					}
				}
				for _, chain := range have.names {
					if have.chains[chain].policy == "-" {
						lines = append(lines, "-X "+chain)
					}
				}
				if err := p.write(context.Background(), block{table, lines}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	wipe()
	t.Cleanup(wipe)
}

// everyProgram returns both variants, for both versions of IP.
func everyProgram(t *testing.T) []program {
	t.Helper()
	var all []program
	for _, name := range []string{"iptables-nft", "iptables-legacy"} {
		four := installed(t, name)
		six, err := four.forIPv6(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, four, six)
	}
	return all
}

func installed(t *testing.T, name string) program {
	t.Helper()
	p, err := find(context.Background(), name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// put writes lines into a table of a variant.
func put(t *testing.T, name, table string, lines ...string) {
	t.Helper()
	if err := installed(t, name).write(t.Context(), block{table, lines}); err != nil {
		t.Fatal(err)
	}
}

func TestWhichVariant(t *testing.T) {
	for _, tt := range []struct {
		name        string
		nft, legacy []string // lines in the table filter
		want, why   string   // nft is the default of Debian
	}{
		{name: "no rules", want: variantNFT, why: "no variant has rules"},
		{name: "rules in nft", nft: []string{"-A FORWARD -j ACCEPT"}, want: variantNFT, why: "is the default and has rules"},
		{name: "rules in legacy", legacy: []string{"-A FORWARD -j ACCEPT"}, want: variantLegacy, why: "there are rules in iptables-legacy and none in iptables"},
		{name: "policy in legacy", legacy: []string{":FORWARD DROP [0:0]"}, want: variantLegacy, why: "there are rules in iptables-legacy"},
		{name: "empty table in legacy", legacy: []string{"-A FORWARD -j ACCEPT", "-F FORWARD"}, want: variantNFT, why: "no variant has rules"},
		{name: "rules in both", nft: []string{"-A INPUT -j ACCEPT"}, legacy: []string{"-A INPUT -j ACCEPT"}, want: variantNFT, why: "there are rules in iptables-legacy too"},
		{
			name: "rules of ours do not count", nft: []string{":PORTREEVE-FORWARD - [0:0]", "-A FORWARD -m comment --comment portreeve -j PORTREEVE-FORWARD"},
			legacy: []string{"-A INPUT -j ACCEPT"}, want: variantLegacy, why: "none in iptables",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			empty(t)
			put(t, "iptables-nft", "filter", tt.nft...)
			put(t, "iptables-legacy", "filter", tt.legacy...)
			b, err := Open(t.Context(), Options{})
			if err != nil {
				t.Fatal(err)
			}
			if b.four.program.variant != tt.want || !strings.Contains(b.Why(), tt.why) {
				t.Errorf("chose %s, because %q; want %s, because %q", b.Name(), b.Why(), tt.want, tt.why)
			}
		})
	}
}

func TestChooseWhatWorks(t *testing.T) {
	broken := errors.New("no nf_tables in this kernel")
	nft := candidate{program: program{name: "iptables", variant: variantNFT}}
	legacy := candidate{program: program{name: "iptables-legacy", variant: variantLegacy}}
	if best, why, err := choose([]candidate{nft}); err != nil || best.variant != variantNFT || why != "iptables is the only variant installed" {
		t.Errorf("one: %v, %q, %v", best, why, err)
	}
	unread := legacy
	unread.unread = true
	if best, why, err := choose([]candidate{nft, unread}); err != nil || best.variant != variantNFT || !strings.Contains(why, "cannot be read without root") {
		t.Errorf("other cannot be read: %v, %q, %v", best, why, err)
	}
	nft.err = broken
	if _, _, err := choose([]candidate{nft, unread}); !errors.Is(err, broken) {
		t.Errorf("default does not work, other cannot be read: %v", err)
	}
	if best, why, err := choose([]candidate{nft, legacy}); err != nil || best.variant != variantLegacy || why != "only iptables-legacy works on this kernel" {
		t.Errorf("one works: %v, %q, %v", best, why, err)
	}
	legacy.err = broken
	if _, _, err := choose([]candidate{nft, legacy}); !errors.Is(err, broken) {
		t.Errorf("none works: %v", err)
	}
}

// hide makes the folders where distributions keep iptables empty, for this test, in our own mount namespace.
func hide(t *testing.T) {
	t.Helper()
	t.Setenv("PATH", t.TempDir())
	dirs := map[string]bool{}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		target, err := filepath.EvalSymlinks(dir)
		if err != nil {
			t.Fatal(err)
		}
		dirs[target] = true
	}
	for dir := range dirs {
		if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_RDONLY, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(dir, 0); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestMissingProgramNamesThePackage(t *testing.T) {
	hide(t)
	for _, o := range []Options{{}, {Program: "iptables-legacy"}} {
		_, err := Open(t.Context(), o)
		if err == nil || !strings.Contains(err.Error(), "is not installed: install the package iptables (apt install iptables") {
			t.Errorf("error %v, want it to name the package", err)
		}
	}
}

func TestProgramOutsideOfThePath(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := Open(t.Context(), Options{}); err != nil {
		t.Errorf("an ordinary user's path has no iptables: %v", err)
	}
}

func TestLockIsWaitedForAWhile(t *testing.T) {
	empty(t)
	p := installed(t, "iptables-legacy")
	p.lockWait = time.Second
	lock, err := os.OpenFile("/run/xtables.lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	err = p.write(t.Context(), block{"filter", []string{"-A FORWARD -j ACCEPT"}})
	if err == nil || !strings.Contains(err.Error(), "another program has held the lock /run/xtables.lock for more than 1s") {
		t.Errorf("error %v, want it to name the lock", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	if err := p.write(t.Context(), block{"filter", []string{"-A FORWARD -j ACCEPT"}}); err != nil {
		t.Errorf("after the lock was released: %v", err)
	}
}

// What root reads at once an ordinary user with the right capabilities reads table by table.
func TestTablesOneByOne(t *testing.T) {
	empty(t)
	put(t, "iptables-legacy", "filter", "-A FORWARD -j ACCEPT")
	put(t, "iptables-legacy", "nat", "-A POSTROUTING -j MASQUERADE")
	p := installed(t, "iptables-legacy")
	whole, err := p.savedTables(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	delete(whole, "raw") // another test may have made it
	parts, err := p.savedTables(t.Context(), "nat", "filter")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(whole, parts, cmp.AllowUnexported(savedTable{}, savedChain{}, savedRule{})); diff != "" || len(whole) != 2 {
		t.Errorf("%d tables, want 2 (-whole +parts):\n%s", len(whole), diff)
	}
	if !legacyListed(ipv4) {
		t.Error("root may not list the tables")
	}
}

func TestExplain(t *testing.T) {
	failed := errors.New("exit status 4")
	for said, want := range map[string]string{
		"Fatal: can't open lock file /run/xtables.lock: Read-only file system": "must be able to write /run/xtables.lock",
		"Could not fetch rule set generation id: Permission denied":            "needs the capabilities CAP_NET_ADMIN and CAP_NET_RAW",
		"getsockopt failed strangely: Operation not permitted":                 "needs the capabilities",
		"table `nat' is incompatible, use 'nft' tool.":                         "give them a table of another name",
		"line 3 failed\x1b[31m":                                                "exit status 4: line 3 failed[31m",
	} {
		if err := (program{}).explain(failed, said); !errors.Is(err, failed) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is explained as %v, want %q", said, err, want)
		}
	}
}

func TestNothingStartsAfterCancellation(t *testing.T) {
	empty(t)
	p := installed(t, "iptables-nft")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.write(ctx, block{"filter", []string{"-A FORWARD -j ACCEPT"}}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that it was cancelled", err)
	}
	if tables, err := p.saved(t.Context()); err != nil || tables["filter"] != nil && len(tables["filter"].chains["FORWARD"].rules) > 0 {
		t.Errorf("it was started: %v, %v", tables, err)
	}
}
