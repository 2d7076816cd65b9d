package web

import (
	"html/template"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"text/template/parse"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/lease"
)

// hostileText is what a LAN host may send where a name is expected.
const hostileText = `"><script>alert('1')</script>&amp; /../ {{.}}`

// reference is the templates as html/template understands them, and their functions.
func reference(t *testing.T) (*template.Template, *pages) {
	t.Helper()
	a, err := newAssets()
	if err != nil {
		t.Fatal(err)
	}
	texts, err := loadCatalogue(language)
	if err != nil {
		t.Fatal(err)
	}
	p, err := newPages(a)
	if err != nil {
		t.Fatal(err)
	}
	r, err := template.New("").Funcs(template.FuncMap(functions(a, texts))).ParseFS(files, templateFiles)
	if err != nil {
		t.Fatal(err)
	}
	return r, p
}

// Package markup escapes each value in the same way. html/template knows where in a page a value is put, and what it takes
// to be safe there: that must be what markup does, or an address that one of our functions has made safe.
func TestTemplatesPutValuesWhereEscapingIsEnough(t *testing.T) {
	all, _ := reference(t)
	addresses := []string{"asset", "path"}
	for _, page := range all.Templates() {
		if strings.HasSuffix(page.Name(), ".html") {
			_ = page.Execute(io.Discard, nil) // fails for want of data, once it has escaped the templates
		}
	}
	checked := 0
	for _, page := range all.Templates() {
		if page.Tree == nil {
			continue // the name that all have in common
		}
		for _, pipe := range printed(page.Tree.Root) {
			first := pipe.Cmds[0].Args[0].String()
			for _, c := range pipe.Cmds {
				escaper, ours := strings.CutPrefix(c.Args[0].String(), "_html_template_")
				switch {
				case !ours:
				case slices.Contains([]string{"htmlescaper", "attrescaper", "rcdataescaper"}, escaper):
					checked++
				case slices.Contains([]string{"urlfilter", "urlnormalizer"}, escaper) && slices.Contains(addresses, first):
				default:
					t.Errorf("%s: %s would have to be escaped by %s: put it elsewhere, or make a function for it", page.Name(), pipe, escaper)
				}
			}
		}
	}
	if checked < 100 {
		t.Errorf("only %d values were found in the templates", checked)
	}
}

// printed returns the pipes whose values are written into the page.
func printed(node parse.Node) (pipes []*parse.PipeNode) {
	branch := func(b parse.BranchNode) []*parse.PipeNode {
		pipes := printed(b.List)
		if b.ElseList != nil {
			pipes = append(pipes, printed(b.ElseList)...)
		}
		return pipes
	}
	switch n := node.(type) {
	case *parse.ListNode:
		for _, below := range n.Nodes {
			pipes = append(pipes, printed(below)...)
		}
	case *parse.ActionNode:
		if len(n.Pipe.Decl) == 0 {
			pipes = append(pipes, n.Pipe)
		}
	case *parse.IfNode:
		return branch(n.BranchNode)
	case *parse.WithNode:
		return branch(n.BranchNode)
	case *parse.RangeNode:
		return branch(n.BranchNode)
	}
	return pipes
}

func TestPagesAreWhatTheStandardLibraryMakes(t *testing.T) {
	all, p := reference(t)
	hostile := Lease{
		ID: hostileText, Protocol: hostileText, InternalAddress: netip.MustParseAddr("192.168.1.2"),
		RemoteHosts: []RemoteHost{{Prefix: netip.MustParsePrefix("192.0.2.0/24"), Port: 7}, {}}, Description: hostileText,
		Agent: hostileText, Via: lease.OriginUPnP, Device: hostileText, DeviceName: hostileText,
	}
	stuck, permanent, unnamed := hostile, hostile, Lease{Via: lease.OriginPCP}
	stuck.Stuck, permanent.Permanent = hostileText, true
	full := Status{
		Verdict: VerdictTrouble, UptimeSeconds: 100000, Leases: 4, Problems: []Trouble{{hostileText, hostileText, 7}},
		Facts: Facts{
			Version: hostileText, Backend: hostileText, Notices: []string{hostileText},
			WANs: []WANFacts{
				{Name: hostileText, Addresses: []netip.Addr{netip.MustParseAddr("203.0.113.5")}, State: WANPublic},
				{State: WANDown},
			},
			LANs: []LANFacts{
				{Name: hostileText, Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.1.1/24")}}, {},
			},
			Protocols: []ProtocolFacts{{Name: "upnp", Enabled: true}, {Name: "pcp"}},
		},
	}
	why := problem(CodeRate, hostileText)
	for name, data := range map[string]any{
		"leases.html":  page{Title: "leases.title", Script: true, Leases: []Lease{hostile, stuck, permanent, unnamed}, Status: full},
		"setup.html":   page{Title: "setup.title", Script: true, Problem: why, Reset: true},
		"login.html":   page{Title: "login.title", Problem: why},
		"problem.html": page{Title: "problem.title", Problem: why},
		"rows":         []Lease{hostile, stuck, permanent, unnamed},
		"row":          unnamed,
		"status":       Status{Verdict: VerdictNoLAN},
		"empty":        Status{Verdict: VerdictNoWAN},
	} {
		var want strings.Builder
		if err := all.ExecuteTemplate(&want, name, data); err != nil {
			t.Fatal(err)
		}
		got, err := p.render(name, data)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(strings.ReplaceAll(want.String(), "&#43;", "+"), string(got)); d != "" {
			t.Errorf("%s (-html/template +ours):\n%s", name, d)
		}
	}
}
