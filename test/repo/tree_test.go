// Package repo_test checks the shape of the source tree: what a reader may rely on
// without looking. Each rule is one function from files to complaints, and a test
// shows that it complains of what it forbids.
package repo_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// module is the import path of the tree.
const module = "github.com/portreeve/portreeve"

// top is the folder of the tree, seen from this package's.
const top = "../.."

// file is a Go file.
type file struct {
	path   string // from the top folder, with slashes
	source []byte
	fset   *token.FileSet
	ast    *ast.File
	isTest bool // not part of the program
}

// dir is the folder of the file, which is its import path within the module.
func (f file) dir() string { return path.Dir(f.path) }

// at is where a node of the file is, as an editor understands it.
func (f file) at(n ast.Node) string {
	return strings.TrimPrefix(f.fset.Position(n.Pos()).String(), "./")
}

// imports are the import paths of the file.
func (f file) imports() []string {
	var paths []string
	for _, spec := range f.ast.Imports {
		paths = append(paths, strings.Trim(spec.Path.Value, `"`))
	}
	return paths
}

// classify finds out which files are not part of the program: tests, what is under
// test/, and packages for tests, which are known by their importing testing.
func classify(files []file) {
	forTests := map[string]bool{}
	for _, f := range files {
		if !strings.HasSuffix(f.path, "_test.go") && slices.Contains(f.imports(), "testing") {
			forTests[f.dir()] = true
		}
	}
	for i, f := range files {
		files[i].isTest = strings.HasSuffix(f.path, "_test.go") || within(f.path, "test") || forTests[f.dir()]
	}
}

// program are those of the files that the program is made of.
func program(files []file) []file {
	var kept []file
	for _, f := range files {
		if !f.isTest {
			kept = append(kept, f)
		}
	}
	return kept
}

// within reports whether a slash-separated path is dir or lies below it.
func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, dir+"/")
}

// parse makes a file from its source.
func parse(path string, source []byte) (file, error) {
	fset := token.NewFileSet()
	tree, err := parser.ParseFile(fset, path, source, parser.ParseComments|parser.SkipObjectResolution)
	return file{path: path, source: source, fset: fset, ast: tree}, err
}

// walk calls f for every file that belongs to the tree.
func walk(t *testing.T, f func(path string, source []byte)) {
	t.Helper()
	err := filepath.WalkDir(top, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		path, err := filepath.Rel(top, name)
		if err != nil {
			return err
		}
		if path == ".git" || path == "build" {
			return fs.SkipDir
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		source, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		f(filepath.ToSlash(path), source)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// goFiles are the Go files of the tree.
func goFiles(t *testing.T) []file {
	t.Helper()
	var files []file
	walk(t, func(path string, source []byte) {
		if !strings.HasSuffix(path, ".go") {
			return
		}
		f, err := parse(path, source)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	})
	if len(files) < 10 {
		t.Fatalf("only %d Go files below %s: this is not the tree", len(files), top)
	}
	classify(files)
	return files
}

// report makes each complaint an error of the test.
func report(t *testing.T, complaints []string) {
	t.Helper()
	for _, c := range complaints {
		t.Error(c)
	}
}

// example is a tree that a rule is tried on.
type example struct {
	files map[string]string // path to source
	want  string            // part of the one complaint; empty if there must be none
}

// try applies a rule to examples.
func try(t *testing.T, rule func([]file) []string, examples map[string]example) {
	t.Helper()
	for name, e := range examples {
		t.Run(name, func(t *testing.T) {
			var files []file
			for path, source := range e.files {
				f, err := parse(path, []byte(source))
				if err != nil {
					t.Fatal(err)
				}
				files = append(files, f)
			}
			classify(files)
			complaints := rule(files)
			if e.want == "" && len(complaints) > 0 {
				t.Errorf("complaints %q, want none", complaints)
			}
			if e.want != "" && (len(complaints) != 1 || !strings.Contains(complaints[0], e.want)) {
				t.Errorf("complaints %q, want one about %q", complaints, e.want)
			}
		})
	}
}

// one is a tree of one file.
func one(path, source string) map[string]string { return map[string]string{path: source} }
