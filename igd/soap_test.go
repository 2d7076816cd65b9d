package igd

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseSOAPAction(t *testing.T) {
	const ns = "urn:schemas-upnp-org:service:WANIPConnection:1"
	tests := []struct {
		header string
		ok     bool
	}{
		{`"` + ns + `#GetStatusInfo"`, true},
		{`'` + ns + `#GetStatusInfo'`, true},
		{ns + `#GetStatusInfo`, true},
		{`  "` + ns + `#GetStatusInfo" `, true},
		{`"` + ns + `#GetStatusInfo`, true},
		{``, false},
		{`"`, false},
		{`'`, false},
		{`""`, false},
		{`#`, false},
		{`"#"`, false},
		{`"#GetStatusInfo"`, false},
		{`"` + ns + `#"`, false},
		{`"` + ns + `"`, false},
	}
	for _, tt := range tests {
		namespace, name, err := parseSOAPAction(tt.header)
		if ok := err == nil; ok != tt.ok {
			t.Errorf("%q: error %v", tt.header, err)
		}
		if tt.ok && (namespace != ns || name != "GetStatusInfo") {
			t.Errorf("%q: got %q and %q", tt.header, namespace, name)
		}
	}
}

func TestDecodeInvocation(t *testing.T) {
	const start, end = `<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>`, `</s:Body></s:Envelope>`
	do := func(namesAndTexts ...string) invocation {
		i := invocation{action: "Do"}
		for pair := range slices.Chunk(namesAndTexts, 2) {
			i.args = append(i.args, givenArgument{pair[0], pair[1]})
		}
		return i
	}
	tests := []struct {
		name string
		body string
		want invocation
		err  error // nil with an empty want: any error that is no code
	}{
		{"no declaration", start + `<u:Do xmlns:u="x"/>` + end, do(), nil},
		{"byte order mark", "\xef\xbb\xbf<?xml version=\"1.0\"?>" + start + `<u:Do xmlns:u="x"/>` + end, do(), nil},
		{"default namespace", `<Envelope><Body><Do xmlns="x"><A>1</A></Do></Body></Envelope>`, do("A", "1"), nil},
		{"prefixes without a declaration", `<s:Envelope><s:Body><u:Do/></s:Body></s:Envelope>`, do(), nil},
		{
			"other prefixes, attributes, blanks, comments",
			"<SOAP-ENV:Envelope xmlns:SOAP-ENV='y'>\r\n<SOAP-ENV:Header><h/></SOAP-ENV:Header><SOAP-ENV:Body>\n<m:Do xmlns:m='x'>" +
				"<A xmlns:dt='z' dt:dt='ui2'> 80<!-- c --> </A>\n<B/></m:Do></SOAP-ENV:Body></SOAP-ENV:Envelope>\n<!-- end -->\n",
			do("A", "80", "B", ""), nil,
		},
		{"qualified arguments", start + `<u:Do xmlns:u="x"><u:A>1</u:A></u:Do>` + end, do("A", "1"), nil},
		{"CDATA and entities", start + `<Do><A><![CDATA[<&]]>&lt;&#65;&amp;lt;</A></Do>` + end, do("A", "<&<A&lt;"), nil},
		{"terminators of C strings", start + `<Do/>` + end + "\r\n\x00\x00", do(), nil},
		{"Latin-1 by name", `<?xml version="1.0" encoding="ISO-8859-1"?>` + start + "<Do><A>\xfc</A></Do>" + end, do("A", "ü"), nil},
		{"Latin-1 that claims to be UTF-8", `<?xml version="1.0" encoding="utf-8"?>` + start + "<Do><A>\xfc</A></Do>" + end, do("A", "ü"), nil},
		{"ASCII by name", `<?xml version="1.0" encoding="us-ascii"?>` + start + "<Do/>" + end, do(), nil},
		{"another encoding", `<?xml version="1.0" encoding="utf-16"?>` + start + "<Do/>" + end, invocation{}, invalidArgs},
		{"an argument twice", start + `<Do><A>1</A><A>1</A></Do>` + end, invocation{}, invalidArgs},
		{"an argument with elements in it", start + `<Do><A><b>1</b></A></Do>` + end, invocation{}, invalidArgs},
		{"too many arguments", start + `<Do>` + manyElements(maxArgs+1) + `</Do>` + end, invocation{}, invalidArgs},
		{"no action", start + end, invocation{}, nil},
		{"two actions", start + `<Do/><Do/>` + end, invocation{}, nil},
		{"two bodies", `<s:Envelope><s:Body><Do/></s:Body><s:Body/></s:Envelope>`, invocation{}, nil},
		{"two envelopes", start + `<Do/>` + end + start + `<Do/>` + end, invocation{}, nil},
		{"not an envelope", `<html><Body><Do/></Body></html>`, invocation{}, nil},
		{"text after the end", start + `<Do/>` + end + `POST`, invocation{}, nil},
		{"empty", ``, invocation{}, nil},
		{"cut off", start + `<Do><A>1`, invocation{}, nil},
		{"unterminated CDATA", start + `<Do><A><![CDATA[1</A></Do>` + end, invocation{}, nil},
		{"ends do not match", start + `<Do><A>1</B></Do>` + end, invocation{}, nil},
		{"document type", `<!DOCTYPE a>` + start + `<Do/>` + end, invocation{}, nil},
		{"entities", `<!DOCTYPE a [<!ENTITY b "80">]>` + start + `<Do><A>&b;</A></Do>` + end, invocation{}, nil},
		{"unknown entity", start + `<Do><A>&nbsp;</A></Do>` + end, invocation{}, nil},
		{"nested too deeply", start + strings.Repeat("<a>", maxDepth) + strings.Repeat("</a>", maxDepth) + end, invocation{}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := decodeInvocation(tt.body)
			var c code
			switch {
			case tt.want.action != "" && err != nil:
				t.Fatal(err)
			case tt.err != nil && !errors.Is(err, tt.err):
				t.Fatalf("error is %v, want %v", err, tt.err)
			case tt.want.action == "" && tt.err == nil && (err == nil || errors.As(err, &c)):
				t.Fatalf("error is %v, want one that is no code", err)
			}
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(invocation{}, givenArgument{})); diff != "" {
				t.Errorf("invocation (-want +got):\n%s", diff)
			}
		})
	}
}

func manyElements(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("<A" + strings.Repeat("a", i) + "/>")
	}
	return b.String()
}
