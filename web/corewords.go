package web

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What the core says (why a request was refused, why a rule is not in force) is English, and goes into the log and the API as
// it is. The pages translate it by patterns: the core knows nothing of languages, and a sentence that no pattern knows is
// shown as it came. A test finds what the source says and no pattern knows.

// coreWords are the patterns of one language. The one with the most text of its own is tried first, whatever their order in
// the file.
type coreWords struct {
	patterns []corePattern
	texts    catalogue
}

// corePattern is a sentence of the core with {} for what varies, and its translation with as many; {0}, {1} and so on where
// they come in another order.
type corePattern struct {
	parts []string // of the sentence, before and after what varies
	said  []string // of the translation
	order []int    // which of what varies stands after each part of the translation but the last
}

// maxCoreDepth is how deep sentences are in each other: what a rule matches is said piece by piece.
const maxCoreDepth = 12

// loadCoreWords reads the patterns of a language. English has them for what it says in another way than the core, such as times.
func loadCoreWords(language string) (words coreWords, err error) {
	body, err := files.ReadFile("locale/" + language + ".core.json")
	if errors.Is(err, fs.ErrNotExist) {
		return coreWords{}, nil
	}
	if err != nil {
		return coreWords{}, err
	}
	var pairs [][2]string
	if err := json.Unmarshal(body, &pairs); err != nil {
		return coreWords{}, fmt.Errorf("what the core says in language %s: %w", language, err)
	}
	for _, pair := range pairs {
		p, err := newCorePattern(pair[0], pair[1])
		if err != nil {
			return coreWords{}, fmt.Errorf("what the core says in language %s: %w", language, err)
		}
		words.patterns = append(words.patterns, p)
	}
	slices.SortStableFunc(words.patterns, func(a, b corePattern) int { return cmp.Compare(b.length(), a.length()) })
	words.texts, err = loadCatalogue(language)
	return words, err
}

func newCorePattern(sentence, said string) (p corePattern, err error) {
	p.parts = strings.Split(sentence, "{}")
	rest := said
	for {
		part, more, found := strings.Cut(rest, "{")
		if p.said = append(p.said, part); !found {
			break
		}
		which, after, closed := strings.Cut(more, "}")
		n := len(p.order)
		if which != "" {
			if n, err = strconv.Atoi(which); err != nil {
				return p, fmt.Errorf("%q: {%s} is no number", said, which)
			}
		}
		if !closed || n >= len(p.parts)-1 {
			return p, fmt.Errorf("%q varies in other places than %q", said, sentence)
		}
		p.order, rest = append(p.order, n), after
	}
	if len(p.order) != len(p.parts)-1 {
		return p, fmt.Errorf("%q varies in other places than %q", said, sentence)
	}
	return p, nil
}

// length is how much text a pattern has of its own.
func (p corePattern) length() (n int) {
	for _, part := range p.parts {
		n += len(part)
	}
	return n
}

// Translate returns what the core says in a language, as far as it is known, for those who tell it elsewhere than on pages.
func Translate(language, text string) string {
	words, err := loadCoreWords(language)
	if err != nil { // the tests read all of them
		return text
	}
	return words.translate(text)
}

// translate returns what the core says in the language, as far as it is known: a sentence, or one in each line.
func (w coreWords) translate(text string) string {
	if len(w.patterns) == 0 {
		return text
	}
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = w.within(line, maxCoreDepth)
	}
	return strings.Join(lines, "\n")
}

func (w coreWords) within(text string, depth int) string {
	if depth == 0 || !strings.ContainsFunc(text, isLower) {
		return text
	}
	for _, p := range w.patterns {
		if varying, ok := p.match(text); ok {
			return w.say(p, varying, depth-1)
		}
	}
	return w.time(text)
}

func isLower(r rune) bool { return 'a' <= r && r <= 'z' }

// say puts what varies into a translation. What stands in quotes has been given by somebody, and stays as it is.
func (w coreWords) say(p corePattern, varying []string, depth int) string {
	out := p.said[0]
	for i, n := range p.order {
		v := varying[n]
		if !strings.HasSuffix(p.parts[n], `"`) {
			v = w.within(v, depth)
		}
		out += v + p.said[i+1]
	}
	return out
}

// time writes a duration as the pages do; anything else stays as it is.
func (w coreWords) time(text string) string {
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return text
	}
	said, err := w.texts.duration(int64(d / time.Second))
	if err != nil {
		return text
	}
	return said
}

// match returns what stands where the pattern varies: each time as little as possible, the last one up to the end.
func (p corePattern) match(text string) (varying []string, ok bool) {
	rest, ok := strings.CutPrefix(text, p.parts[0])
	if !ok {
		return nil, false
	}
	for i, part := range p.parts[1:] {
		at := strings.Index(rest, part)
		if last := i == len(p.parts)-2; last {
			if !strings.HasSuffix(rest, part) {
				return nil, false
			}
			at = len(rest) - len(part)
		}
		if at < 0 {
			return nil, false
		}
		varying, rest = append(varying, rest[:at]), rest[at+len(part):]
	}
	return varying, rest == ""
}
