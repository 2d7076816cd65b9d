package notify

import (
	"crypto/rand"
	"slices"
	"strings"
	"time"
)

// message is what goes to a target at once.
type message struct {
	ID      string    `json:"id"`   // another one for each attempt
	Time    time.Time `json:"time"` // wall clock, when it was made
	Test    bool      `json:"test"`
	Title   string    `json:"title"`
	Message string    `json:"message"`  // all the news, a line each
	Urgency int       `json:"priority"` // 5, or 8 for what is worth looking at soon: in the numbers of Gotify
	Link    string    `json:"link,omitempty"`
	Router  string    `json:"router"`
	News    []News    `json:"news"`
	Dropped int       `json:"dropped"` // how many more there were than are told one by one

	urgent bool
}

const (
	usualUrgency = 5
	highUrgency  = 8
)

// composer makes messages out of news.
type composer struct {
	settings Settings
	router   string
	core     func(language, text string) string
}

func (c composer) message(now time.Time) message {
	return message{ID: strings.ToLower(rand.Text()[:16]), Time: now.Round(0), Router: c.router, Link: c.settings.Link, Urgency: usualUrgency, News: []News{}}
}

// test is the message by which the owner finds out whether a target works.
func (c composer) test(now time.Time) message {
	m, w := c.message(now), wordsOf(c.settings.Language)
	m.Test, m.Title, m.Message = true, w.say("title.test", "router", c.router), w["test"]
	return m
}

// fold makes one message out of all that waits: a line for each, and one for each kind of which there was too much.
func (c composer) fold(now time.Time, pending []News, more map[Kind]int) message {
	m, w := c.message(now), wordsOf(c.settings.Language)
	core := func(text string) string { return c.core(c.settings.Language, text) }
	var lines []string
	for _, n := range pending {
		n.Text = w.tell(n, core)
		m.News, lines = append(m.News, n), append(lines, n.Text)
		m.urgent = m.urgent || n.Kind.urgent() && !n.Over
	}
	for _, k := range Kinds() {
		if more[k] > 0 {
			m.Dropped += more[k]
			lines = append(lines, w.say("more", "count", more[k], "kind", w["kind."+string(k)]))
		}
	}
	if m.urgent {
		m.Urgency = highUrgency
	}
	m.Title = w.say("title.many", "router", c.router, "count", len(pending)+m.Dropped)
	if kinds := kindsOf(pending); len(kinds) == 1 && m.Dropped == 0 {
		m.Title = w.say("title.one", "router", c.router, "kind", w["kind."+string(kinds[0])])
	}
	m.Message = strings.Join(lines, "\n")
	return m
}

func kindsOf(all []News) (kinds []Kind) {
	for _, n := range all {
		if !slices.Contains(kinds, n.Kind) {
			kinds = append(kinds, n.Kind)
		}
	}
	return kinds
}
