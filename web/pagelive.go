package web

import (
	"net/http"
	"slices"

	"github.com/portreeve/portreeve/lease"
)

// pageFeed is what the live pages listen to: rows of HTML for the list of leases, and for all the state as HTML.
type pageFeed struct {
	pages *pages
	key   setKey
	rows  bool // false: the page asks for its parts anew when the state has changed

	minutes func(lease.ID) []Minute // the latest of a lease
}

// feedFor chooses the feed by the address that a page listens to, and lets it say which state it shows already: a browser
// itself can say that only when it comes back.
func (s *Server) feedFor(r *http.Request) feed {
	q := r.URL.Query()
	if r.Header.Get("Last-Event-ID") == "" {
		r.Header.Set("Last-Event-ID", q.Get("state"))
	}
	return pageFeed{s.pages, setKey{languageOf(r), identityOf(r).role}, q.Get("page") == "rows", s.Minutes}
}

// window is what the page has rows for: however many leases change at once, it is told of those.
func (f pageFeed) window(all []lease.Lease) []lease.Lease {
	if !f.rows {
		return nil
	}
	return all[max(0, len(all)-leaseRows):]
}

func (f pageFeed) leases(all []Lease) ([]byte, error) {
	if !f.rows {
		return nil, nil // an event without data is none
	}
	rows := rowsOf(all)
	slices.Reverse(rows)
	for i := range rows {
		rows[i].Spark = sparkOf(f.minutes(rows[i].ID))
	}
	return f.pages.render(f.key, "rows", rows)
}

func (f pageFeed) lease(l Lease) ([]byte, error) {
	row := rowOf(l)
	row.Spark = sparkOf(f.minutes(l.ID))
	return f.pages.render(f.key, "row", row)
}

func (f pageFeed) status(s Status) ([]byte, error) { return f.pages.render(f.key, "status", s) }
