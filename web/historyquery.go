package web

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// wantedEvents reads which part of the history is asked for: of a lease, a port outside, a device by its name or one of its
// addresses, a kind, and of a time.
func wantedEvents(r *http.Request) (func(activityLine) bool, error) {
	q := r.URL.Query()
	port, err := number(r, "port", 1, 65535, 0)
	if err != nil {
		return nil, err
	}
	since, err := timeOf(r, "since")
	if err != nil {
		return nil, err
	}
	until, err := timeOf(r, "until")
	if err != nil {
		return nil, err
	}
	id, kind, device := lease.ID(q.Get("lease")), lease.EventKind(q.Get("kind")), strings.ToLower(q.Get("device"))
	if kind != "" && !slices.Contains(eventKinds(), kind) {
		return nil, problem(CodeInvalid, "kind is %q, allowed are %s", lease.CleanText(string(kind), 32), joined(eventKinds()))
	}
	return func(l activityLine) bool {
		return (id == "" || l.Mapping.ID == id) && (kind == "" || l.Kind == kind) &&
			(port == 0 || l.isAboutPort(strconv.FormatUint(port, 10))) &&
			(device == "" || l.isAbout(device)) &&
			(since.IsZero() || !l.Time.Before(since)) && (until.IsZero() || l.Time.Before(until))
	}, nil
}

// isAboutPort tells whether a line is about a port outside; one about a forward that was changed is about those before, too.
func (l *activityLine) isAboutPort(port string) bool {
	return field{fieldPort, l.Ports}.holds(port) || field{fieldPort, l.Was}.holds(port)
}

// isAbout tells whether a line is about a device, named in lower case by what people call it or by one of its addresses.
func (l *activityLine) isAbout(device string) bool {
	return slices.ContainsFunc(l.fields(), func(f field) bool { return f.name == fieldDevice && f.text != "" && strings.ToLower(f.text) == device })
}

// timeOf reads a time of a query; zero if it is absent.
func timeOf(r *http.Request, name string) (time.Time, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, problem(CodeInvalid, "%s is %q, allowed is such as 2026-12-24T18:00:00Z", name, lease.CleanText(text, 40))
	}
	return at, nil
}
