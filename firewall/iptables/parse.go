package iptables

import (
	"fmt"
	"strings"
)

// savedTable is one table as iptables-save prints it.
type savedTable struct {
	names  []string // of all chains, in the order printed
	chains map[string]*savedChain
}

// savedChain is a chain of a [savedTable].
type savedChain struct {
	policy string // of a built-in chain, "ACCEPT" or "DROP"; "-" of any other
	rules  []savedRule
}

// savedRule is a rule as text, in the form in which iptables takes it again, without "-A" and the chain.
type savedRule struct {
	text  string
	words []string
}

// value returns what follows an option, for example the chain after "-j".
func (r savedRule) value(option string) string {
	for i := range len(r.words) - 1 {
		if r.words[i] == option {
			return r.words[i+1]
		}
	}
	return ""
}

// plain returns the rule without quotes that are not needed, which older programs print.
func (r savedRule) plain() string { return strings.Join(r.words, " ") }

// isJump tells whether the rule is one that we have put into a chain of others.
func (r savedRule) isJump() bool { return r.value("--comment") == jumpComment && isOurs(r.value("-j")) }

// parseSave reads the output of iptables-save. A table that is not printed does not exist, which for iptables is the
// same as an empty one.
func parseSave(out string) (map[string]*savedTable, error) {
	tables := map[string]*savedTable{}
	var current *savedTable
	number := 0
	for line := range strings.Lines(out) {
		number++
		line = strings.TrimSuffix(line, "\n")
		fault := func(what string) error { return fmt.Errorf("iptables-save, line %d: %s: %q", number, what, line) }
		name, isTable := strings.CutPrefix(line, "*")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case isTable:
			if current != nil || name == "" || tables[name] != nil {
				return nil, fault("a table where none can begin")
			}
			current = &savedTable{chains: map[string]*savedChain{}}
			tables[name] = current
		case current == nil:
			return nil, fault("outside of any table")
		case line == "COMMIT":
			current = nil
		case strings.HasPrefix(line, ":"):
			if err := current.parseChain(line[1:]); err != nil {
				return nil, fault(err.Error())
			}
		default:
			if err := current.parseRule(line); err != nil {
				return nil, fault(err.Error())
			}
		}
	}
	if current != nil {
		return nil, fmt.Errorf("iptables-save: the output ends within a table, after line %d", number)
	}
	return tables, nil
}

// parseChain reads "NAME POLICY [packets:bytes]".
func (t *savedTable) parseChain(line string) error {
	fields := strings.Fields(line)
	if len(fields) < 2 || t.chains[fields[0]] != nil {
		return fmt.Errorf("want a new chain and its policy")
	}
	t.names = append(t.names, fields[0])
	t.chains[fields[0]] = &savedChain{policy: fields[1]}
	return nil
}

// parseRule reads "-A CHAIN ...", with counters in front or without.
func (t *savedTable) parseRule(line string) error {
	if strings.HasPrefix(line, "[") {
		_, line, _ = strings.Cut(line, "] ")
	}
	rest, ok := strings.CutPrefix(line, "-A ")
	name, text, _ := strings.Cut(rest, " ")
	c := t.chains[name]
	if !ok || c == nil {
		return fmt.Errorf("want -A and a chain of this table")
	}
	words, err := splitWords(text)
	if err != nil {
		return err
	}
	c.rules = append(c.rules, savedRule{text: text, words: words})
	return nil
}

// splitWords takes a rule apart as iptables-restore does: words are separated by blanks, double quotes keep
// blanks together, and within them a backslash takes the next character as it is.
func splitWords(text string) ([]string, error) {
	var words []string
	var word strings.Builder
	inWord, quoted, escaped := false, false, false
	for _, c := range []byte(text) {
		switch {
		case escaped:
			word.WriteByte(c)
			escaped = false
		case quoted && c == '\\':
			escaped = true
		case c == '"':
			quoted, inWord = !quoted, true
		case !quoted && (c == ' ' || c == '\t'):
			if inWord {
				words = append(words, word.String())
				word.Reset()
				inWord = false
			}
		default:
			word.WriteByte(c)
			inWord = true
		}
	}
	if quoted {
		return nil, fmt.Errorf("a quotation without end")
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}
