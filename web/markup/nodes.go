package markup

import (
	"iter"
	"text/template/parse"
)

// nodes yields a node and all that is below it.
func nodes(root parse.Node) iter.Seq[parse.Node] {
	return func(yield func(parse.Node) bool) { walk(root, yield) }
}

func walk(node parse.Node, yield func(parse.Node) bool) bool {
	if !yield(node) {
		return false
	}
	for _, below := range children(node) {
		if !walk(below, yield) {
			return false
		}
	}
	return true
}

func children(node parse.Node) (below []parse.Node) {
	switch n := node.(type) {
	case *parse.ListNode:
		return n.Nodes
	case *parse.ActionNode:
		return []parse.Node{n.Pipe}
	case *parse.PipeNode:
		for _, c := range n.Cmds {
			below = append(below, c)
		}
	case *parse.CommandNode:
		return n.Args
	case *parse.IfNode:
		return branches(&n.BranchNode)
	case *parse.WithNode:
		return branches(&n.BranchNode)
	case *parse.RangeNode:
		return branches(&n.BranchNode)
	case *parse.TemplateNode:
		if n.Pipe != nil {
			return []parse.Node{n.Pipe}
		}
	}
	return below
}

func branches(n *parse.BranchNode) []parse.Node {
	below := []parse.Node{n.Pipe, n.List}
	if n.ElseList != nil {
		below = append(below, n.ElseList)
	}
	return below
}
