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
	"github.com/portreeve/portreeve/firewall/passage"
)

// xtables is the chain FORWARD of one variant of iptables. Other chains that may drop what a mapping has translated are
// opened by package passage. Here the rule is made by iptables itself: one of nf_tables' own expressions in a chain of
// iptables-nft makes it refuse to list the table ever after, and a chain of iptables-legacy is not in nf_tables at all.
type xtables struct {
	program string
	tool    *goiptables.IPTables
	state   xtablesState
}

// Where the rule is: the only place in which iptables is meant to drop forwarded packets.
const (
	xtablesTable = "filter"
	xtablesChain = "FORWARD"
)

// xtablesRule accepts what a mapping has translated, and nothing else.
func xtablesRule() []string {
	return []string{
		"-m", "conntrack", "--ctstate", "DNAT", "-m", "connmark", "--mark", fmt.Sprintf("%#x/%#[1]x", firewall.Mark),
		"-m", "comment", "--comment", passage.Comment, "-j", "ACCEPT",
	}
}

// findXtables returns the chains of the variants in use, and what keeps others from being looked after, by the names of
// their programs.
func findXtables(all []*nftables.Chain) (found []*xtables, lost map[string]error) {
	lost = map[string]error{}
	var programs []string
	if slices.ContainsFunc(all, isXtables) {
		programs = append(programs, "iptables-nft")
	}
	if legacyInUse() {
		programs = append(programs, "iptables-legacy")
	}
	for _, program := range programs {
		if x, err := openXtables(program); err == nil {
			found = append(found, x)
		} else {
			lost[program] = err
		}
	}
	return found, lost
}

// isXtables tells whether a chain is that of iptables-nft, which gives its tables and chains the names of old.
func isXtables(c *nftables.Chain) bool {
	return c.Table.Family == nftables.TableFamilyIPv4 && c.Table.Name == xtablesTable && c.Name == xtablesChain
}

// legacyInUse tells whether iptables-legacy has a table filter. Asking itself would make one.
func legacyInUse() bool {
	tables, err := os.ReadFile("/proc/thread-self/net/ip_tables_names")
	if errors.Is(err, fs.ErrPermission) {
		// The kernel tells only root. A module that nothing uses is seldom loaded.
		_, err := os.Stat("/sys/module/iptable_filter")
		return err == nil
	}
	return err == nil && slices.Contains(strings.Fields(string(tables)), xtablesTable)
}

// openXtables finds an installed variant, in the path or where distributions keep it when the path is that of an ordinary
// user, and reads the chain.
func openXtables(program string) (*xtables, error) {
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
	lines, err := tool.List(xtablesTable, xtablesChain)
	if err != nil {
		return nil, fmt.Errorf("%s: list %s: %w", program, xtablesChain, err)
	}
	return &xtables{program, tool, parseXtables(lines)}, nil
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
		case strings.Contains(line, `--comment "`+passage.Comment+`"`):
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

// done tells whether our rule is where it should be: the first, as those of firewall/iptables are, or not there if it is
// not needed.
func (x *xtables) done() bool {
	if x.state.mayDrop {
		return x.state.ours == 1 && x.state.first
	}
	return x.state.ours == 0
}

// mend makes it so.
func (x *xtables) mend() error {
	if err := x.clear(); err != nil {
		return err
	}
	if !x.state.mayDrop {
		return nil
	}
	if err := x.tool.Insert(xtablesTable, xtablesChain, 1, xtablesRule()...); err != nil {
		return fmt.Errorf("%s: insert a rule: %w", x.program, err)
	}
	return nil
}

// clear takes our rule away.
func (x *xtables) clear() error {
	for range x.state.ours {
		if err := x.tool.Delete(xtablesTable, xtablesChain, xtablesRule()...); err != nil {
			return fmt.Errorf("%s: delete our rule: %w", x.program, err)
		}
	}
	return nil
}
