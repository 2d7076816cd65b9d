package repo_test

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestPackageVariablesNeverChange(t *testing.T) {
	report(t, mutable(goFiles(t)))
}

// constructors make values that package variables may have: nobody can change them,
// or nobody needs to.
func constructors() []string {
	return []string{
		"errors.New", "fmt.Errorf", "fmt.Sprintf",
		"regexp.MustCompile", "strings.NewReplacer",
		"netip.MustParseAddr", "netip.MustParseAddrPort", "netip.MustParsePrefix", "netip.AddrFrom4", "netip.AddrPortFrom",
		"sync.OnceFunc", "sync.OnceValue", "sync.OnceValues",
		"template.Must",
	}
}

// mutable complains of the program's package variables that change, or are made to.
// A variable may be an interface check (_), embedded files, the value of one of the
// constructors, or a literal table; and nothing may be assigned to it or to a part
// of it, nor its address be taken.
func mutable(files []file) (complaints []string) {
	packages := map[string][]file{}
	for _, f := range program(files) {
		packages[f.dir()] = append(packages[f.dir()], f)
	}
	for _, dir := range slices.Sorted(maps.Keys(packages)) {
		for _, f := range packages[dir] {
			complaints = append(complaints, badVars(f)...)
		}
		complaints = append(complaints, writes(packages[dir])...)
	}
	return complaints
}

// badVars complains of declarations.
func badVars(f file) (complaints []string) {
	for _, d := range f.ast.Decls {
		decl, ok := d.(*ast.GenDecl)
		if !ok || decl.Tok != token.VAR {
			continue
		}
		for _, s := range decl.Specs {
			spec := s.(*ast.ValueSpec)
			if embedded(decl.Doc) || embedded(spec.Doc) {
				continue
			}
			for i, name := range spec.Names {
				if name.Name == "_" || i < len(spec.Values) && constant(spec.Values[i]) {
					continue
				}
				complaints = append(complaints, fmt.Sprintf("%s: package variable %s: make it a constant, a function, or a field of what uses it", f.at(name), name.Name))
			}
		}
	}
	return complaints
}

// embedded reports whether a comment makes a variable of files.
func embedded(doc *ast.CommentGroup) bool {
	return doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool { return strings.HasPrefix(c.Text, "//go:embed ") })
}

// constant reports whether an initial value is one that never needs to change.
func constant(value ast.Expr) bool {
	switch v := value.(type) {
	case *ast.CompositeLit:
		return true
	case *ast.UnaryExpr: // a pointer to a literal
		_, ok := v.X.(*ast.CompositeLit)
		return ok && v.Op == token.AND
	case *ast.CallExpr:
		on, name := callee(v)
		if slices.Contains(constructors(), on+"."+name) {
			return true
		}
		// A conversion such as []byte("...") of something constant.
		_, conversion := v.Fun.(*ast.ArrayType)
		return conversion
	}
	return false
}

// writes complains of changes to package variables, in the files of one package.
func writes(files []file) (complaints []string) {
	// One file set for all, because the type checker wants one.
	fset := token.NewFileSet()
	var trees []*ast.File
	for _, f := range files {
		again, err := parser.ParseFile(fset, f.path, f.source, parser.SkipObjectResolution)
		if err != nil {
			return []string{err.Error()}
		}
		trees = append(trees, again)
	}
	// Only the package's own names matter: imports are not followed, and the errors
	// that this causes are expected.
	info := types.Info{Uses: map[*ast.Ident]types.Object{}}
	checker := types.Config{Error: func(error) {}, Importer: blind{}}
	pkg, _ := checker.Check("p", fset, trees, &info)

	global := func(e ast.Expr) *ast.Ident {
		name := root(e)
		if name == nil {
			return nil
		}
		if v, ok := info.Uses[name].(*types.Var); ok && v.Parent() == pkg.Scope() {
			return name
		}
		return nil
	}
	for _, tree := range trees {
		for n := range ast.Preorder(tree) {
			for _, target := range targets(n) {
				if name := global(target); name != nil {
					complaints = append(complaints, fmt.Sprintf("%s: package variable %s changes: make it a field of what uses it", fset.Position(n.Pos()), name.Name))
				}
			}
		}
	}
	return complaints
}

// targets are what a node changes or takes the address of.
func targets(n ast.Node) []ast.Expr {
	switch n := n.(type) {
	case *ast.AssignStmt:
		if n.Tok != token.DEFINE {
			return n.Lhs
		}
	case *ast.IncDecStmt:
		return []ast.Expr{n.X}
	case *ast.RangeStmt:
		if n.Tok == token.ASSIGN {
			return []ast.Expr{n.Key, n.Value}
		}
	case *ast.UnaryExpr:
		if n.Op == token.AND {
			return []ast.Expr{n.X}
		}
	case *ast.CallExpr:
		if on, name := callee(n); on == "" && (name == "delete" || name == "clear") {
			return n.Args[:1]
		}
	}
	return nil
}

// root is the variable that an expression is a part of: x of x.a[1].b.
func root(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x
		case *ast.SelectorExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default:
			return nil
		}
	}
}

// blind finds no package.
type blind struct{}

func (blind) Import(string) (*types.Package, error) { return nil, errors.New("not followed") }

func TestChangingPackageVariablesAreFound(t *testing.T) {
	try(t, mutable, map[string]example{
		"an error":             {one("igd/a.go", "package p\nvar Err = errors.New(\"x\")\n"), ""},
		"a table":              {one("igd/a.go", "package p\nvar m = map[int]string{1: \"a\"}\nfunc f() string { return m[1] }\n"), ""},
		"an interface check":   {one("igd/a.go", "package p\nvar _ I = (*T)(nil)\n"), ""},
		"embedded files":       {one("web/a.go", "package p\n//go:embed a\nvar files embed.FS\n"), ""},
		"a test's variable":    {one("igd/a_test.go", "package p\nvar n int\n"), ""},
		"a local of that name": {one("igd/a.go", "package p\nvar m = []int{1}\nfunc f() { m := []int{2}; m[0] = 3; _ = m }\n"), ""},
		"a counter":            {one("igd/a.go", "package p\nvar n int\n"), "package variable n"},
		"a number":             {one("igd/a.go", "package p\nvar n = 5\n"), "package variable n"},
		"a seam":               {one("igd/a.go", "package p\nvar now = func() int { return 1 }\n"), "package variable now"},
		"a table that grows":   {one("igd/a.go", "package p\nvar m = map[int]int{}\nfunc f() { m[1] = 2 }\n"), "m changes"},
		"a table that shrinks": {one("igd/a.go", "package p\nvar m = map[int]int{}\nfunc f() { delete(m, 1) }\n"), "m changes"},
		"a pointer to one":     {one("igd/a.go", "package p\nvar s = T{}\nfunc f() { g(&s) }\n"), "s changes"},
		"in another file": {map[string]string{
			"igd/a.go": "package p\nvar s = T{}\n",
			"igd/b.go": "package p\nfunc f() { s.n++ }\n",
		}, "s changes"},
	})
}
