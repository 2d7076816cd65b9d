package markup

import (
	"bytes"
	"errors"
	"fmt"
	"html"
	"reflect"
	"slices"
	"strings"
	"text/template/parse"
)

// maxDepth is how deep templates may include each other: one that includes itself shall not take the program down.
const maxDepth = 100

// Render returns what a template makes of the data. On an error there is no page.
func (s *Set) Render(name string, data any) ([]byte, error) {
	tree := s.trees[name]
	if tree == nil {
		return nil, fmt.Errorf("there is no template %q", name)
	}
	var out bytes.Buffer
	r := &rendering{set: s, out: &out}
	if err := r.template(tree, reflect.ValueOf(data)); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// rendering is one template at work on one value.
type rendering struct {
	set       *Set
	tree      *parse.Tree
	out       *bytes.Buffer
	variables []variable // the innermost last
	depth     int
}

type variable struct {
	name  string
	value reflect.Value
}

// template renders one from the start: it sees no variables but $, its data.
func (r *rendering) template(tree *parse.Tree, data reflect.Value) error {
	inner := &rendering{set: r.set, tree: tree, out: r.out, depth: r.depth + 1, variables: []variable{{"$", data}}}
	if inner.depth > maxDepth {
		return fmt.Errorf("template %s: included %d deep", tree.Name, maxDepth)
	}
	return inner.node(tree.Root, data)
}

// node writes what a node makes of the value that the dot stands for.
func (r *rendering) node(node parse.Node, dot reflect.Value) error {
	switch n := node.(type) {
	case *parse.TextNode:
		r.out.Write(n.Text)
	case *parse.ListNode:
		return r.list(n, dot)
	case *parse.ActionNode:
		return r.action(n, dot)
	case *parse.IfNode:
		return r.branch(&n.BranchNode, dot, func(reflect.Value) error { return r.list(n.List, dot) })
	case *parse.WithNode:
		return r.branch(&n.BranchNode, dot, func(v reflect.Value) error { return r.list(n.List, v) })
	case *parse.RangeNode:
		return r.branch(&n.BranchNode, dot, func(v reflect.Value) error { return r.each(n, v) })
	case *parse.TemplateNode:
		return r.include(n, dot)
	case *parse.CommentNode:
	default:
		return r.fail(node, errors.New("not known here"))
	}
	return nil
}

func (r *rendering) list(n *parse.ListNode, dot reflect.Value) error {
	if n == nil {
		return nil // an else that is not there
	}
	defer func(known int) { r.variables = r.variables[:known] }(len(r.variables))
	for _, below := range n.Nodes {
		if err := r.node(below, dot); err != nil {
			return err
		}
	}
	return nil
}

func (r *rendering) action(n *parse.ActionNode, dot reflect.Value) error {
	v, err := r.pipe(n.Pipe, dot)
	if err == nil && len(n.Pipe.Decl) == 0 {
		r.out.WriteString(escape(fmt.Sprint(plain(v))))
	}
	return err
}

// escape makes a value safe as text and within quoted attributes. NUL is no character of HTML: browsers replace or drop it.
func escape(value string) string {
	return html.EscapeString(strings.ReplaceAll(value, "\x00", "\uFFFD"))
}

// branch does one thing or the other, depending on the truth of a value.
func (r *rendering) branch(n *parse.BranchNode, dot reflect.Value, yes func(reflect.Value) error) error {
	defer func(known int) { r.variables = r.variables[:known] }(len(r.variables))
	v, err := r.pipe(n.Pipe, dot)
	if err != nil {
		return err
	}
	if truth(v) {
		return yes(v)
	}
	return r.list(n.ElseList, dot)
}

func (r *rendering) each(n *parse.RangeNode, all reflect.Value) error {
	if all.Kind() != reflect.Slice && all.Kind() != reflect.Array {
		return r.fail(n, fmt.Errorf("range over %s: only lists are known here", all.Type()))
	}
	for i := range all.Len() {
		if err := r.list(n.List, whole(all.Index(i))); err != nil {
			return err
		}
	}
	return nil
}

func (r *rendering) include(n *parse.TemplateNode, dot reflect.Value) error {
	var data reflect.Value
	if n.Pipe != nil {
		var err error
		if data, err = r.pipe(n.Pipe, dot); err != nil {
			return err
		}
	}
	return r.template(r.set.trees[n.Name], data)
}

// pipe returns the value of a pipe, and gives it to the variable that it declares or assigns, if any.
func (r *rendering) pipe(n *parse.PipeNode, dot reflect.Value) (v reflect.Value, err error) {
	for i, c := range n.Cmds {
		var before []reflect.Value // the last argument is what the command before has returned
		if i > 0 {
			before = []reflect.Value{v}
		}
		if v, err = r.command(c, dot, before); err != nil {
			return v, err
		}
	}
	for _, d := range n.Decl {
		if !n.IsAssign {
			r.variables = append(r.variables, variable{d.Ident[0], v})
			continue
		}
		known := r.find(d.Ident[0])
		if known == nil {
			return v, r.fail(n, fmt.Errorf("variable %s is not there", d.Ident[0]))
		}
		known.value = v
	}
	return v, nil
}

func (r *rendering) command(n *parse.CommandNode, dot reflect.Value, more []reflect.Value) (reflect.Value, error) {
	if f, ok := n.Args[0].(*parse.IdentifierNode); ok {
		v, err := r.call(f.Ident, n.Args[1:], dot, more)
		if err != nil {
			return v, r.fail(n, err)
		}
		return v, nil
	}
	if len(n.Args) > 1 || len(more) > 0 {
		return reflect.Value{}, r.fail(n, errors.New("arguments for what is not a function"))
	}
	return r.value(n.Args[0], dot)
}

// value returns what one argument stands for.
func (r *rendering) value(node parse.Node, dot reflect.Value) (v reflect.Value, err error) {
	switch n := node.(type) {
	case *parse.DotNode:
		return dot, nil
	case *parse.FieldNode:
		v, err = fields(dot, n.Ident)
	case *parse.VariableNode:
		known := r.find(n.Ident[0])
		if known == nil {
			return v, r.fail(n, fmt.Errorf("variable %s is not there", n.Ident[0]))
		}
		v, err = fields(known.value, n.Ident[1:])
	case *parse.PipeNode:
		return r.pipe(n, dot)
	case *parse.IdentifierNode:
		v, err = r.call(n.Ident, nil, dot, nil)
	case *parse.NilNode:
		return reflect.Value{}, nil
	case *parse.StringNode:
		return reflect.ValueOf(n.Text), nil
	case *parse.BoolNode:
		return reflect.ValueOf(n.True), nil
	case *parse.NumberNode:
		if !n.IsInt {
			return v, r.fail(n, errors.New("only whole numbers are known here"))
		}
		return reflect.ValueOf(int(n.Int64)), nil
	default:
		err = errors.New("not known here")
	}
	if err != nil {
		return v, r.fail(node, err)
	}
	return v, nil
}

// find returns the innermost variable of a name, nil if there is none.
func (r *rendering) find(name string) *variable {
	for i := range slices.Backward(r.variables) {
		if r.variables[i].name == name {
			return &r.variables[i]
		}
	}
	return nil
}

// fail adds to an error where in the templates it came up, if that is not said yet.
func (r *rendering) fail(node parse.Node, err error) error {
	if _, ok := errors.AsType[mistake](err); ok {
		return err
	}
	where, what := r.tree.ErrorContext(node)
	return mistake{where, what, err}
}

// mistake is an error with its place in the templates.
type mistake struct {
	where, what string
	err         error
}

func (m mistake) Error() string { return fmt.Sprintf("template %s: %s: %v", m.where, m.what, m.err) }
func (m mistake) Unwrap() error { return m.err }
