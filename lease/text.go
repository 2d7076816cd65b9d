package lease

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// CleanText makes a string from the network fit to be stored, logged and shown: no control characters, no
// line breaks, no characters that reorder text (bidirectional controls), no invalid UTF-8, white space trimmed,
// and at most limit bytes, cut between characters. Each removed character becomes nothing; tabs and line
// breaks become spaces.
func CleanText(s string, limit int) string {
	// Whoever sends a megabyte does not get it walked: four bytes a character are the worst useful case.
	if len(s) > 4*limit {
		s = s[:4*limit]
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\t' || r == '\n' || r == '\r':
			r = ' '
		case r == utf8.RuneError || !unicode.IsPrint(r) || unicode.Is(unicode.Bidi_Control, r):
			continue
		}
		if b.Len()+utf8.RuneLen(r) > limit {
			break
		}
		b.WriteRune(r)
	}
	return strings.TrimSpace(b.String())
}
