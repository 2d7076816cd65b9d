package docs_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/portreeve/portreeve/test/lab"
)

// command is one command of the program as its help shows it.
type command struct {
	usage    string   // without the name of the command itself: "[flags]", "ID... [flags]"
	flags    []string // with their dashes, long and short
	children map[string]*command
}

// program is the tree of commands that the built program has.
func program(t *testing.T) *command {
	t.Helper()
	return help(t, lab.Build(t), nil)
}

// help reads what a command says about itself, and then those below it.
func help(t *testing.T, binary string, path []string) *command {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, append(slices.Clone(path), "--help")...)
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0") // else each takes a second under -race
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("portreeve %s --help: %v\n%s", strings.Join(path, " "), err, out)
	}
	c := &command{children: map[string]*command{}}
	name := strings.Join(append([]string{"portreeve"}, path...), " ")
	if m := regexp.MustCompile(`(?m)^  ` + name + `(?: (.*))?$`).FindStringSubmatch(string(out)); m != nil {
		c.usage = m[1]
	} else {
		t.Fatalf("the help of %q has no usage:\n%s", name, out)
	}
	for _, m := range regexp.MustCompile(`(?m)^ {2,6}(?:(-[a-z]), )?(--[a-z][a-z0-9-]*)`).FindAllStringSubmatch(string(out), -1) {
		c.flags = append(c.flags, m[1], m[2])
	}
	_, list, _ := strings.Cut(string(out), "Available Commands:\n")
	list, _, _ = strings.Cut(list, "\n\n")
	for _, m := range regexp.MustCompile(`(?m)^  ([a-z][a-z-]*) `).FindAllStringSubmatch(list, -1) {
		c.children[m[1]] = help(t, binary, append(slices.Clone(path), m[1]))
	}
	return c
}

// check says what is wrong with the words of a command line; nil if nothing is.
func (c *command) check(words []string) error {
	for len(words) > 0 && c.children[words[0]] != nil {
		c, words = c.children[words[0]], words[1:]
	}
	takesArguments := strings.ContainsAny(c.usage, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") || c.usage == "[command] [flags]"
	value := false // the word may be that of the flag before it
	for _, w := range words {
		if strings.HasPrefix(w, "-") {
			name, _, joined := strings.Cut(w, "=")
			if !slices.Contains(c.flags, name) {
				return fmt.Errorf("there is no option %s", name)
			}
			value = !joined
			continue
		}
		if !value && !takesArguments {
			return fmt.Errorf("%q is neither a command nor wanted here", w)
		}
		value = false
	}
	return nil
}

// lines are the lines of a shell block without comments, continued lines joined.
func lines(text string) (found []string) {
	text = strings.ReplaceAll(text, "\\\n", " ")
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			found = append(found, line)
		}
	}
	return found
}

// invocations are the command lines of portreeve that a page shows: in shell blocks, and
// between backticks in the text.
func invocations(t *testing.T) map[string][][]string {
	t.Helper()
	found := map[string][][]string{}
	for _, b := range blocks(t, "sh") {
		for _, line := range lines(b.text) {
			for part := range strings.FieldsFuncSeq(line, func(r rune) bool { return strings.ContainsRune(";|&", r) }) {
				if words := strings.Fields(part); len(words) > 0 && words[0] == "portreeve" {
					found[b.page] = append(found[b.page], words[1:])
				}
			}
		}
	}
	inline := regexp.MustCompile("`portreeve ([^`]+)`")
	for _, page := range pages(t) {
		for _, m := range inline.FindAllStringSubmatch(read(t, page), -1) {
			found[page] = append(found[page], strings.Fields(m[1]))
		}
	}
	return found
}

func TestCommandsInTheDocsExist(t *testing.T) {
	p := program(t)
	all := invocations(t)
	for _, page := range []string{"README.md", "docs/install.md"} {
		if len(all[page]) == 0 {
			t.Errorf("%s shows no command", page)
		}
	}
	for page, commands := range all {
		for _, words := range commands {
			if err := p.check(words); err != nil {
				t.Errorf("%s: portreeve %s: %v", page, strings.Join(words, " "), err)
			}
		}
	}
}

func TestWrongCommandsAreFound(t *testing.T) {
	p := program(t)
	for line, good := range map[string]bool{
		"lease list -o json": true, "lease close abc def": true, "run --wan=ppp0 --lan br0": true, "help run": true,
		"leases": false, "lease lists": false, "status now": false, "status --wan x": false, "lease close --every": false, "lease close --all --dry-run": true,
	} {
		if err := p.check(strings.Fields(line)); (err == nil) != good {
			t.Errorf("portreeve %s: got %v, want good: %v", line, err, good)
		}
	}
}

func TestEveryCommandIsInTheManual(t *testing.T) {
	manual := strings.ReplaceAll(read(t, "deploy/man/portreeve.8"), `\-`, "-")
	// Options are explained where they are set in bold at the beginning of a line.
	var explained []string
	for _, line := range regexp.MustCompile(`(?m)^\.B[IR]? -.*$`).FindAllString(manual, -1) {
		explained = append(explained, regexp.MustCompile(`-{1,2}[a-z][a-z0-9-]*`).FindAllString(line, -1)...)
	}
	var walk func(path string, c *command)
	walk = func(path string, c *command) {
		for _, flag := range c.flags {
			if flag != "" && !slices.Contains(explained, flag) && flag != "-h" && flag != "--help" {
				t.Errorf("%s: the option %s is not explained in portreeve.8", path, flag)
			}
		}
		for name, child := range c.children {
			below := path + " " + name
			// What completion knows of shells is its own matter.
			if path != "portreeve completion" && len(child.children) == 0 && !strings.Contains(manual, "\n.SS "+below+"\n") {
				t.Errorf("%s is not in portreeve.8", below)
			}
			if path != "portreeve completion" {
				walk(below, child)
			}
		}
	}
	walk("portreeve", program(t))
}

func TestShellInTheDocsIsValid(t *testing.T) {
	for i, b := range blocks(t, "sh") {
		t.Run(fmt.Sprintf("%s %d", b.page, i), func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), "bash", "-n")
			cmd.Stdin = strings.NewReader(b.text)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("bash -n: %v\n%s\nin:\n%s", err, out, b.text)
			}
		})
	}
}

// Each "make something" in the docs is a target of the Makefile.
func TestMakeTargetsExist(t *testing.T) {
	named := regexp.MustCompile("(?m)(?:^|`|&& )make ([a-z][a-z-]*)")
	makefiles := read(t, "Makefile") + read(t, "deploy/install.mk")
	for _, page := range pages(t) {
		for _, m := range named.FindAllStringSubmatch(read(t, page), -1) {
			if !regexp.MustCompile(`(?m)^` + m[1] + `:`).MatchString(makefiles) {
				t.Errorf("%s: there is no target %s", page, m[1])
			}
		}
	}
}

// The rules that owners are told to add are taken by the kernel.
func TestFirewallRulesInTheDocsWork(t *testing.T) {
	run := func(ctx context.Context, line string) error {
		out, err := exec.CommandContext(ctx, "bash", "-c", line).CombinedOutput()
		if err != nil {
			return errors.Join(fmt.Errorf("%s: %w", line, err), errors.New(string(out)))
		}
		return nil
	}
	const table = `nft 'add table inet filter
		add chain inet filter input { type filter hook input priority 0; }
		add chain inet filter forward { type filter hook forward priority 0; }'`
	if err := run(t.Context(), table); err != nil {
		t.Fatal(err)
	}
	tried := map[string]int{}
	for _, b := range blocks(t, "sh") {
		for _, line := range lines(b.text) {
			tool, _, _ := strings.Cut(line, " ")
			if tool != "iptables" && tool != "nft" {
				continue
			}
			tried[tool]++
			if err := run(t.Context(), line); err != nil {
				t.Errorf("%s: %v", b.page, err)
			}
		}
	}
	for _, tool := range []string{"iptables", "nft"} {
		if !slices.Contains(slices.Collect(maps.Keys(tried)), tool) {
			t.Errorf("there is no rule for %s", tool)
		}
	}
}
