package igd

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Whatever the decoder accepts is written out again and read again as the same call.
func FuzzDecodeInvocation(f *testing.F) {
	const start, end = `<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>`, `</s:Body></s:Envelope>`
	f.Add([]byte(`<?xml version="1.0"?>` + start + `<u:Do xmlns:u="x"><A>1</A><B> b &amp; <![CDATA[]]]]>&gt; </B></u:Do>` + end))
	f.Add([]byte(`<!DOCTYPE a [<!ENTITY b "c">]>` + start + `<Do><A>&b;</A></Do>` + end))
	f.Add([]byte(`<?xml version="1.0" encoding="ISO-8859-1"?>` + start + "<Do><A>\xfc</A></Do>" + end))
	f.Fuzz(func(t *testing.T, body []byte) {
		first, err := decodeInvocation(string(body))
		if err != nil {
			return
		}
		again := []byte(start + "<" + first.action + ">")
		for _, arg := range first.args {
			again = appendElement(again, arg.name, arg.text)
		}
		again = append(again, "</"+first.action+">"+end...)
		second, err := decodeInvocation(string(again))
		if err != nil {
			t.Fatalf("%v\n%s", err, again)
		}
		if diff := cmp.Diff(first, second, cmp.AllowUnexported(invocation{}, givenArgument{})); diff != "" {
			t.Errorf("call read again (-first +second):\n%s", diff)
		}
	})
}
