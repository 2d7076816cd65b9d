package igd

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// decodeWithEncodingXML is decodeInvocation by means of package encoding/xml.
func decodeWithEncodingXML(body string) (invocation, error) {
	d := xml.NewDecoder(strings.NewReader(toUTF8(body)))
	d.CharsetReader = func(name string, r io.Reader) (io.Reader, error) {
		switch strings.ToLower(name) {
		case "utf8", "us-ascii", "ascii", "iso-8859-1", "latin1", "windows-1252":
			return r, nil
		default:
			return nil, errCharset
		}
	}
	var p invocationParser
	for depth := 0; ; {
		token, err := d.Token()
		switch {
		case errors.Is(err, io.EOF):
			return p.result()
		case errors.Is(err, errCharset):
			return invocation{}, invalidArgs
		case err != nil:
			return invocation{}, err
		}
		switch token := token.(type) {
		case xml.Directive:
			err = errDoctype
		case xml.StartElement:
			if depth++; depth > maxDepth {
				return invocation{}, errDepth
			}
			err = p.start(depth, token.Name.Local)
		case xml.EndElement:
			p.end(depth)
			depth--
		case xml.CharData:
			err = p.text(depth, string(bytes.Clone(token)))
		}
		if err != nil {
			return invocation{}, err
		}
	}
}

// What encoding/xml takes is a call for us too, and the same one, and nothing else is.
func FuzzScanner(f *testing.F) {
	const start, end = `<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>`, `</s:Body></s:Envelope>`
	for _, seed := range []string{
		`<?xml version="1.0"?>` + start + `<u:Do xmlns:u="x"><A>1</A><B> b &amp; <![CDATA[]]]]>&gt; </B></u:Do>` + end,
		`<?xml version='1.0' encoding='us-ascii'?>` + start + "<!-- c --><Do a = '&#x41;'\n/>" + end,
		start + "<Do><A>a\r\nb\rc&#13;\td</A></Do>" + end + "\r\n",
		"<Envelope><Header><Body/></Header><Body><Do><A><b/></A></Do></Body></Envelope>",
		start + "<Do><A>&#xD800;</A><A>&lt;</A></Do>" + end,
		"<a:Envelope><:Body><b:/></:Body></a:Envelope>",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		ours, ourErr := decodeInvocation(string(body))
		theirs, theirErr := decodeWithEncodingXML(string(body))
		switch {
		case ourErr == nil && theirErr == nil:
			if diff := cmp.Diff(theirs, ours, cmp.AllowUnexported(invocation{}, givenArgument{})); diff != "" {
				t.Errorf("call (-encoding/xml +ours):\n%s", diff)
			}
		case isCode(ourErr) == isCode(theirErr) && (ourErr == nil) == (theirErr == nil):
		case !mayDiffer(body):
			t.Errorf("encoding/xml: %v, ours: %v", theirErr, ourErr)
		}
	})
}

func isCode(err error) bool {
	_, ok := errors.AsType[code](err)
	return ok
}

// mayDiffer tells whether a document has something in it of which encoding/xml thinks otherwise, and with reason:
//   - characters in names that are not ASCII: no name of ours has any;
//   - the declaration of the document: clients that write another version do not know more of XML for it;
//   - references to surrogates, which it replaces, and long ones: nobody needs them.
func mayDiffer(body []byte) bool {
	return regexp.MustCompile(`[^\x00-\x7f]|<\?|&#[0-9a-fA-Fx]{4,}`).Match(body)
}
