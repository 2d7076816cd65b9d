package web

import (
	"encoding/json"
	"fmt"
	"path"
	"strings"
	"time"
)

// catalogue is the texts of the pages in one language, by key. A text may contain names in braces, for which
// values are put in.
type catalogue map[string]string

func loadCatalogue(language string) (catalogue, error) {
	body, err := files.ReadFile(path.Join("locale", language+".json"))
	if err != nil {
		return nil, err
	}
	var c catalogue
	if err := json.Unmarshal(body, &c); err != nil {
		return nil, fmt.Errorf("texts of language %s: %w", language, err)
	}
	return c, nil
}

// text returns the text of a key with values for the names in it, given as pairs: text("left.seconds",
// "seconds", 5). A key that does not exist is a mistake in the caller, which the tests find.
func (c catalogue) text(key string, pairs ...any) (string, error) {
	text, ok := c[key]
	if !ok {
		return "", fmt.Errorf("no text for %q", key)
	}
	replace := make([]string, 0, len(pairs))
	for i := 0; i+1 < len(pairs); i += 2 {
		replace = append(replace, fmt.Sprintf("{%v}", pairs[i]), fmt.Sprint(pairs[i+1]))
	}
	return strings.NewReplacer(replace...).Replace(text), nil
}

// known returns the text of a name below a key, and the name itself where there is no text: of what other packages name and
// may name anew. What is no part of a key becomes an underscore.
func (c catalogue) known(key string, name any) string {
	word := func(r rune) rune {
		if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '-' || r == '.' {
			return r
		}
		return '_'
	}
	plain := fmt.Sprint(name)
	if text, ok := c[key+"."+strings.Map(word, strings.ToLower(plain))]; ok {
		return text
	}
	return plain
}

// count chooses between the texts for one and for many: key.one and key.other.
func (c catalogue) count(key string, number any) (string, error) {
	if n := fmt.Sprint(number); n == "1" {
		return c.text(key+".one", "n", n)
	}
	return c.text(key+".other", "n", number)
}

// duration writes a time left or passed in its two greatest units. The script of the pages does the same.
func (c catalogue) duration(seconds int64) (string, error) {
	d := time.Duration(seconds) * time.Second
	part := func(unit, within time.Duration) int64 { return int64(d % within / unit) }
	const day = 24 * time.Hour
	switch {
	case d >= day:
		return c.text("duration.days", "days", int64(d/day), "hours", part(time.Hour, day))
	case d >= time.Hour:
		return c.text("duration.hours", "hours", int64(d/time.Hour), "minutes", fmt.Sprintf("%02d", part(time.Minute, time.Hour)))
	case d >= time.Minute:
		return c.text("duration.minutes", "minutes", int64(d/time.Minute), "seconds", fmt.Sprintf("%02d", part(time.Second, time.Minute)))
	default:
		return c.text("duration.seconds", "seconds", seconds)
	}
}

// round writes a limit of time in the one unit that says it wholly: a day, not a day and no hours.
func (c catalogue) round(seconds int64) (string, error) {
	d := time.Duration(seconds) * time.Second
	for _, unit := range []struct {
		key string
		of  time.Duration
	}{{"round.days", 24 * time.Hour}, {"round.hours", time.Hour}, {"round.minutes", time.Minute}} {
		if d >= unit.of && d%unit.of == 0 {
			return c.count(unit.key, int64(d/unit.of))
		}
	}
	return c.duration(seconds)
}

// size writes a number of bytes in the largest unit of which there is at least one.
func size(bytes uint64) string {
	const unit = 1024
	if bytes < unit {
		return fmt.Sprintf("%d B", bytes)
	}
	n, units := float64(bytes)/unit, "KMGTPE"
	for n >= unit {
		n, units = n/unit, units[1:]
	}
	return fmt.Sprintf("%.1f %ciB", n, units[0])
}
