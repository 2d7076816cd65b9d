package web

import (
	"strconv"
	"strings"

	"github.com/portreeve/portreeve/lease"
)

// search is what somebody typed to find something: words that must all be there, of which "port:3074" is looked for in
// one field only.
type search []term

type term struct{ field, text string }

// maxSearch bounds what is looked for.
const maxSearch = 200

// parseSearch reads a search. The names of fields are those that may stand before a colon; elsewhere a colon is a part of
// the word, as in a MAC address.
func parseSearch(text string, fields ...string) (s search) {
	for word := range strings.FieldsSeq(strings.ToLower(lease.CleanText(text, maxSearch))) {
		t := term{text: word}
		for _, f := range fields {
			if value, ok := strings.CutPrefix(word, f+":"); ok {
				t = term{f, value}
			}
		}
		s = append(s, t)
	}
	return s
}

// matches looks into fields, of which there may be several with one name. A port is found by its whole number, any other text
// by a part of it.
func (s search) matches(fields ...field) bool {
	for _, t := range s {
		found := false
		for _, f := range fields {
			if t.field == "" || t.field == f.name {
				found = found || f.holds(t.text)
			}
		}
		if !found {
			return false
		}
	}
	return true
}

// field is one text of something that can be found.
type field struct{ name, text string }

func (f field) holds(text string) bool {
	if f.name == fieldPort || f.name == fieldInside {
		return f.text == text || f.spans(text)
	}
	return strings.Contains(strings.ToLower(f.text), text)
}

// spans tells whether a port is in a range of them.
func (f field) spans(text string) bool {
	from, to, isRange := strings.Cut(f.text, "-")
	if !isRange {
		return false
	}
	first, err := strconv.ParseUint(from, 10, 16)
	last, err2 := strconv.ParseUint(to, 10, 16)
	port, err3 := strconv.ParseUint(text, 10, 16)
	return err == nil && err2 == nil && err3 == nil && first <= port && port <= last
}

// The names of the fields. A port is the one outside, where there is a name for the one inside.
const (
	fieldDevice = "device"
	fieldPort   = "port"
	fieldInside = "inside"
	fieldVia    = "via"
	fieldApp    = "app"
	fieldKind   = "kind"
)
