package repo_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// arrow says what a folder of the program may import of ours, besides what lies
// below it.
type arrow struct {
	folder string
	mayUse []string
}

// arrows is the architecture: everything points at lease, lease at nothing. Of the
// folders that a file lies in the first in the list counts. One that is not in the
// list may not exist.
func arrows() []arrow {
	return []arrow{
		{"lease/boltstore", []string{"lease"}},
		{"lease", nil},
		{"config", []string{"lease"}},
		{"kernel", nil},
		{"firewall", []string{"lease", "kernel"}},
		{"ssdp", nil},
		{"igd", []string{"lease"}},
		{"pcp", []string{"lease"}},
		{"lan", []string{"lease", "kernel"}},
		{"wan", []string{"lease", "kernel", "pcp"}},
		{"docs", nil},
		{"notify", []string{"lease"}},
		{"web", []string{"lease", "lan", "wan", "docs", "notify"}},
		{"cmd", []string{"lease", "config", "kernel", "firewall", "ssdp", "igd", "pcp", "lan", "wan", "notify", "web"}},
	}
}

// others says which folders of the program may import a module that is not ours.
// Nobody may import one that is not in the list, and lease none at all.
func others() map[string][]string {
	anyone := []string{"cmd", "config", "firewall", "igd", "lan", "pcp", "ssdp", "wan", "web", "lease/boltstore"}
	return map[string][]string{
		"github.com/coreos/go-iptables":  {"firewall"},
		"github.com/gin-gonic/gin":       {"web"},
		"github.com/google/nftables":     {"firewall"},
		"github.com/huin/goupnp":         {"ssdp", "igd", "wan"},
		"github.com/jackpal/go-nat-pmp":  {"wan"},
		"github.com/mdlayher/netlink":    {"firewall"}, // below google/nftables
		"github.com/mdlayher/sdnotify":   {"cmd"},
		"github.com/pelletier/go-toml":   {"config"},
		"github.com/pion/stun":           {"wan"},
		"github.com/spf13/cobra":         {"cmd"},
		"github.com/vishvananda/netlink": {"kernel", "lan", "wan", "firewall"}, // firewall: the kernel's connections
		"go.etcd.io/bbolt":               {"lease/boltstore"},
		"golang.org/x/crypto":            {"web"},
		"golang.org/x/net":               anyone,
		"golang.org/x/sync":              anyone,
		"golang.org/x/sys":               append([]string{"kernel"}, anyone...),
		"golang.org/x/time":              anyone,
	}
}

func TestImportsFollowTheArrows(t *testing.T) {
	report(t, wrongImports(goFiles(t)))
}

// wrongImports complains of every import that the tables do not allow.
func wrongImports(files []file) (complaints []string) {
	for _, f := range program(files) {
		i := slices.IndexFunc(arrows(), func(a arrow) bool { return within(f.dir(), a.folder) })
		if i < 0 {
			complaints = append(complaints, fmt.Sprintf("%s: no package belongs into this folder; see the table in test/repo", f.path))
			continue
		}
		for _, imported := range f.imports() {
			if why := forbidden(arrows()[i], imported, files); why != "" {
				complaints = append(complaints, fmt.Sprintf("%s: imports %s: %s", f.path, imported, why))
			}
		}
	}
	return append(complaints, ginOutsideWeb(files)...)
}

// forbidden says why a folder may not import a package; empty if it may.
func forbidden(from arrow, imported string, files []file) string {
	switch first, _, _ := strings.Cut(imported, "/"); {
	case imported == "html/template", imported == "text/template":
		return "it would keep a third of the program that nobody calls; use web/markup"
	case !strings.Contains(first, "."):
		return "" // the standard library
	case within(imported, module):
		folder := strings.TrimPrefix(imported, module+"/")
		for _, f := range files {
			if f.dir() == folder && !strings.HasSuffix(f.path, "_test.go") && f.isTest {
				return "that is for tests"
			}
		}
		below := within(folder, from.folder) && from.folder != "lease"
		if !below && !slices.ContainsFunc(from.mayUse, func(m string) bool { return within(folder, m) && !isStore(from, folder) }) {
			return fmt.Sprintf("%s may import of ours only %q", from.folder, from.mayUse)
		}
	default:
		for other, folders := range others() {
			if within(imported, other) {
				if !slices.Contains(folders, from.folder) {
					return fmt.Sprintf("only %q may", folders)
				}
				return ""
			}
		}
		return "nobody may: it is not in the table in test/repo"
	}
	return ""
}

// isStore reports whether somebody other than the wiring reaches for the store,
// which lies below lease but is no part of what lease says.
func isStore(from arrow, folder string) bool {
	return within(folder, "lease/boltstore") && from.folder != "cmd"
}

// ginOutsideWeb complains also of tests.
func ginOutsideWeb(files []file) (complaints []string) {
	for _, f := range files {
		for _, imported := range f.imports() {
			if f.isTest && within(imported, "github.com/gin-gonic/gin") && !within(f.dir(), "web") {
				complaints = append(complaints, fmt.Sprintf("%s: imports gin: only web may", f.path))
			}
		}
	}
	return complaints
}

func TestWrongImportsAreFound(t *testing.T) {
	using := func(path, imported string) map[string]string {
		return one(path, "package p\nimport _ \""+imported+"\"\n")
	}
	forTests := using("firewall/conformance/c.go", "testing")
	forTests["web/a.go"] = "package web\nimport _ \"" + module + "/lease\"\n"
	reached := using("firewall/conformance/c.go", "testing")
	reached["cmd/portreeve/a.go"] = "package main\nimport _ \"" + module + "/firewall/conformance\"\n"
	try(t, wrongImports, map[string]example{
		"a spoke imports the hub":           {using("igd/a.go", module+"/lease"), ""},
		"a folder imports what is below":    {using("firewall/a.go", module+"/firewall/iptables"), ""},
		"wan imports the codec":             {using("wan/a.go", module+"/pcp"), ""},
		"the wiring imports the store":      {using("cmd/portreeve/a.go", module+"/lease/boltstore"), ""},
		"tests import what they like":       {using("igd/a_test.go", module+"/ssdp"), ""},
		"a package for tests does too":      {forTests, ""},
		"a spoke imports another":           {using("igd/a.go", module+"/ssdp"), "igd may import"},
		"a spoke imports the store":         {using("web/a.go", module+"/lease/boltstore"), "web may import"},
		"a name that begins alike":          {using("wan/a.go", module+"/pcpx"), "wan may import"},
		"the hub imports a spoke":           {using("lease/a.go", module+"/lan"), "lease may import"},
		"the hub imports the store":         {using("lease/a.go", module+"/lease/boltstore"), "lease may import"},
		"the program imports the lab":       {using("cmd/portreeve/a.go", module+"/test/lab"), "cmd may import"},
		"the program imports conformance":   {reached, "for tests"},
		"the hub imports another module":    {using("lease/a.go", "golang.org/x/sys/unix"), "only"},
		"gin in web":                        {using("web/a.go", "github.com/gin-gonic/gin"), ""},
		"gin elsewhere":                     {using("igd/a.go", "github.com/gin-gonic/gin"), "only"},
		"gin in a test elsewhere":           {using("igd/a_test.go", "github.com/gin-gonic/gin"), "only web may"},
		"a module that nobody agreed on":    {using("web/a.go", "example.com/m"), "nobody may"},
		"templates that call methods":       {using("web/a.go", "html/template"), "web/markup"},
		"a folder that nobody agreed on":    {using("metrics/a.go", "fmt"), "no package belongs"},
		"netlink where the kernel is asked": {using("lan/a.go", "github.com/vishvananda/netlink"), ""},
		"netlink elsewhere":                 {using("igd/a.go", "github.com/vishvananda/netlink"), "only"},
	})
}
