package markup_test

import (
	"errors"
	"html/template"
	"io/fs"
	"net/netip"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/portreeve/portreeve/web/markup"
)

// hostile is what a LAN host may send as a name.
const hostile = "<script>alert(1)</script> \"'`&amp;\x00\u202e\xff{{.}}+=/ >"

type host struct {
	Name  string
	Ports []uint16
	Next  *host
	Where place
	Any   any
}

type place struct {
	Addr  netip.Addr
	Named bool
}

type kindOf string

func functions() map[string]any {
	return map[string]any{
		"upper": strings.ToUpper,
		"join":  func(sep string, all ...string) string { return strings.Join(all, sep) },
		"any":   func(all ...any) int { return len(all) },
		"kind":  func() kindOf { return "console" },
		"check": func(s string) (string, error) {
			if s == "" {
				return "", errors.New("empty")
			}
			return s, nil
		},
	}
}

func data() any {
	return &host{
		Name: hostile, Ports: []uint16{1, 2, 3}, Any: "in an interface",
		Where: place{Addr: netip.MustParseAddr("192.168.1.2")},
		Next:  &host{},
	}
}

func single(text string) fs.FS { return fstest.MapFS{"a.html": {Data: []byte(text)}} }

// What the package knows of the language means what it means in html/template.
func TestLikeTheStandardLibrary(t *testing.T) {
	for name, text := range map[string]string{
		"text":                     `a {{- /* comment */}} b`,
		"field":                    `{{.Name}}`,
		"attribute":                `<b title="{{.Name}}" class='{{.Name}}'>`,
		"title":                    `<title>{{.Name}}</title>`,
		"field of a field":         `{{.Where.Named}} {{.Next.Name}} {{.Next.Where.Named}}`,
		"value with String":        `{{.Where.Addr}}`,
		"interface":                `{{.Any}}`,
		"numbers":                  `{{7}} {{len .Ports}} {{len .Name}}`,
		"texts":                    `{{"<"}} {{print "<" 1 2 "a"}} {{printf "%s-%d" .Any 7}}`,
		"truth":                    `{{true}} {{not .Name}} {{not .Where}} {{not .Next.Ports}} {{not 0}} {{not .Next.Next}}`,
		"if":                       `{{if .Name}}yes{{else}}no{{end}}{{if .Next.Name}}yes{{else}}no{{end}}{{if .Next.Name}}yes{{end}}`,
		"else if":                  `{{if .Next.Name}}a{{else if .Name}}b{{else}}c{{end}}`,
		"with":                     `{{with .Next}}{{.Where.Named}}{{end}}{{with .Next.Next}}a{{else}}b{{.Any}}{{end}}`,
		"with a variable":          `{{with $x := .Any}}{{$x}} {{.}}{{end}}`,
		"range":                    `{{range .Ports}}{{.}},{{end}}{{range .Next.Ports}}{{.}}{{else}}none{{end}}`,
		"dollar":                   `{{range .Ports}}{{$.Any}}{{.}}{{end}}`,
		"variables":                `{{$x := 1}}{{if true}}{{$x := 2}}{{$x}}{{end}}{{$x}}{{if true}}{{$x = 3}}{{end}}{{$x}}`,
		"variable with fields":     `{{$x := .Next}}{{$x.Where.Named}}`,
		"functions":                `{{upper .Name}} {{join "-" "a" (upper "b")}} {{join "-"}} {{kind}} {{any nil 1 .}}`,
		"error that is nil":        `{{check "a"}}`,
		"pipe":                     `{{.Name | upper | join "-" "a"}} {{"a" | printf "%s%s" "b"}}`,
		"or":                       `{{or .Next.Name .Any}} {{or 0 ""}} {{or .Any (check "")}} {{.Any | or ""}}`,
		"and":                      `{{and .Name .Any}} {{and .Next.Name (check "")}} {{and 1 0 2}}`,
		"eq":                       `{{eq .Any "a" "in an interface"}} {{eq kind "console"}} {{eq 1 2}} {{eq .Where.Addr .Next.Where.Addr}}`,
		"eq of numbers":            `{{range .Ports}}{{eq . 2}} {{end}}`,
		"ne":                       `{{ne .Where.Addr .Where.Addr}} {{ne .Where.Named true}}`,
		"template":                 `{{define "t"}}<b>{{.}}</b>{{$}}{{end}}{{template "t" .Name}}{{template "u" 3}}{{define "u"}}{{template "t" .}}{{end}}`,
		"template without a value": `{{define "t"}}{{if .}}a{{else}}b{{end}}{{end}}{{template "t"}}`,
		"white space":              "<p>\n{{- if true -}}  a  {{- end}}\n</p>",
	} {
		t.Run(name, func(t *testing.T) {
			var want strings.Builder
			reference := template.Must(template.New("a.html").Funcs(functions()).Parse(text))
			if err := reference.Execute(&want, data()); err != nil {
				t.Fatal(err)
			}
			set, err := markup.Parse(single(text), "*.html", functions())
			if err != nil {
				t.Fatal(err)
			}
			got, err := set.Render("a.html", data())
			if err != nil {
				t.Fatal(err)
			}
			// It escapes plus signs as well, against UTF-7, which no browser reads any more.
			if want := strings.ReplaceAll(want.String(), "&#43;", "+"); string(got) != want {
				t.Errorf("got  %q\nwant %q", got, want)
			}
		})
	}
}

func TestWhatIsNotKnownIsAnErrorAtOnce(t *testing.T) {
	for text, want := range map[string]string{
		`{{foo .}}`:                             `function "foo" not defined`,
		`{{lt 1 2}}`:                            `function "lt" not defined`,
		`{{template "none"}}`:                   "no such template",
		`{{define "a"}}{{(.Next).Name}}{{end}}`: "in parentheses",
		`{{if .}}{{range $i, $p := .Ports}}{{end}}{{end}}`: "variables of range",
		`{{range .Ports}}{{break}}{{end}}`:                 "not known here",
		`{{with .}}{{else}}{{template "none"}}{{end}}`:     "no such template",
		`{{.Name`: "unclosed action",
	} {
		_, err := markup.Parse(single(text), "*.html", functions())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", text, err, want)
		}
	}
	twice := fstest.MapFS{"a.html": {Data: []byte(`{{define "x"}}{{end}}`)}, "b.html": {Data: []byte(`{{define "x"}}{{end}}`)}}
	if _, err := markup.Parse(twice, "*.html", nil); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("a template that is defined twice: error %v", err)
	}
	for name, f := range map[string]any{"no function": 1, "nothing returned": func() {}, "no error": func() (int, int) { return 1, 2 }} {
		if _, err := markup.Parse(single(""), "*.html", markup.Functions{"f": f}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestMistakesAreErrorsAndNoPages(t *testing.T) {
	for text, want := range map[string]string{
		`{{.Nothing}}`:           "no field Nothing",
		`{{.Where.Addr.String}}`: "methods cannot be called",
		`{{.Name.Length}}`:       "no field Length",
		`{{.Next.Next.Name}}`:    "no field Name",
		`{{.Name 1}}`:            "not a function",
		`{{upper 1}}`:            "must be string",
		`{{upper "a" "b"}}`:      "2 arguments",
		`{{join}}`:               "0 arguments",
		`{{join "a" 1}}`:         "must be string",
		`{{upper nil}}`:          "must be string",
		`{{check ""}}`:           "empty",
		`{{range .Name}}{{end}}`: "only lists",
		`{{eq 1}}`:               "two arguments",
		`{{eq . 1}}`:             "cannot be compared",
		`{{ne 1}}`:               "two arguments",
		`{{or}}`:                 "no arguments",
		`{{not}}`:                "one argument",
		`{{len 1}}`:              "one list",
		`{{printf 1}}`:           "must be a text",
		`{{1.5}}`:                "whole numbers",
		`{{define "t"}}{{template "t" .}}{{end}}{{template "t" .}}`: "deep",
	} {
		set, err := markup.Parse(single(text), "*.html", functions())
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		page, err := set.Render("a.html", data())
		if err == nil || !strings.Contains(err.Error(), want) || page != nil {
			t.Errorf("%s: page %q, error %v, want one with %q", text, page, err, want)
		}
	}
	set, err := markup.Parse(single(""), "*.html", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := set.Render("none.html", nil); err == nil {
		t.Error("a template that is not there: no error")
	}
}

func FuzzValuesAreEscapedLikeInTheStandardLibrary(f *testing.F) {
	const text = `<p title="{{.}}">{{.}}</p>`
	reference := template.Must(template.New("a.html").Parse(text))
	set, err := markup.Parse(single(text), "*.html", nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(hostile)
	f.Fuzz(func(t *testing.T, value string) {
		var want strings.Builder
		if err := reference.Execute(&want, value); err != nil {
			t.Fatal(err)
		}
		got, err := set.Render("a.html", value)
		if err != nil {
			t.Fatal(err)
		}
		if want := strings.ReplaceAll(want.String(), "&#43;", "+"); string(got) != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	})
}

func TestSetWithOtherFunctions(t *testing.T) {
	set, err := markup.Parse(single(`{{greet .Any}} {{upper "a"}}`), "*.html", markup.Functions{
		"greet": func(who any) string { return "Hello " + who.(string) }, "upper": strings.ToUpper,
	})
	if err != nil {
		t.Fatal(err)
	}
	other, err := set.With(markup.Functions{"greet": func(who any) string { return "Ni hao " + who.(string) }})
	if err != nil {
		t.Fatal(err)
	}
	for want, s := range map[string]*markup.Set{"Hello in an interface A": set, "Ni hao in an interface A": other} {
		if got, err := s.Render("a.html", data()); err != nil || string(got) != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	for name, f := range map[string]any{"unknown": strings.ToUpper, "greet": 1} {
		if _, err := set.With(markup.Functions{name: f}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
