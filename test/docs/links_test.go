package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestLinksLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for _, page := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(read(t, page), -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.HasPrefix(target, "https://") {
				continue
			}
			if strings.Contains(target, ":") {
				t.Errorf("%s: link to %s: want https or a file", page, m[1])
				continue
			}
			path := page
			if target != "" {
				path = filepath.Join(filepath.Dir(page), target)
			}
			if _, err := os.Stat(filepath.Join(root, path)); err != nil {
				t.Errorf("%s: link to %s: %v", page, m[1], err)
				continue
			}
			if anchor != "" && !hasHeading(read(t, path), anchor) {
				t.Errorf("%s: link to %s: there is no such heading", page, m[1])
			}
		}
	}
}

// hasHeading reports whether a page has a heading with an anchor, which is its text in
// lower case with dashes for spaces.
func hasHeading(page, anchor string) bool {
	for line := range strings.Lines(page) {
		title, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " ")
		if !ok || !strings.HasPrefix(line, "#") {
			continue
		}
		plain := regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), "")
		if strings.ReplaceAll(plain, " ", "-") == anchor {
			return true
		}
	}
	return false
}

// A path that the text names in backticks and that looks like one of ours exists.
func TestNamedFilesExist(t *testing.T) {
	named := regexp.MustCompile("`((?:cmd|config|deploy|docs|firewall|igd|lan|lease|pcp|scripts|ssdp|test|tools|wan|web)/[A-Za-z0-9_./-]*)`")
	for _, page := range pages(t) {
		for _, m := range named.FindAllStringSubmatch(read(t, page), -1) {
			if _, err := os.Stat(filepath.Join(root, m[1])); err != nil {
				t.Errorf("%s names %s: %v", page, m[1], err)
			}
		}
	}
}

// The tests that docs/architecture.md names as proofs are where it says.
func TestNamedTestsExist(t *testing.T) {
	const page = "docs/architecture.md"
	// "`folder`: `TestA`, `TestB`"
	proofs := regexp.MustCompile("`([a-z0-9/]+)`: ((?:`Test[A-Za-z0-9]+`(?:, )?)+)").FindAllStringSubmatch(read(t, page), -1)
	if len(proofs) < 9 {
		t.Fatalf("%s names %d proofs, want at least one for each promise", page, len(proofs))
	}
	for _, proof := range proofs {
		files, err := filepath.Glob(filepath.Join(root, proof[1], "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		var source strings.Builder
		for _, path := range files {
			source.WriteString(read(t, strings.TrimPrefix(filepath.ToSlash(path), root+"/")))
		}
		for name := range strings.SplitSeq(proof[2], ", ") {
			if !strings.Contains(source.String(), "\nfunc "+strings.Trim(name, "`")+"(") {
				t.Errorf("%s: %s has no test %s", page, proof[1], name)
			}
		}
	}
}
