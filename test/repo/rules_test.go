package repo_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestFilesAreFormatted(t *testing.T) {
	report(t, unformatted(goFiles(t)))
}

// unformatted complains of files that gofmt would change.
func unformatted(files []file) (complaints []string) {
	for _, f := range files {
		formatted, err := format.Source(f.source)
		if err != nil || !bytes.Equal(formatted, f.source) {
			complaints = append(complaints, fmt.Sprintf("%s: not formatted: gofmt -w %s (%v)", f.path, f.path, err))
		}
	}
	return complaints
}

func TestAuthorizeHasOneCaller(t *testing.T) {
	report(t, authorizers(goFiles(t)))
}

// authorizers complains unless the program decides who may in one place only.
func authorizers(files []file) []string {
	var callers []string
	for _, f := range program(files) {
		for call := range calls(f.ast) {
			if _, name := callee(call); name == "Authorize" {
				callers = append(callers, f.at(call))
			}
		}
	}
	if len(callers) == 1 {
		return nil
	}
	return []string{fmt.Sprintf("Authorize is called at %q: there must be one place that decides who may, in lease", callers)}
}

func TestOnlyLeaseKnowsTheTime(t *testing.T) {
	report(t, clocks(goFiles(t)))
}

// clocks complains of the program's looks at the clock outside lease and cmd. Others
// are given a time or ask lease.
func clocks(files []file) (complaints []string) {
	for _, f := range program(files) {
		if f.dir() == "lease" || within(f.dir(), "cmd") {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			// Also where it is not called but handed on.
			if use, ok := n.(*ast.SelectorExpr); ok {
				on, ok := use.X.(*ast.Ident)
				if ok && on.Name == "time" && slices.Contains([]string{"Now", "Since", "Until"}, use.Sel.Name) {
					complaints = append(complaints, fmt.Sprintf("%s: time.%s: only lease and cmd look at the clock", f.at(n), use.Sel.Name))
				}
			}
			return true
		})
	}
	return complaints
}

func TestNothingRunsBeforeMain(t *testing.T) {
	report(t, inits(goFiles(t)))
}

// inits complains of init functions, tests' too.
func inits(files []file) (complaints []string) {
	for _, f := range files {
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				complaints = append(complaints, fmt.Sprintf("%s: func init: let main or a constructor do it", f.at(fn)))
			}
		}
	}
	return complaints
}

func TestPackagesAreNamedAfterWhatTheyProvide(t *testing.T) {
	report(t, emptyNames(goFiles(t)))
}

// emptyNames complains of packages whose name could be any package's.
func emptyNames(files []file) (complaints []string) {
	empty := []string{"util", "utils", "common", "types", "helper", "helpers", "misc", "shared", "base"}
	for _, f := range files {
		name := strings.TrimSuffix(f.ast.Name.Name, "_test")
		if slices.Contains(empty, name) || slices.Contains(empty, path.Base(f.dir())) {
			complaints = append(complaints, fmt.Sprintf("%s: a package named %s says nothing: name it after what it provides", f.path, name))
		}
	}
	return complaints
}

func TestNoTestIsSkipped(t *testing.T) {
	report(t, skips(goFiles(t)))
}

// skips complains of tests that may decide not to run.
func skips(files []file) (complaints []string) {
	// In parts, or this file would not pass.
	skip := regexp.MustCompile(`\b(t|b|f|tb)\.Ski` + `p(f|Now)?\(|testing\.Shor` + `t\(`)
	for _, f := range files {
		for i, line := range strings.Split(string(f.source), "\n") {
			if found := skip.FindString(line); found != "" {
				complaints = append(complaints, fmt.Sprintf("%s:%d: %s: a test that did not run has shown nothing: make it run everywhere", f.path, i+1, found))
			}
		}
	}
	return complaints
}

func TestNoFileNamesAMachine(t *testing.T) {
	walk(t, func(path string, source []byte) {
		report(t, machinePaths(path, source))
	})
}

// machinePaths complains of folders that exist on the machine of whoever wrote a
// file and on no other.
func machinePaths(path string, source []byte) (complaints []string) {
	// In parts, or this file would not pass. Part of a longer path is something else.
	machine := regexp.MustCompile(`(^|[^\w.\-})\]*])/(wor` + `k|roo` + `t)/`)
	for i, line := range strings.Split(string(source), "\n") {
		if machine.MatchString(line) {
			complaints = append(complaints, fmt.Sprintf("%s:%d: names a folder of one machine: this tree must work on any", path, i+1))
		}
	}
	return complaints
}

func TestMachinePathsAreFound(t *testing.T) {
	for line, bad := range map[string]bool{
		"cd /wor" + "k/main":        true,
		"/roo" + "t/.cache":         true,
		`"/wor` + `k/"`:             true,
		"$HOME/wor" + "k/portreeve": false,
		"/roo" + "tDesc.xml":        false,
		"/networ" + "k/":            false,
	} {
		if got := len(machinePaths("a", []byte("first line\n"+line))) > 0; got != bad {
			t.Errorf("%q: found %v, want %v", line, got, bad)
		}
	}
}

// calls are the calls below a node.
func calls(root ast.Node) func(yield func(*ast.CallExpr) bool) {
	return func(yield func(*ast.CallExpr) bool) {
		for n := range ast.Preorder(root) {
			if call, ok := n.(*ast.CallExpr); ok && !yield(call) {
				return
			}
		}
	}
}

// callee names what is called: the package or variable, if there is one, and the
// function or method.
func callee(call *ast.CallExpr) (on, name string) {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return "", f.Name
	case *ast.SelectorExpr:
		if x, ok := f.X.(*ast.Ident); ok {
			return x.Name, f.Sel.Name
		}
		return "", f.Sel.Name
	}
	return "", ""
}

func TestBrokenRulesAreFound(t *testing.T) {
	t.Run("format", func(t *testing.T) {
		try(t, unformatted, map[string]example{
			"formatted":   {one("igd/a.go", "package igd\n"), ""},
			"unformatted": {one("igd/a_test.go", "package  igd\n"), "not formatted"},
		})
	})
	t.Run("authorize", func(t *testing.T) {
		const call = "package lease\nfunc f(p Policy) { p.Authorize() }\n"
		try(t, authorizers, map[string]example{
			"one":            {one("lease/a.go", call), ""},
			"one and a test": {map[string]string{"lease/a.go": call, "lease/a_test.go": call}, ""},
			"none":           {one("lease/a.go", "package lease\n"), "one place"},
			"two":            {map[string]string{"lease/a.go": call, "web/a.go": call}, "one place"},
		})
	})
	t.Run("clock", func(t *testing.T) {
		const now = "package p\nvar t = time.Now\n"
		try(t, clocks, map[string]example{
			"lease":      {one("lease/a.go", now), ""},
			"cmd":        {one("cmd/portreeve/a.go", now), ""},
			"a test":     {one("igd/a_test.go", now), ""},
			"the lab":    {one("test/lab/a.go", now), ""},
			"a timer":    {one("igd/a.go", "package p\nvar t = time.NewTimer\n"), ""},
			"the store":  {one("lease/boltstore/a.go", now), "time.Now"},
			"a protocol": {one("igd/a.go", "package p\nfunc f() { time.Since(x) }\n"), "time.Since"},
		})
	})
	t.Run("init", func(t *testing.T) {
		try(t, inits, map[string]example{
			"none":     {one("igd/a.go", "package p\nfunc initialise() {}\n"), ""},
			"a method": {one("igd/a.go", "package p\nfunc (t T) init() {}\n"), ""},
			"one":      {one("igd/a_test.go", "package p\nfunc init() {}\n"), "func init"},
		})
	})
	t.Run("names", func(t *testing.T) {
		try(t, emptyNames, map[string]example{
			"good":   {one("igd/a.go", "package igd\n"), ""},
			"name":   {one("igd/a.go", "package util\n"), "says nothing"},
			"folder": {one("igd/common/a.go", "package c\n"), "says nothing"},
		})
	})
	t.Run("skips", func(t *testing.T) {
		try(t, skips, map[string]example{
			"none":  {one("igd/a_test.go", "package p\nfunc f(d *xml.Decoder) { d.Skip() }\n"), ""},
			"skip":  {one("igd/a_test.go", "package p\nfunc f() { t.Ski"+"pf(\"\") }\n"), "did not run"},
			"short": {one("igd/a_test.go", "package p\nfunc f() { testing.Shor"+"t() }\n"), "did not run"},
		})
	})
}
