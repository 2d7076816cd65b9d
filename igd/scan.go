package igd

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxDepth is how deeply elements may be nested.
const maxDepth = 20

var (
	errXML     = errors.New("not well-formed XML")
	errDoctype = errors.New("document type declarations are not accepted")
	errDepth   = errors.New("elements are nested too deeply")
	errCharset = errors.New("character encoding is neither UTF-8 nor Latin-1")
)

// xmlVisitor is told what is in a document, in order.
type xmlVisitor interface {
	start(depth int, name string) error // an element; name is without its prefix, the root has depth 1
	end(depth int)
	text(depth int, s string) error // characters of the element that is open; may come in pieces
}

// scanner takes an XML document apart (XML 1.0, fifth edition) as far as a control request needs it: attributes and
// namespaces are checked and passed over, and there are no document types, so no entities but the five of XML.
// The document must be valid UTF-8.
type scanner struct {
	rest string
	open [maxDepth]string // names with prefixes
	deep int
}

// scan tells the visitor what is in a document. It ends at the first error.
func scan(document string, v xmlVisitor) error {
	s := scanner{rest: document}
	for s.rest != "" {
		if err := s.next(v); err != nil {
			return err
		}
	}
	if s.deep > 0 {
		return errXML
	}
	return nil
}

// next takes one piece of markup or the text before it.
func (s *scanner) next(v xmlVisitor) error {
	before, markup := s.rest, ""
	if i := strings.IndexByte(s.rest, '<'); i >= 0 {
		before, markup = s.rest[:i], s.rest[i:]
	}
	if before != "" {
		s.rest = markup
		if strings.Contains(before, "]]>") { // section 2.4
			return errXML
		}
		return s.characters(before, true, v)
	}
	switch {
	case strings.HasPrefix(markup, "</"):
		return s.endTag(v)
	case strings.HasPrefix(markup, "<?"):
		return s.instruction()
	case strings.HasPrefix(markup, "<!--"):
		return s.comment()
	case strings.HasPrefix(markup, "<![CDATA["):
		text, rest, ok := strings.Cut(markup[len("<![CDATA["):], "]]>")
		if !ok {
			return errXML
		}
		s.rest = rest
		return s.characters(text, false, v)
	case strings.HasPrefix(markup, "<!"):
		return errDoctype
	default:
		return s.startTag(v)
	}
}

func (s *scanner) characters(raw string, references bool, v xmlVisitor) error {
	text, ok := decodeText(raw, references)
	if !ok {
		return errXML
	}
	return v.text(s.deep, text)
}

// comment passes over one (section 2.5).
func (s *scanner) comment() error {
	_, rest, ok := strings.Cut(s.rest[len("<!--"):], "--")
	if !ok || !strings.HasPrefix(rest, ">") {
		return errXML
	}
	s.rest = rest[1:]
	return nil
}

// instruction passes over a processing instruction (section 2.6), but for the encoding that the declaration of a
// document names.
func (s *scanner) instruction() error {
	inside, rest, ok := strings.Cut(s.rest[len("<?"):], "?>")
	target, content := cutName(inside)
	if !ok || target == "" || content != "" && !isBlank(content[0]) {
		return errXML
	}
	s.rest = rest
	if target != "xml" {
		return nil
	}
	switch strings.ToLower(declared("encoding", content)) {
	case "", "utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin1", "windows-1252":
		return nil // see toUTF8
	default:
		return errCharset
	}
}

// declared returns what a declaration says of something, empty if it says nothing.
func declared(what, content string) string {
	for {
		_, rest, ok := strings.Cut(content, what)
		if !ok {
			return ""
		}
		content = rest
		value, ok := strings.CutPrefix(strings.TrimLeft(rest, blanks), "=")
		value = strings.TrimLeft(value, blanks)
		if !ok || value == "" || value[0] != '"' && value[0] != '\'' {
			continue
		}
		if value, _, ok = strings.Cut(value[1:], value[:1]); ok {
			return value
		}
	}
}

// startTag takes the start of an element, or an empty element (section 3.1).
func (s *scanner) startTag(v xmlVisitor) error {
	name, rest := cutName(s.rest[1:])
	local, ok := localName(name)
	if !ok {
		return errXML
	}
	for {
		rest = strings.TrimLeft(rest, blanks)
		switch {
		case strings.HasPrefix(rest, ">"):
			s.rest = rest[1:]
			return s.push(name, local, v)
		case strings.HasPrefix(rest, "/>"):
			s.rest = rest[2:]
			if err := s.push(name, local, v); err != nil {
				return err
			}
			s.pop(v)
			return nil
		}
		if rest, ok = cutAttribute(rest); !ok {
			return errXML
		}
	}
}

func (s *scanner) push(name, local string, v xmlVisitor) error {
	if s.deep == maxDepth {
		return errDepth
	}
	s.open[s.deep] = name
	s.deep++
	return v.start(s.deep, local)
}

func (s *scanner) pop(v xmlVisitor) {
	v.end(s.deep)
	s.deep--
}

func (s *scanner) endTag(v xmlVisitor) error {
	name, rest := cutName(s.rest[len("</"):])
	rest = strings.TrimLeft(rest, blanks)
	if s.deep == 0 || name != s.open[s.deep-1] || !strings.HasPrefix(rest, ">") {
		return errXML
	}
	s.rest = rest[1:]
	s.pop(v)
	return nil
}

// cutAttribute checks an attribute and passes over it.
func cutAttribute(text string) (rest string, ok bool) {
	name, rest := cutName(text)
	if _, ok := localName(name); !ok {
		return "", false
	}
	rest, ok = strings.CutPrefix(strings.TrimLeft(rest, blanks), "=")
	rest = strings.TrimLeft(rest, blanks)
	if !ok || rest == "" || rest[0] != '"' && rest[0] != '\'' {
		return "", false
	}
	value, rest, ok := strings.Cut(rest[1:], rest[:1])
	if !ok || strings.Contains(value, "<") {
		return "", false
	}
	_, ok = decodeText(value, true)
	return rest, ok
}

// blanks is white space (section 2.3).
const blanks = " \t\r\n"

func isBlank(c byte) bool { return strings.IndexByte(blanks, c) >= 0 }

// cutName cuts a name off (section 2.3); it is empty if there is none. Whatever is not ASCII may be in a name: which of it
// may not makes no difference, because no name that we know has any.
func cutName(text string) (name, rest string) {
	i := 0
	for i < len(text) && isNameChar(text[i], i == 0) {
		i++
	}
	return text[:i], text[i:]
}

func isNameChar(c byte, first bool) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '_', c == ':', c >= utf8.RuneSelf:
		return true
	default:
		return !first && (isDigit(c) || c == '-' || c == '.')
	}
}

// localName returns a name without its prefix. What has no prefix or nothing else is a name as a whole.
func localName(name string) (local string, ok bool) {
	prefix, local, found := strings.Cut(name, ":")
	if name == "" || strings.Contains(local, ":") {
		return "", false
	}
	if !found || prefix == "" || local == "" {
		return name, true
	}
	return local, true
}

// decodeText returns the characters that raw stands for: line ends are made LF (section 2.11), and references
// replaced if there are any. It is false if a character or a reference is not allowed.
func decodeText(raw string, references bool) (string, bool) {
	i := 0
	for i < len(raw) && isPlain(raw[i]) {
		i++
	}
	if i == len(raw) {
		return raw, true
	}
	b := append(make([]byte, 0, len(raw)), raw[:i]...)
	for i < len(raw) {
		c := raw[i]
		switch {
		case c == '&' && references:
			r, size := reference(raw[i:])
			if !isChar(r) {
				return "", false
			}
			b = utf8.AppendRune(b, r)
			i += size
		case c == '\r':
			if i++; i == len(raw) || raw[i] != '\n' {
				b = append(b, '\n')
			}
		default:
			r, size := utf8.DecodeRuneInString(raw[i:])
			if !isChar(r) {
				return "", false
			}
			b = append(b, raw[i:i+size]...)
			i += size
		}
	}
	return string(b), true
}

// isPlain tells whether a byte of a text stands for itself and needs no look at its neighbours.
func isPlain(c byte) bool {
	return c >= ' ' && c < utf8.RuneSelf && c != '&' || c == '\n' || c == '\t'
}

// isChar tells whether XML can carry a character (section 2.2).
func isChar(r rune) bool {
	switch {
	case r < ' ':
		return r == '\t' || r == '\n' || r == '\r'
	default:
		return r < 0xd800 || r >= 0xe000 && r <= 0xfffd || r >= 0x10000 && r <= utf8.MaxRune
	}
}

// reference reads a character reference or one of the five entities (sections 4.1 and 4.6). For anything else the character
// is one that is not allowed.
func reference(text string) (r rune, size int) {
	const none, longest = -1, 12 // of those that anybody writes
	end := strings.IndexByte(text[:min(len(text), longest)], ';')
	if end < 0 {
		return none, 0
	}
	name := text[1:end]
	switch name {
	case "lt":
		return '<', end + 1
	case "gt":
		return '>', end + 1
	case "amp":
		return '&', end + 1
	case "quot":
		return '"', end + 1
	case "apos":
		return '\'', end + 1
	}
	digits, ok := strings.CutPrefix(name, "#")
	base := 10
	if hex, found := strings.CutPrefix(digits, "x"); found {
		digits, base = hex, 16
	}
	n, err := strconv.ParseUint(digits, base, 21)
	if !ok || err != nil {
		return none, 0
	}
	return rune(n), end + 1
}
