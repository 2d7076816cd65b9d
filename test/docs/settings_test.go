package docs_test

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"

	"github.com/portreeve/portreeve/config"
)

// reference is the reference configuration: each setting as "table.key" with its
// default as it is written.
func reference(t *testing.T) map[string]string {
	t.Helper()
	text := read(t, "config/reference.toml")
	found := map[string]string{}
	table := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if line[0] == '[' {
			table = strings.Trim(line, "[]")
			continue
		}
		key, value, ok := strings.Cut(line, " = ")
		if !ok {
			t.Fatalf("reference.toml: cannot read the line %q", line)
		}
		found[table+"."+key] = value
	}

	// The real parser must see the same settings.
	var parsed map[string]map[string]any
	if err := toml.Unmarshal([]byte(text), &parsed); err != nil {
		t.Fatal(err)
	}
	var names []string
	for table, keys := range parsed {
		for key := range keys {
			names = append(names, table+"."+key)
		}
	}
	slices.Sort(names)
	if diff := cmp.Diff(names, slices.Sorted(maps.Keys(found))); diff != "" {
		t.Fatalf("reference.toml was misread (-parsed +read):\n%s", diff)
	}
	return found
}

// row is one row of the table in docs/configuration.md.
type row struct{ name, kind, value, allowed string }

func rows(t *testing.T) (found []row) {
	t.Helper()
	pattern := regexp.MustCompile("(?m)^\\| `([a-z_.]+)` \\| ([^|]+) \\| `([^|]+)` \\| ([^|]+) \\| [A-Z][^|]+\\. \\|$")
	for _, m := range pattern.FindAllStringSubmatch(read(t, "docs/configuration.md"), -1) {
		found = append(found, row{m[1], m[2], m[3], m[4]})
	}
	return found
}

func TestEverySettingIsDocumented(t *testing.T) {
	documented := map[string]string{}
	for _, r := range rows(t) {
		documented[r.name] = r.value
	}
	if diff := cmp.Diff(reference(t), documented); diff != "" {
		t.Errorf("settings and defaults (-reference.toml +configuration.md):\n%s", diff)
	}
}

// What the table says is allowed is what the program takes.
func TestAllowedValuesAreAllowed(t *testing.T) {
	accepts := func(name, value string) bool {
		// A lifetime is also measured against the other one.
		text := name + " = " + value + "\n"
		if name == "pcp.min_lifetime" {
			text += "pcp.max_lifetime = 31536000\n"
		}
		if name == "pcp.max_lifetime" {
			text += "pcp.min_lifetime = 1\n"
		}
		_, err := config.Parse(strings.NewReader(text))
		return err == nil
	}
	between := regexp.MustCompile(`^(\d+) to (\d+)$`)
	listed := regexp.MustCompile("^`[^`]+`(, `[^`]+`)*$")
	for _, r := range rows(t) {
		switch {
		case between.MatchString(r.allowed):
			m := between.FindStringSubmatch(r.allowed)
			low, high := number(t, m[1]), number(t, m[2])
			for _, value := range []int{low, high} {
				if !accepts(r.name, strconv.Itoa(value)) {
					t.Errorf("%s = %d is refused, allowed are %s", r.name, value, r.allowed)
				}
			}
			for _, value := range []int{low - 1, high + 1} {
				if accepts(r.name, strconv.Itoa(value)) {
					t.Errorf("%s = %d is accepted, allowed are %s", r.name, value, r.allowed)
				}
			}
		case listed.MatchString(r.allowed):
			for value := range strings.SplitSeq(r.allowed, ", ") {
				if value = strings.Trim(value, "`"); r.kind == "list" {
					value = fmt.Sprintf("[%q]", value)
				}
				if !accepts(r.name, value) {
					t.Errorf("%s = %s is refused, allowed are %s", r.name, value, r.allowed)
				}
			}
			if accepts(r.name, `"something else"`) {
				t.Errorf("%s takes anything, allowed are %s", r.name, r.allowed)
			}
		case !slices.Contains([]string{"interfaces", "list", "pairs", "string"}, r.kind):
			t.Errorf("%s: cannot test what is allowed: %s", r.name, r.allowed)
		}
	}
}

func number(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestEverySettingIsInTheManual(t *testing.T) {
	documented := map[string]string{}
	table := ""
	section := regexp.MustCompile(`^\.SH \[([a-z]+)\]$`)
	entry := regexp.MustCompile(`^\.BR ([a-z_]+) " = (.+)"$`)
	for line := range strings.Lines(read(t, "deploy/man/portreeve.toml.5")) {
		line = strings.TrimSpace(line)
		if m := section.FindStringSubmatch(line); m != nil {
			table = m[1]
		}
		if m := entry.FindStringSubmatch(line); m != nil {
			documented[table+"."+m[1]] = strings.ReplaceAll(m[2], `\(dq`, `"`)
		}
	}
	if diff := cmp.Diff(reference(t), documented); diff != "" {
		t.Errorf("settings and defaults (-reference.toml +portreeve.toml.5):\n%s", diff)
	}
}

func TestConfigurationsInTheDocsAreValid(t *testing.T) {
	for i, b := range append(blocks(t, "toml"), manualExample(t)) {
		t.Run(fmt.Sprintf("%s %d", b.page, i), func(t *testing.T) {
			cfg, err := config.Parse(strings.NewReader(b.text))
			if err != nil {
				t.Errorf("%v\nin:\n%s", err, b.text)
			}
			if len(cfg.Warnings) > 0 {
				t.Errorf("the example is warned about: %q", cfg.Warnings)
			}
		})
	}
}

// manualExample is the example at the end of portreeve.toml(5).
func manualExample(t *testing.T) block {
	t.Helper()
	const page = "deploy/man/portreeve.toml.5"
	m := regexp.MustCompile(`(?s)\.SH EXAMPLE\n\.nf\n(.*?)\.fi\n`).FindStringSubmatch(read(t, page))
	if m == nil {
		t.Fatalf("%s has no example", page)
	}
	return block{page, "toml", m[1]}
}
