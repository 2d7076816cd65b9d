// Package docs tests that what the documentation says is so: every example in it
// works, every setting, command and option is in it, and every link leads somewhere.
package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/portreeve/portreeve/test/netns"
)

func TestMain(m *testing.M) { netns.Main(m) }

// root is the top of the source tree, seen from here.
const root = "../.."

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// pages are the paths of all pages in Markdown.
func pages(t *testing.T) (paths []string) {
	t.Helper()
	for _, pattern := range []string{"*.md", "docs/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range found {
			paths = append(paths, strings.TrimPrefix(filepath.ToSlash(path), root+"/"))
		}
	}
	for _, must := range []string{"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/install.md", "docs/configuration.md", "docs/architecture.md", "docs/api.md"} {
		if !slices.Contains(paths, must) {
			t.Errorf("%s is missing", must)
		}
	}
	return paths
}

// block is a fenced block of a page.
type block struct {
	page     string
	language string
	text     string
}

// blocks are the blocks of all pages in one of the languages.
func blocks(t *testing.T, languages ...string) (found []block) {
	t.Helper()
	fenced := regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$")
	for _, page := range pages(t) {
		for _, m := range fenced.FindAllStringSubmatch(read(t, page), -1) {
			if m[1] == "" {
				t.Errorf("%s: a block has no language:\n%s", page, m[2])
			}
			if slices.Contains(languages, m[1]) {
				found = append(found, block{page, m[1], m[2]})
			}
		}
	}
	if len(found) == 0 {
		t.Errorf("there is no block of %q", languages)
	}
	return found
}
