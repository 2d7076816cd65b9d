package nftables

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	goiptables "github.com/coreos/go-iptables/iptables"
	"github.com/google/nftables"

	"github.com/portreeve/portreeve/firewall"
)

// xtablesGate is a gate that iptables looks after, in one of its variants. The rule there is made by iptables itself: one
// of nf_tables' own expressions in a chain of iptables-nft makes it refuse to list the table ever after, and a chain of
// iptables-legacy is not in nf_tables at all.
type xtablesGate struct {
	program string
	tool    *goiptables.IPTables
	state   xtablesState
}

// The programs of the variants.
const (
	xtablesNFT    = "iptables-nft"
	xtablesLegacy = "iptables-legacy"
)

// Where the rule is: the only place in which iptables is meant to drop forwarded packets.
const (
	xtablesTable = "filter"
	xtablesChain = "FORWARD"
)

// xtablesRule is the rule of a gate, see [gateRule].
func xtablesRule() []string {
	return []string{
		"-m", "conntrack", "--ctstate", "DNAT", "-m", "connmark", "--mark", fmt.Sprintf("%#x/%#[1]x", firewall.Mark),
		"-m", "comment", "--comment", gateComment, "-j", "ACCEPT",
	}
}

// isXtables tells whether a chain belongs to iptables-nft, which gives its tables and chains the names of old.
func isXtables(c *nftables.Chain) bool {
	return c.Table.Family == nftables.TableFamilyIPv4 && c.Name == xtablesChain &&
		slices.Contains([]string{xtablesTable, "mangle", "security"}, c.Table.Name)
}

// xtablesGates returns the gates of iptables and those chains that it does not look after.
func xtablesGates(chains []*nftables.Chain) (gates []gate, rest []*nftables.Chain) {
	isFilter := func(c *nftables.Chain) bool { return isXtables(c) && c.Table.Name == xtablesTable }
	rest = slices.DeleteFunc(slices.Clone(chains), isXtables)
	if slices.ContainsFunc(chains, isFilter) {
		g, err := openXtables(xtablesNFT)
		switch {
		case err == nil:
			gates = append(gates, g)
		case g != nil:
			// It is there and cannot read the chain, so the chain was made with nft in spite of its name.
			rest = chains
		default:
			gates = append(gates, lostGate{xtablesNFT, err})
		}
	}
	if legacyInUse() {
		g, err := openXtables(xtablesLegacy)
		if err == nil {
			gates = append(gates, g)
		} else {
			gates = append(gates, lostGate{xtablesLegacy, err})
		}
	}
	return gates, rest
}

// legacyInUse tells whether iptables-legacy has a table filter. Asking itself would make one.
func legacyInUse() bool {
	tables, err := os.ReadFile("/proc/net/ip_tables_names")
	if errors.Is(err, fs.ErrPermission) {
		// The kernel tells only root. A module that nothing uses is seldom loaded.
		_, err := os.Stat("/sys/module/iptable_filter")
		return err == nil
	}
	return err == nil && slices.Contains(strings.Fields(string(tables)), xtablesTable)
}

// openXtables finds an installed variant, in the path or where distributions keep it when the path is that of an ordinary
// user, and reads the chain. The gate is nil if the variant is not installed.
func openXtables(program string) (*xtablesGate, error) {
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
	tool, err := goiptables.New(goiptables.Path(path), goiptables.Timeout(lockWait))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", program, err)
	}
	g := &xtablesGate{program: program, tool: tool}
	lines, err := tool.List(xtablesTable, xtablesChain)
	if err != nil {
		return g, fmt.Errorf("%s: list %s: %w", program, xtablesChain, err)
	}
	g.state = parseXtables(lines)
	return g, nil
}

// xtablesState is what matters of the chain.
type xtablesState struct {
	mayDrop     bool // what a mapping has translated
	established bool // it accepts established connections by the state of the connection
	ours        int  // rules of ours
	first       bool // one of them is the first rule of all
}

// parseXtables reads what "iptables -S FORWARD" prints: the policy, then the rules. Whatever is not plainly an ACCEPT may
// drop.
func parseXtables(lines []string) xtablesState {
	var s xtablesState
	rules := 0
	for _, line := range lines {
		switch {
		case strings.HasPrefix(line, "-P "):
			s.mayDrop = s.mayDrop || !strings.HasSuffix(line, " ACCEPT")
			continue
		case strings.Contains(line, `--comment "`+gateComment+`"`):
			s.ours++
			s.first = s.first || rules == 0
		case !strings.HasSuffix(line, " -j ACCEPT"):
			s.mayDrop = true
		case strings.Contains(line, "ESTABLISHED"):
			s.established = true
		}
		rules++
	}
	return s
}

// String returns for example "iptables-nft FORWARD".
func (g *xtablesGate) String() string { return g.program + " " + xtablesChain }

func (g *xtablesGate) needed() bool { return g.state.mayDrop }

func (g *xtablesGate) cutsEstablished() bool { return g.state.mayDrop && !g.state.established }

func (g *xtablesGate) done() bool {
	if g.state.mayDrop {
		return g.state.ours == 1 && g.state.first
	}
	return g.state.ours == 0
}

// mend makes ours the first rule, as the rules of firewall/iptables are, or takes it away.
func (g *xtablesGate) mend(s *session) error {
	if err := g.clear(s); err != nil {
		return err
	}
	if !g.state.mayDrop {
		return nil
	}
	if err := g.tool.Insert(xtablesTable, xtablesChain, 1, xtablesRule()...); err != nil {
		return fmt.Errorf("%s: insert a rule: %w", g.program, err)
	}
	return nil
}

func (g *xtablesGate) clear(*session) error {
	for range g.state.ours {
		if err := g.tool.Delete(xtablesTable, xtablesChain, xtablesRule()...); err != nil {
			return fmt.Errorf("%s: delete our rule: %w", g.program, err)
		}
	}
	return nil
}
