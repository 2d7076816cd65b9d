package web

import (
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// What reaches a page in English is found in the source: every text of two words and more in the files below must have a
// pattern in Chinese, with nothing of it left in English. What never reaches a page is listed here, with the reason.

// saying are the files that say something to people by a page.
func saying() []string {
	return []string{
		"../lease/*.go", "../lease/boltstore/explain.go", "../lease/boltstore/load.go", "../lease/boltstore/open.go",
		"../firewall/check.go", "../firewall/*/check.go", "../firewall/passage/passages.go", "../firewall/forwarding.go",
		"../wan/snapshot.go", "../wan/nattype.go", "../lan/choose.go", "../lan/taken.go",
		"../notify/settings.go", "../notify/explain.go", "../notify/notifier.go", "../notify/post.go", "../notify/mail.go",
		"../cmd/portreeve/check.go", "../cmd/portreeve/ownports.go", "*.go",
	}
}

// silentFiles say nothing to people, or only to those who read the log.
func silentFiles() map[string]string {
	return map[string]string{
		"../lease/check.go":    "faults in the program, for tests",
		"../lease/clock.go":    "the daemon does not start then",
		"../lease/services.go": "the names of services",
		"assets.go":            "files of the program that are not there",
		"audit.go":             "the daemon does not start then, or the log tells it",
		"guard.go":             "headers, and answers to browsers that show none of our pages",
		"peer.go":              "the Unix socket, which no page comes from",
		"records.go":           "faults in the program",
		"serve.go":             "the daemon ends then",
		"session.go":           "the daemon does not start then",
		"stream.go":            "the event stream, which a script reads",
		"text.go":              "faults in the program",
		"corewords.go":         "faults in the program",
		"devicekind.go":        "the names of makers",
	}
}

// silent are texts of the other files that no page shows.
func silent() map[string]string {
	const (
		start   = "the daemon does not start then"
		fault   = "a fault in the program"
		header  = "a header, or a file's name"
		plain   = "the page has a text for the code"
		setting = "the name of a setting"
		command = "the command line"
	)
	return map[string]string{
		"read the clocks: %w": start, "load leases: %w": start, "web: read the accounts: %w": start, "web: read the account %.64q: %w": start, "read the tokens: %w": start,
		"read the token %.64q: %w": start, "web: Leases, Records and Facts are required": fault, "notify: Leases, Records and Lines are required": fault,
		"sign in: %w; set a new password with: portreeve setup-code": fault,
		"text/plain; charset=utf-8":                                  header, "text/html; charset=utf-8": header, "text/csv; charset=utf-8": header,
		`Bearer error="invalid_token"`: header, `attachment; filename="portreeve-backup.json"`: header, `attachment; filename="activity.json"`: header,
		`attachment; filename="leases.json"`: header, `attachment; filename="%v"`: header, "portreeve backup": header,
		"too many tries; wait %d s": plain, "this lease does not exist any more": plain, "something went wrong inside portreeve; its log says what": plain,
		"Check the configuration and whether this machine can run portreeve; changes nothing": command,
		"Check the configuration and whether this machine can run portreeve. It changes nothing, and may be run\nbeside a running daemon. " +
			"Exits with 3 if the configuration is wrong and with 7 if something else would not work.": command,
		"%d of %d checks found a problem": command, "[igd] port": setting, "[pcp] natpmp": setting, "[web] port": setting,
		"nft add rule ip nat postrouting oifname %v masquerade": "a command to type",
		"answers; net.ipv4.ip_forward was 0 before":             "a line of a file",
	}
}

var verb = regexp.MustCompile(`%(\[\d+\])?[-+# 0]*\d*(\.\d+)?[a-zA-Z]`)

// sample makes a sentence of a format.
func sample(format string) string {
	format = strings.TrimPrefix(format, "%w: ")
	text := verb.ReplaceAllStringFunc(format, func(v string) string {
		switch v[len(v)-1] {
		case 'd', 'f':
			return "7"
		case 'q':
			return `"X1"`
		}
		return "X1"
	})
	text = strings.ReplaceAll(text, "%%", "%")
	if text = strings.TrimSpace(text); strings.HasSuffix(text, ":") {
		text += " X1"
	}
	return text
}

// plainCodes are the codes of problems of which a page has a text of its own, without the detail.
func plainCodes(t *testing.T) (names []string) {
	texts, err := loadCatalogue("zh")
	if err != nil {
		t.Fatal(err)
	}
	file, err := parser.ParseFile(gotoken.NewFileSet(), "problem.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok && len(v.Values) == 1 {
			if value, ok := v.Values[0].(*ast.BasicLit); ok && !strings.Contains(texts["problem."+strings.Trim(value.Value, `"`)], "{detail}") {
				names = append(names, v.Names[0].Name)
			}
		}
		return true
	})
	return names
}

// tells tells whether a call may bring a text to a page: not to the log, nor as the detail of a problem that has its own text.
func tells(call *ast.CallExpr, plain []string) bool {
	switch f := call.Fun.(type) {
	case *ast.SelectorExpr:
		return len(call.Args) == 0 || !slices.Contains([]string{"Debug", "Info", "Warn", "Error", "Log"}, f.Sel.Name)
	case *ast.Ident:
		if f.Name == "problem" && len(call.Args) > 0 {
			code, ok := call.Args[0].(*ast.Ident)
			return !ok || !slices.Contains(plain, code.Name)
		}
	}
	return true
}

// said are the texts in a file, as formats: what is put together by + is one.
func said(t *testing.T, name string, plain []string) (all []string) {
	file, err := parser.ParseFile(gotoken.NewFileSet(), name, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var text func(e ast.Expr) (string, bool)
	text = func(e ast.Expr) (string, bool) {
		switch e := e.(type) {
		case *ast.BasicLit:
			if e.Kind == gotoken.STRING {
				s, err := strconv.Unquote(e.Value)
				return s, err == nil
			}
		case *ast.BinaryExpr:
			if e.Op == gotoken.ADD {
				x, isX := text(e.X)
				y, isY := text(e.Y)
				return x + y, isX || isY
			}
		}
		return "%v", false
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ImportSpec:
			return false
		case *ast.Field:
			n.Tag = nil
		case *ast.CallExpr:
			return tells(n, plain)
		case *ast.BinaryExpr:
			if s, ok := text(n); ok {
				all = append(all, s)
				return false
			}
		case *ast.BasicLit:
			if s, ok := text(n); ok {
				all = append(all, s)
			}
		}
		return true
	})
	return all
}

var (
	quoted  = regexp.MustCompile(`“[^”]*”`)
	prose   = regexp.MustCompile(`[A-Za-z]{2,}[^A-Za-z]* (.* )?[^A-Za-z ]*[a-z]{2,}`)
	english = regexp.MustCompile(`[a-z]{2,} [a-z]{2,}`)

	// Commands, settings and examples stay what they are.
	verbatim = regexp.MustCompile("portreeve [a-z-]+( [a-z]+)?( --[a-z]+)?|sysctl -w|--sysctl [a-z.]+|systemctl [a-z -]+|service [a-z]+ [a-z]+|opkg install|(nft|ip|ip6)tables? [a-z -]+|nft [a-z ]+|ct state [a-z, ]+")
)

// leftEnglish returns what is English in a sentence in Chinese; empty: nothing.
func leftEnglish(sentence string) string {
	if !chinese(sentence) {
		return sentence
	}
	return english.FindString(verbatim.ReplaceAllString(sentence, ""))
}

func TestWhatTheSourceSaysIsTranslated(t *testing.T) {
	words, err := loadCoreWords("zh")
	if err != nil {
		t.Fatal(err)
	}
	texts, err := loadCatalogue("zh")
	if err != nil {
		t.Fatal(err)
	}
	silent, unused, looked, plain := silent(), silent(), map[string]bool{}, plainCodes(t)
	for _, pattern := range saying() {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %v, %v", pattern, names, err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") || looked[name] {
				continue
			}
			looked[name] = true
			if _, is := silentFiles()[name]; is {
				continue
			}
			for _, format := range said(t, name, plain) {
				if !prose.MatchString(verb.ReplaceAllString(format, "")) {
					continue
				}
				if delete(unused, format); silent[format] != "" || texts.known("trace", format) != format || texts.known("source", format) != format {
					continue
				}
				if left := leftEnglish(words.translate(sample(format))); left != "" {
					t.Errorf("%s: no pattern in Chinese for %q: %q is left", name, format, left)
				}
			}
		}
	}
	for format, why := range unused {
		t.Errorf("%q is in no file any more, and need not be listed (%s)", format, why)
	}
	for name, why := range silentFiles() {
		if !looked[name] {
			t.Errorf("%s is no file any more, and need not be listed (%s)", name, why)
		}
	}
}

// The names of the steps of a decision and of what problems are about have texts of their own.
func TestNamesThatTheCoreGivesHaveTexts(t *testing.T) {
	names, err := filepath.Glob("../lease/*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(gotoken.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			group, e := givenName(n)
			if literal, ok := e.(*ast.BasicLit); ok {
				found[group]++
				text, _ := strconv.Unquote(literal.Value)
				for _, language := range languages() {
					if texts, err := loadCatalogue(language); err != nil || texts.known(group, text) == text {
						t.Errorf("%s: no text in %s for the %s %q: %v", name, language, group, text, err)
					}
				}
			}
			return true
		})
	}
	if found["trace"] < 10 || found["source"] < 5 {
		t.Errorf("found %v: is it called otherwise now?", found)
	}
}

// givenName returns the expression that names a step of a decision, or what a problem is about.
func givenName(n ast.Node) (group string, name ast.Expr) {
	switch n := n.(type) {
	case *ast.CallExpr:
		f, ok := n.Fun.(*ast.SelectorExpr)
		switch {
		case ok && f.Sel.Name == "check" && len(n.Args) > 3:
			return "trace", n.Args[2]
		case ok && (f.Sel.Name == "problem" || f.Sel.Name == "trouble") && len(n.Args) == 2:
			return "source", n.Args[0]
		}
	case *ast.KeyValueExpr:
		if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Source" {
			return "source", n.Value
		}
	case *ast.CompositeLit:
		if of, ok := n.Type.(*ast.Ident); ok && of.Name == "Step" && len(n.Elts) > 0 {
			if rule, ok := n.Elts[0].(*ast.KeyValueExpr); ok {
				return "trace", rule.Value
			}
		}
	}
	return "", nil
}
