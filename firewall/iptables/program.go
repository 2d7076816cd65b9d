package iptables

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	goiptables "github.com/coreos/go-iptables/iptables"

	"github.com/portreeve/portreeve/lease"
)

// The variants of iptables, as "iptables -V" tells them.
const (
	variantNFT    = "nf_tables"
	variantLegacy = "legacy"
)

// blockSize is how many lines make one transaction of the kernel where it cannot take all at once.
const blockSize = 200

// program is one installed variant of iptables.
type program struct {
	name      string // of the command, for example "iptables-legacy"
	version   version
	variant   string
	save      string        // paths
	restore   string        //
	raw       bool          // we may have rules in the table raw
	converses bool          // the program behind restore can do one transaction after the other, see restorer
	lockWait  time.Duration // for another program that holds the lock of iptables; whole seconds
	patience  time.Duration // for one run, the wait for the lock included
}

// String names the backend.
func (p program) String() string { return "iptables (" + p.variant + ")" }

// find looks for a variant for IPv4.
func find(ctx context.Context, name string) (program, error) {
	paths, err := locate(name, "install the package iptables (apt install iptables; opkg install iptables-nft)")
	if err != nil {
		return program{}, err
	}
	// Waiting for the lock came to iptables-restore with 1.6.2, in 2018.
	known, err := goiptables.New(goiptables.Path(paths[0]))
	if err != nil {
		return program{}, fmt.Errorf("%s: which version: %w", name, err)
	}
	a, b, c := known.GetIptablesVersion()
	since := func(major, minor, patch int) bool {
		return slices.Compare([]int{a, b, c}, []int{major, minor, patch}) >= 0
	}
	if !since(1, 6, 2) {
		return program{}, fmt.Errorf("%s is version %d.%d.%d: at least 1.6.2 is needed", name, a, b, c)
	}
	p := program{
		name: name, variant: variantLegacy, save: paths[1], restore: paths[2],
		lockWait: 5 * time.Second, patience: 15 * time.Second,
	}
	if p.variant, err = p.variantOf(ctx, paths[0]); err != nil {
		return program{}, err
	}
	// The first versions for nf_tables go on with what they have read of the rules at the beginning.
	p.converses = p.variant == variantLegacy || since(1, 8, 7)
	return p, nil
}

// forIPv6 looks for the same variant for IPv6.
func (p program) forIPv6(ctx context.Context) (program, error) {
	suffix := map[string]string{variantNFT: "nft", variantLegacy: "legacy"}[p.variant]
	var errs []error
	for _, name := range []string{"ip6tables-" + suffix, "ip6tables"} {
		paths, err := locate(name, "pinholes, and all else of IPv6, need it (apt install iptables; opkg install ip6tables-"+suffix+")")
		if err != nil {
			errs = append(errs, err)
			continue
		}
		variant, err := p.variantOf(ctx, paths[0])
		if err != nil {
			return program{}, err
		}
		if variant == p.variant {
			p.name, p.version, p.save, p.restore = name, ipv6, paths[1], paths[2]
			return p, nil
		}
		errs = append(errs, fmt.Errorf("%s is of the variant %s, the rules of IPv4 are in %s", name, variant, p.variant))
	}
	return program{}, errors.Join(errs...)
}

// locate finds the three commands of a variant: the one for people, and those that save and restore. The advice is for
// whoever does not have them.
func locate(name, advice string) (paths [3]string, err error) {
	for i, command := range []string{name, name + "-save", name + "-restore"} {
		if paths[i], err = lookPath(command); err != nil {
			return paths, fmt.Errorf("%s is not installed: %s: %w", command, advice, err)
		}
	}
	return paths, nil
}

// variantOf asks a command which variant it is. Before there were two, it did not say.
func (p program) variantOf(ctx context.Context, path string) (string, error) {
	said, err := p.run(ctx, "", path, "--version")
	if err != nil {
		return "", err
	}
	if strings.Contains(said, variantNFT) {
		return variantNFT, nil
	}
	return variantLegacy, nil
}

// lookPath finds a command in the path, or where distributions keep it when the path is that of an ordinary user.
func lookPath(command string) (string, error) {
	path, err := exec.LookPath(command)
	if err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, command)); err == nil {
			return path, nil
		}
	}
	return "", err
}

// saved reads the rules: all tables, or those that we write into if this user may not know which there are.
func (p program) saved(ctx context.Context) (map[string]*savedTable, error) {
	if p.variant == variantLegacy && !legacyListed(p.version) {
		return p.savedTables(ctx, p.known()...)
	}
	return p.savedTables(ctx)
}

// known returns the names of those of our tables that may exist. The table raw is asked for only if its module is loaded
// already, or we have made rules there: asking would make it.
func (p program) known() []string {
	module := [versions]string{"iptable_raw", "ip6table_raw"}[p.version]
	_, err := os.Stat(filepath.Join("/sys/module", module))
	return slices.DeleteFunc(ourTables(p.version), func(name string) bool { return name == "raw" && err != nil && !p.raw })
}

// savedTables reads some tables, by default all that exist.
func (p program) savedTables(ctx context.Context, names ...string) (map[string]*savedTable, error) {
	options := [][]string{nil}
	if len(names) > 0 {
		options = nil
	}
	for _, name := range names {
		options = append(options, []string{"-t", name})
	}
	var all strings.Builder
	for _, o := range options {
		out, err := p.run(ctx, "", p.save, o...)
		if err != nil {
			return nil, err
		}
		all.WriteString(out)
	}
	return parseSave(all.String())
}

// ourTables returns the names of the tables that we write into.
func ourTables(v version) []string {
	return [versions][]string{ipv4: {"nat", "filter", "raw"}, ipv6: {"filter", "raw"}}[v]
}

// legacyListed tells whether this user may read which tables of the legacy variant exist. The kernel allows that to
// root only, whatever capabilities somebody else has; a table asked for by name can be had with CAP_NET_ADMIN.
func legacyListed(v version) bool {
	f, err := os.Open([versions]string{"/proc/net/ip_tables_names", "/proc/net/ip6_tables_names"}[v])
	if err == nil {
		f.Close()
	}
	return !errors.Is(err, fs.ErrPermission)
}

// legacyLoaded tells whether the modules of the legacy variant's tables are loaded. Without them it has no rules, and
// asking for some would load them. A kernel that has them built in does not tell: there the answer is no.
func legacyLoaded(v version) bool {
	for _, module := range [versions][]string{{"iptable_filter", "iptable_nat"}, {"ip6table_filter"}}[v] {
		if _, err := os.Stat(filepath.Join("/sys/module", module)); err == nil {
			return true
		}
	}
	return false
}

// block is a part of the input of iptables-restore: lines within one table, which are one transaction.
type block struct {
	table string
	lines []string
}

// transactions returns blocks as iptables-restore takes them, those without lines left out.
func transactions(blocks []block) string {
	var input strings.Builder
	for _, b := range blocks {
		if len(b.lines) > 0 {
			fmt.Fprintf(&input, "*%s\n%s\nCOMMIT\n", b.table, strings.Join(b.lines, "\n"))
		}
	}
	return input.String()
}

// restoreOptions returns the arguments of iptables-restore.
func (p program) restoreOptions() []string {
	return []string{"--noflush", fmt.Sprintf("--wait=%d", int(p.lockWait.Seconds()))}
}

// write runs iptables-restore once. Each block is in force wholly or not at all; a block that fails ends the run, those
// before it stand.
func (p program) write(ctx context.Context, blocks ...block) error {
	input := transactions(blocks)
	if input == "" {
		return nil
	}
	_, err := p.run(ctx, input, p.restore, p.restoreOptions()...)
	return err
}

// split cuts blocks into smaller ones.
func split(blocks []block) []block {
	var small []block
	for _, b := range blocks {
		for lines := b.lines; len(lines) > 0; lines = lines[min(blockSize, len(lines)):] {
			small = append(small, block{b.table, lines[:min(blockSize, len(lines))]})
		}
	}
	return small
}

// errTooLong: the transaction does not fit into the socket to the kernel. It grows to what is needed for the real root;
// for the root of a user namespace (a container) it has net.core.wmem_default.
var errTooLong = errors.New("too many rules for one transaction")

// errUnknown: the program did not come to its end, so nobody knows what it has done.
var errUnknown = errors.New("the outcome is unknown")

// run runs one program to its end, without a shell, and returns its output. A change that has begun is not broken off
// when ctx is cancelled: what it has done would be unknown.
func (p program) run(ctx context.Context, input string, path string, args ...string) (string, error) {
	name := filepath.Base(path)
	if err := ctx.Err(); err != nil {
		return "", fmt.Errorf("%s: not started: %w", name, err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdin = strings.NewReader(input)
	cmd.WaitDelay = time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	switch {
	case err == nil:
		return stdout.String(), nil
	case ctx.Err() != nil:
		return "", fmt.Errorf("%s: no answer within %v: %w", name, p.patience, errUnknown)
	default:
		return "", fmt.Errorf("%s: %w", name, p.explain(err, stderr.String()))
	}
}

// explain says what a program's failure means and what to do about it. said is what it wrote to standard error.
func (p program) explain(err error, said string) error {
	contains := func(text string) bool { return strings.Contains(said, text) }
	text := lease.CleanText(said, 500)
	switch {
	case contains("Message too long"):
		return errTooLong
	case contains("holding the xtables lock"):
		return fmt.Errorf("another program has held the lock /run/xtables.lock for more than %v", p.lockWait)
	case contains("lock file"):
		return fmt.Errorf("%w: %s: the daemon must be able to write /run/xtables.lock: run it as root, or make the file writable for its group", err, text)
	case contains("ermission denied"), contains("not permitted"):
		return fmt.Errorf("%w: %s: the daemon needs the capabilities CAP_NET_ADMIN and CAP_NET_RAW", err, text)
	case contains("incompatible, use 'nft' tool"):
		return fmt.Errorf("%w: %s: rules of nft are where iptables has its own: give them a table of another name", err, text)
	default:
		return fmt.Errorf("%w: %s", err, text)
	}
}
