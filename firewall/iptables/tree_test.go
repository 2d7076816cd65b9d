package iptables

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/lease"
)

// someRules are rules of a tree: up to each of so many for some ports of both protocols.
func someRules(random *rand.Rand, ports, each int) rules {
	var all rules
	for range ports {
		protocol, port := []lease.Protocol{lease.TCP, lease.UDP}[random.IntN(2)], uint16(1+random.IntN(65535))
		if random.IntN(2) == 0 {
			port = uint16(2000 + random.IntN(100)) // where it is crowded
		}
		for i := range 1 + random.IntN(each) {
			r := rule{protocol, port, fmt.Sprintf("-p %s -m %[1]s --dport %d -s 192.0.2.%d -j ACCEPT", protocol, port, i)}
			if !slices.Contains(all, r) {
				all = append(all, r)
			}
		}
	}
	slices.SortFunc(all, rule.compare)
	return all
}

func TestFewRulesAreInOneChain(t *testing.T) {
	all := someRules(rand.New(rand.NewPCG(1, 2)), leafSize, 1)
	for n := range leafSize {
		want := []chain{{name: chainDNAT, tree: chainDNAT, rules: all[:n].texts()}}
		if diff := cmp.Diff(want, trees()[0].chains(node{}, all[:n]), cmp.AllowUnexported(chain{})); diff != "" {
			t.Errorf("%d rules (-want +got):\n%s", n, diff)
		}
	}
}

// Each rule is where the ways from the root lead a packet for its port, and on that way are few others.
func TestWaysThroughATree(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for _, size := range []int{1, 30, 300, 10000} {
		all := someRules(random, size, 1)
		for _, tr := range trees() {
			chains := map[string][]string{}
			for _, c := range tr.chains(node{}, all) {
				if chains[c.name] != nil || len(c.name) > 28 || !isOurs(c.name) || c.tree != tr.root {
					t.Errorf("chain %+v is named twice, too long, or strange", c)
				}
				chains[c.name] = c.rules
			}
			used := map[string]bool{}
			for _, r := range all {
				walked := 0
				for at := tr.root; at != ""; {
					used[at] = true
					walked += len(chains[at])
					if slices.Contains(chains[at], r.text) {
						break
					}
					next := ""
					for _, way := range chains[at] {
						if leads(t, tr, way, r) {
							_, next, _ = strings.Cut(way, " -g ")
						}
					}
					if at = next; next == "" {
						t.Fatalf("%s, %d rules: nothing leads to %q", tr.root, len(all), r.text)
					}
				}
				if walked > 2+4*fanOut+leafSize {
					t.Errorf("%d rules: %d are on the way to %q", len(all), walked, r.text)
				}
			}
			if len(used) != len(chains) {
				t.Errorf("%d chains, %d are of use", len(chains), len(used))
			}
		}
	}
}

// leads tells whether a packet for a rule takes a way.
func leads(t *testing.T, tr tree, way string, r rule) bool {
	t.Helper()
	fields := strings.Fields(way)
	value := func(option string) string {
		if i := slices.Index(fields, option); i >= 0 {
			return fields[i+1]
		}
		return ""
	}
	if value("-g") == "" || value("-p") != r.protocol.String() {
		return false
	}
	first, last := 0, 65535
	if ports := value(tr.option); strings.Contains(ports, ":") {
		if _, err := fmt.Sscanf(ports, "%d:%d", &first, &last); err != nil {
			t.Fatal(err)
		}
	} else if ports != "" {
		if _, err := fmt.Sscan(ports, &first); err != nil {
			t.Fatal(err)
		}
		last = first
	}
	return first <= int(r.port) && int(r.port) <= last
}

// Whatever changes, what is left is the tree of what is left, and every single step is one that iptables accepts.
func TestChangesOfATree(t *testing.T) {
	for seed := range uint64(10) {
		random := rand.New(rand.NewPCG(seed, 5))
		tr := trees()[0]
		var have rules
		kernel := chainStore{tr.root: {}}
		for step := range 60 {
			most := []int{1, 3, 40, 400}[random.IntN(4)]
			d := delta{have: slices.Clone(have)}
			for range random.IntN(most + 1) {
				if i := random.IntN(len(have) + 1); i < len(have) && !slices.Contains(d.remove, have[i]) {
					d.remove = append(d.remove, have[i])
				}
			}
			slices.SortFunc(d.remove, rule.compare)
			d.add = someRules(random, random.IntN(most+1), 1+random.IntN(40)).without(have)
			if random.IntN(10) == 0 {
				d.remove, d.add = slices.Clone(have), nil
			}
			var e edit
			tr.change(&e, node{}, d)
			for _, line := range e.lines() {
				kernel.do(t, line)
			}
			have = d.after(true)
			want := chainStore{}
			for _, c := range tr.chains(node{}, have) {
				want[c.name] = slices.Sorted(slices.Values(c.rules))
			}
			if diff := cmp.Diff(want, kernel.sorted()); diff != "" {
				t.Fatalf("seed %d, step %d: (-want +got):\n%s\nafter\n%s", seed, step, diff, strings.Join(e.lines(), "\n"))
			}
		}
	}
}

// A change touches what is near it and no more.
func TestChangesOfATreeAreSmall(t *testing.T) {
	tr, all := trees()[0], someRules(rand.New(rand.NewPCG(6, 7)), 10000, 1)
	for i := 0; i < len(all); i += 100 {
		var e edit
		tr.change(&e, node{}, delta{have: all, remove: all[i : i+1]})
		if n := len(e.lines()); n > leafSize+3*fanOut {
			t.Errorf("%d lines for removing %q", n, all[i].text)
		}
	}
}

// chainStore is what iptables has, by chain.
type chainStore map[string][]string

func (s chainStore) sorted() chainStore {
	sorted := chainStore{}
	for name, rules := range s {
		sorted[name] = slices.Sorted(slices.Values(rules))
	}
	return sorted
}

// do does what iptables-restore --noflush does with a line, and fails where that does.
func (s chainStore) do(t *testing.T, line string) {
	t.Helper()
	command, rest, _ := strings.Cut(line, " ")
	name, text, _ := strings.Cut(rest, " ")
	_, there := s[name]
	fail := func(why string) { t.Helper(); t.Fatalf("%s: %s", line, why) }
	switch {
	case strings.HasPrefix(command, ":"):
		s[command[1:]] = []string{}
		return
	case !there:
		fail("no such chain")
	}
	switch command {
	case "-A":
		for _, way := range []string{" -g ", " -j "} {
			if _, to, leads := strings.Cut(text, way); leads && isOurs(to) && s[to] == nil {
				fail("leads to no chain")
			}
		}
		s[name] = append(s[name], text)
	case "-D":
		i := slices.Index(s[name], text)
		if i < 0 {
			fail("no such rule")
		}
		s[name] = slices.Delete(s[name], i, i+1)
	case "-F":
		s[name] = []string{}
	case "-X":
		if len(s[name]) > 0 {
			fail("the chain has rules")
		}
		for _, rules := range maps.All(s) {
			if slices.ContainsFunc(rules, func(r string) bool { return strings.HasSuffix(r, "-g "+name) || strings.HasSuffix(r, "-j "+name) }) {
				fail("a rule leads to the chain")
			}
		}
		delete(s, name)
	default:
		fail("unknown command")
	}
}

// The ports of each protocol are in chains of their own.
func TestChainNamesOfProtocols(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for n := range (node{}).children() {
		name := trees()[treeHeldAt].name(node{n.protocol, 65528, 65528})
		if seen[name] || len(name) > 28 {
			t.Errorf("%s: %q is another's or too long", n.protocol, name)
		}
		seen[name] = true
	}
	if len(seen) != len(portProtocols()) {
		t.Errorf("names: %v", seen)
	}
}
