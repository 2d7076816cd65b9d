package nftables

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	goiptables "github.com/coreos/go-iptables/iptables"
	"github.com/google/nftables"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/firewall/passage"
)

// xtables is the chain FORWARD of one variant of iptables or ip6tables. Other chains that may drop what a lease lets in are
// opened by package passage. Here the rule is made by iptables itself: one of nf_tables' own expressions in a chain of
// iptables-nft makes it refuse to list the table ever after, and a chain of iptables-legacy is not in nf_tables at all.
type xtables struct {
	program string
	kind    passage.Kind
	wanted  bool // connections of the kind shall pass
	tool    *goiptables.IPTables
	state   xtablesState
}

// Where the rule is: the only place in which iptables is meant to drop forwarded packets.
const (
	xtablesTable = "filter"
	xtablesChain = "FORWARD"
)

// xtablesRule accepts connections of a kind, and nothing else.
func xtablesRule(k passage.Kind) []string {
	var match []string
	if k == passage.Mapped {
		match = []string{"-m", "conntrack", "--ctstate", "DNAT"}
	}
	return append(match, "-m", "connmark", "--mark", fmt.Sprintf("%#x/%#[1]x", firewall.Mark),
		"-m", "comment", "--comment", k.Comment(), "-j", "ACCEPT")
}

// xtablesFamily is what iptables or ip6tables of one kind go by.
type xtablesFamily struct {
	kind     passage.Kind
	family   nftables.TableFamily
	protocol goiptables.Protocol
	program  string
	names    string // file in which the kernel lists the tables of the legacy variant
	module   string // of that variant's table
}

func xtablesFamilies() []xtablesFamily {
	return []xtablesFamily{
		{passage.Mapped, nftables.TableFamilyIPv4, goiptables.ProtocolIPv4, "iptables", "ip_tables_names", "iptable_filter"},
		{passage.Pinholes, nftables.TableFamilyIPv6, goiptables.ProtocolIPv6, "ip6tables", "ip6_tables_names", "ip6table_filter"},
	}
}

// ways says what shall pass the chains of iptables. Mapped connections always shall.
type ways struct {
	pinholes bool // so shall they
	sweep    bool // they need not, but there may be a rule for them
}

// findXtables returns the chains of the variants in use, and what keeps others from being looked after, by the names of
// their programs.
func findXtables(all []*nftables.Chain, w ways) (found []*xtables, lost map[string]error) {
	lost = map[string]error{}
	for _, f := range xtablesFamilies() {
		wanted := f.kind == passage.Mapped || w.pinholes
		if !wanted && !w.sweep {
			continue
		}
		for _, program := range f.inUse(all) {
			x, err := openXtables(f, program, wanted)
			switch {
			case err == nil:
				found = append(found, x)
			case wanted:
				lost[program] = err
			}
		}
	}
	return found, lost
}

// inUse returns the programs of the variants that have the chain.
func (f xtablesFamily) inUse(all []*nftables.Chain) []string {
	var programs []string
	if slices.ContainsFunc(all, func(c *nftables.Chain) bool { return isXtables(c) && c.Table.Family == f.family }) {
		programs = append(programs, f.program+"-nft")
	}
	if f.legacyInUse() {
		programs = append(programs, f.program+"-legacy")
	}
	return programs
}

// isXtables tells whether a chain is that of iptables-nft or ip6tables-nft, which give their tables and chains the names of
// old.
func isXtables(c *nftables.Chain) bool {
	return c.Table.Family != nftables.TableFamilyINet && c.Table.Name == xtablesTable && c.Name == xtablesChain
}

// legacyInUse tells whether the legacy variant of some family has a table filter.
func legacyInUse() bool {
	return slices.ContainsFunc(xtablesFamilies(), xtablesFamily.legacyInUse)
}

// legacyInUse tells whether the legacy variant has a table filter. Asking itself would make one.
func (f xtablesFamily) legacyInUse() bool {
	tables, err := os.ReadFile("/proc/thread-self/net/" + f.names)
	if errors.Is(err, fs.ErrPermission) {
		// The kernel tells only root. A module that nothing uses is seldom loaded.
		_, err := os.Stat("/sys/module/" + f.module)
		return err == nil
	}
	return err == nil && slices.Contains(strings.Fields(string(tables)), xtablesTable)
}

// legacyTranslates tells whether the legacy variant of IPv4 may translate: it has rules in the table nat. Where that cannot be
// told it may.
func legacyTranslates(ctx context.Context) bool {
	tables, err := os.ReadFile("/proc/thread-self/net/ip_tables_names")
	if err != nil || !slices.Contains(strings.Fields(string(tables)), "nat") {
		return err != nil && !errors.Is(err, fs.ErrNotExist)
	}
	out, err := exec.CommandContext(ctx, "iptables-legacy", "-t", "nat", "-S", "POSTROUTING").Output()
	return err != nil || strings.Contains(string(out), "\n-A ")
}

// openXtables finds an installed variant, in the path or where distributions keep it when the path is that of an ordinary
// user, and reads the chain.
func openXtables(f xtablesFamily, program string, wanted bool) (*xtables, error) {
	path, err := exec.LookPath(program)
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if err != nil {
			path, err = exec.LookPath(filepath.Join(dir, program))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s is not installed, though the router has rules of it: %w", program, err)
	}
	const lockWait = 5 // seconds
	tool, err := goiptables.New(goiptables.Path(path), goiptables.IPFamily(f.protocol), goiptables.Timeout(lockWait))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", program, err)
	}
	lines, err := tool.List(xtablesTable, xtablesChain)
	if err != nil {
		return nil, fmt.Errorf("%s: list %s: %w", program, xtablesChain, err)
	}
	return &xtables{program, f.kind, wanted, tool, parseXtables(lines, f.kind)}, nil
}

// xtablesState is what matters of the chain.
type xtablesState struct {
	mayDrop     bool // what shall pass
	established bool // it accepts established connections by the state of the connection
	place       int  // how many rules of others belong in front of ours
	ours        int  // rules of ours
	behind      int  // how many rules of others are in front of the last one of ours
}

// parseXtables reads what "iptables -S FORWARD" prints: the policy, then the rules. Our rule belongs right in front of the
// first rule that may drop what it accepts: mostly that is behind the one that accepts established connections, so that
// only their first packets meet ours. Whatever is not plainly harmless may drop.
func parseXtables(lines []string, k passage.Kind) xtablesState {
	var s xtablesState
	rules, policyDrops := 0, false
	for _, line := range lines {
		r := parseXtablesRule(line)
		switch {
		case strings.HasPrefix(line, "-P "):
			policyDrops = !strings.HasSuffix(line, " ACCEPT")
			continue
		case r.comment == k.Comment():
			s.ours++
			s.behind = rules
			continue
		case !r.harmless() && !s.mayDrop:
			s.mayDrop, s.place = true, rules
		}
		s.established = s.established || r.target == "ACCEPT" && strings.Contains(r.states, "ESTABLISHED")
		rules++
	}
	if policyDrops && !s.mayDrop {
		s.mayDrop, s.place = true, rules
	}
	return s
}

// xtablesEntry is what matters of a rule.
type xtablesEntry struct {
	target  string // empty: it only counts
	comment string
	states  string // that it is for
	sender  bool   // it is for some senders only
}

// parseXtablesRule reads a line of "iptables -S". Texts stand between quotation marks unless they are one plain word.
func parseXtablesRule(line string) xtablesEntry {
	var r xtablesEntry
	words := regexp.MustCompile(`"(?:\\.|[^"\\])*"|\S+`).FindAllString(line, -1)
	negated := func(i int) bool { return i > 0 && words[i-1] == "!" }
	for i := 0; i+1 < len(words); i++ {
		value := words[i+1]
		switch words[i] {
		case "-j", "-g":
			r.target = value
		case "--comment":
			r.comment = strings.Trim(value, `"`)
		case "--ctstate", "--state":
			if !negated(i) {
				r.states = value
			}
		case "-s":
			r.sender = !negated(i)
		default:
			continue
		}
		i++
	}
	return r
}

// harmless tells whether a rule cannot drop what shall pass. Whom the owner blocks by the sender's address stays blocked.
func (r xtablesEntry) harmless() bool {
	switch r.target {
	case "", "ACCEPT", "LOG", "NFLOG":
		return true
	case "DROP", "REJECT":
		return r.sender || r.states == "INVALID"
	default:
		return false
	}
}

// done tells whether our rule is where it should be: there once, or not there if it is not needed.
func (x *xtables) done() bool {
	if x.needed() {
		return x.state.ours == 1 && x.state.behind == x.state.place
	}
	return x.state.ours == 0
}

func (x *xtables) needed() bool { return x.wanted && x.state.mayDrop }

// mend makes it so.
func (x *xtables) mend() error {
	if err := x.clear(); err != nil {
		return err
	}
	if !x.needed() {
		return nil
	}
	if err := x.tool.Insert(xtablesTable, xtablesChain, x.state.place+1, xtablesRule(x.kind)...); err != nil {
		return fmt.Errorf("%s: insert a rule: %w", x.program, err)
	}
	return nil
}

// clear takes our rule away.
func (x *xtables) clear() error {
	for range x.state.ours {
		if err := x.tool.Delete(xtablesTable, xtablesChain, xtablesRule(x.kind)...); err != nil {
			return fmt.Errorf("%s: delete our rule: %w", x.program, err)
		}
	}
	return nil
}
