package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// What the core says (why a request was refused, why a rule is not in force) is English, and goes into the log and the API as
// it is. The pages translate it by patterns: the core knows nothing of languages, and a sentence that no pattern knows is
// shown as it came.

// coreWords are the patterns of one language, in the order in which they are tried.
type coreWords []corePattern

// corePattern is a sentence of the core with {} for what varies, and its translation with as many.
type corePattern struct{ parts, said []string }

// maxCoreDepth is how deep sentences are in each other.
const maxCoreDepth = 4

// loadCoreWords reads the patterns of a language, which for English are none.
func loadCoreWords(language string) (words coreWords, err error) {
	body, err := files.ReadFile("locale/" + language + ".core.json")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var pairs [][2]string
	if err := json.Unmarshal(body, &pairs); err != nil {
		return nil, fmt.Errorf("what the core says in language %s: %w", language, err)
	}
	for _, pair := range pairs {
		words = append(words, corePattern{strings.Split(pair[0], "{}"), strings.Split(pair[1], "{}")})
	}
	return words, nil
}

// Translate returns what the core says in a language, as far as it is known, for those who tell it elsewhere than on pages.
func Translate(language, text string) string {
	words, err := loadCoreWords(language)
	if err != nil { // the tests read all of them
		return text
	}
	return words.translate(text)
}

// translate returns a sentence of the core in the language, as far as it is known.
func (w coreWords) translate(text string) string { return w.within(text, maxCoreDepth) }

func (w coreWords) within(text string, depth int) string {
	if depth == 0 || text == "" {
		return text
	}
	for _, p := range w {
		varying, ok := p.match(text)
		if !ok {
			continue
		}
		out := p.said[0]
		for i, v := range varying {
			out += w.within(v, depth-1) + p.said[i+1]
		}
		return out
	}
	return text
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
