// Package markup renders pages from templates in the language of html/template, of which it knows a part.
//
// It is there for the size of the program. A template of the standard library may call any method of any value by a
// name that is known only when it runs. So the linker has to keep every method of every type that meets an interface
// anywhere, and with them whole libraries that nobody uses: a third of the program, on disk and in memory. Templates
// of this package read fields and call the functions that they were given, but no methods.
//
// The other thing that is missing is to know where in the page a value is put. Every value is escaped, and
// safe as text and within quoted attributes, but not in a script, a style or an address. The tests of package web have
// html/template look at all templates, and fail if one puts a value where that is not enough.
//
// A template has: fields and variables (.Name, $x.Name), functions with arguments and parentheses, pipes, if, else,
// with, range, define and template, and the functions and, or, not, eq, ne, len, print and printf. Anything else is an
// error of [Parse].
package markup

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"reflect"
	"slices"
	"text/template/parse"
)

// Functions are what templates may call besides the functions that are always there. Each is a function that returns
// one value, or one value and an error, which ends the rendering.
type Functions map[string]any

// Set is templates that may include each other. Its methods may be used from several goroutines.
type Set struct {
	trees     map[string]*parse.Tree
	functions map[string]reflect.Value
}

// Parse reads the files that match a pattern. A file is a template with the name of the file, without the folder; each
// "define" in it is one with the name that it gives.
func Parse(files fs.FS, pattern string, functions Functions) (*Set, error) {
	names, err := fs.Glob(files, pattern)
	if err != nil {
		return nil, fmt.Errorf("templates %s: %w", pattern, err)
	}
	s := &Set{trees: map[string]*parse.Tree{}, functions: map[string]reflect.Value{}}
	for name, f := range functions {
		if s.functions[name], err = callable(name, f); err != nil {
			return nil, err
		}
	}
	for _, name := range names {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		if err := s.add(path.Base(name), string(text), functions); err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.trees)) {
		if err := s.check(s.trees[name]); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// With returns the same templates with other functions in the place of some: those of another language, say. Each must be
// known to the templates already.
func (s *Set) With(functions Functions) (*Set, error) {
	other := &Set{trees: s.trees, functions: maps.Clone(s.functions)}
	for name, f := range functions {
		if _, known := s.functions[name]; !known {
			return nil, fmt.Errorf("function %q is not one of the templates", name)
		}
		var err error
		if other.functions[name], err = callable(name, f); err != nil {
			return nil, err
		}
	}
	return other, nil
}

func (s *Set) add(name, text string, functions Functions) error {
	trees, err := parse.Parse(name, text, "{{", "}}", functions, always())
	if err != nil {
		return err
	}
	for name, tree := range trees {
		if s.trees[name] != nil {
			return fmt.Errorf("template %q is defined twice", name)
		}
		s.trees[name] = tree
	}
	return nil
}

// callable refuses what is no function of the right kind.
func callable(name string, f any) (reflect.Value, error) {
	v := reflect.ValueOf(f)
	if v.Kind() == reflect.Func {
		t := v.Type()
		if t.NumOut() == 1 || t.NumOut() == 2 && t.Out(1) == reflect.TypeFor[error]() {
			return v, nil
		}
	}
	return v, fmt.Errorf("function %q is a %T: it must return one value, or one and an error", name, f)
}

// check refuses what this package cannot do, so that it does not come up only when a page is shown.
func (s *Set) check(tree *parse.Tree) error {
	for node := range nodes(tree.Root) {
		var why string
		switch n := node.(type) {
		case *parse.TemplateNode:
			if s.trees[n.Name] == nil {
				why = "there is no such template"
			}
		case *parse.BreakNode, *parse.ContinueNode:
			why = "not known here"
		case *parse.ChainNode:
			why = "a field of something in parentheses is not known here; use a variable"
		case *parse.RangeNode:
			if len(n.Pipe.Decl) > 0 {
				why = "variables of range are not known here"
			}
		}
		if why != "" {
			where, what := tree.ErrorContext(node)
			return fmt.Errorf("template %s: %s: %s", where, what, why)
		}
	}
	return nil
}
