package web

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// maxAudit is how many entries the audit log has. What is older is removed, and how many those are is told.
const maxAudit = 2000

// maxAuditText bounds each text of an entry.
const maxAuditText = 300

// AuditList answers GET audit.
type AuditList struct {
	Entries []AuditEntry `json:"entries"` // newest first
	Next    uint64       `json:"next"`    // the "before" that continues the list; 0 at its end
	Removed uint64       `json:"removed"` // how many older ones there have been, for which there is no room any more
}

// AuditEntry is one thing that somebody has done, or was not allowed to do.
type AuditEntry struct {
	Seq    uint64       `json:"seq"`
	Time   time.Time    `json:"time"` // wall clock, of the latest occurrence
	Who    string       `json:"who"`  // "" for somebody who is not known
	Via    lease.Origin `json:"via"`  // "web" or "cli"
	From   string       `json:"from"` // address; "" for a process on the router
	Action string       `json:"action"`
	Target string       `json:"target"` // what it was done to; may be ""
	Before string       `json:"before"` // in short; "" if there was nothing
	After  string       `json:"after"`  // in short; "" if nothing is left
	Result AuditResult  `json:"result"`
	Count  int          `json:"count"` // how often the same has happened in a row
}

// AuditResult says what has become of what somebody wanted.
type AuditResult string

// The results.
const (
	AuditDone    AuditResult = "done"
	AuditRefused AuditResult = "refused" // they may not, or could not show who they are
)

// auditRecord is how an entry is stored.
type auditRecord struct {
	Version int `json:"v"`
	AuditEntry
}

// auditLog keeps what people have done. It has its entries in the store only.
type auditLog struct {
	records Records
	outbox  *outbox
	now     func() time.Time
	log     *slog.Logger

	mu          sync.Mutex
	first, last uint64                    // sequence numbers of what is stored; last 0: nothing
	recent      map[refusalKey]AuditEntry // refusals that may repeat
}

// refusalKey tells refusals apart. They are counted by where they come from, so that nobody can fill the log by guessing.
type refusalKey struct {
	from   netip.Prefix
	who    string
	action string
}

// maxRecent bounds how many kinds of refusals are counted at the same time, countFor how long one is.
const (
	maxRecent = 64
	countFor  = time.Hour
)

func loadAudit(ctx context.Context, r Records, o *outbox, now func() time.Time, log *slog.Logger) (*auditLog, error) {
	a := &auditLog{records: r, outbox: o, now: now, log: log, recent: map[refusalKey]AuditEntry{}}
	stored, err := r.Records(ctx, kindAudit)
	if err != nil {
		return nil, fmt.Errorf("read the audit log: %w", err)
	}
	for key := range stored {
		seq, err := strconv.ParseUint(key, 16, 64)
		if err != nil {
			continue // nobody has written that; it harms nothing
		}
		if a.last = max(a.last, seq); a.first == 0 || seq < a.first {
			a.first = seq
		}
	}
	return a, nil
}

func auditKey(seq uint64) string { return fmt.Sprintf("%016x", seq) }

// add makes an entry of something that has been done.
func (a *auditLog) add(ctx context.Context, who identity, action, target, before, after string) {
	a.write(ctx, AuditEntry{
		Who: who.name, Via: who.origin, From: addrText(who.from), Action: action, Target: target, Before: before, After: after, Result: AuditDone,
	}, nil)
}

// refused makes an entry of something that somebody may not do, or counts one that is there already.
func (a *auditLog) refused(ctx context.Context, who identity, action string, why error) {
	key := refusalKey{sourceOf(who.from), who.name, action}
	a.write(ctx, AuditEntry{
		Who: who.name, Via: who.origin, From: addrText(who.from), Action: action, After: why.Error(), Result: AuditRefused,
	}, &key)
}

func (a *auditLog) write(ctx context.Context, e AuditEntry, repeats *refusalKey) {
	for _, text := range []*string{&e.Who, &e.Action, &e.Target, &e.Before, &e.After} {
		*text = lease.CleanText(*text, maxAuditText)
	}
	now := a.now()
	e.Time, e.Count = now.Round(0), 1
	c := changes{}
	a.mu.Lock()
	if same, ok := a.repeated(repeats, now); ok {
		e.Seq, e.Count = same.Seq, same.Count+1
	} else {
		a.last++
		e.Seq = a.last
		if a.first == 0 {
			a.first = e.Seq
		}
	}
	if repeats != nil {
		a.remember(*repeats, e, now)
	}
	c.put(kindAudit, auditKey(e.Seq), encode(auditRecord{recordVersion, e}))
	for ; a.last-a.first >= maxAudit; a.first++ {
		c.put(kindAudit, auditKey(a.first), nil)
	}
	a.mu.Unlock()
	a.log.Info("audit", "who", e.Who, "client", e.From, "via", e.Via, "action", e.Action, "target", e.Target,
		"before", e.Before, "after", e.After, "result", e.Result, "count", e.Count)
	_ = a.outbox.put(ctx, c) // it is in the log above, and tried again
}

// repeated returns the entry that counts this refusal. The caller holds mu.
func (a *auditLog) repeated(key *refusalKey, now time.Time) (AuditEntry, bool) {
	if key == nil {
		return AuditEntry{}, false
	}
	e, ok := a.recent[*key]
	return e, ok && now.Sub(e.Time) < countFor && e.Seq >= a.first
}

func (a *auditLog) remember(key refusalKey, e AuditEntry, now time.Time) {
	if _, known := a.recent[key]; !known && len(a.recent) >= maxRecent {
		oldest := key
		for other, entry := range a.recent {
			if oldest == key || entry.Time.Before(a.recent[oldest].Time) {
				oldest = other
			}
		}
		delete(a.recent, oldest)
	}
	e.Time = now // measured by a clock that does not jump
	a.recent[key] = e
}

// list returns up to limit entries older than before (0: the newest).
func (a *auditLog) list(ctx context.Context, before uint64, limit int) (AuditList, error) {
	stored, err := a.records.Records(ctx, kindAudit)
	if err != nil {
		return AuditList{}, err
	}
	a.mu.Lock()
	list := AuditList{Entries: []AuditEntry{}, Removed: max(a.first, 1) - 1}
	a.mu.Unlock()
	var all []AuditEntry
	for _, text := range stored {
		var r auditRecord
		if err := json.Unmarshal(text, &r); err != nil {
			return AuditList{}, fmt.Errorf("audit log: %w", err)
		}
		if before == 0 || r.Seq < before {
			all = append(all, r.AuditEntry)
		}
	}
	slices.SortFunc(all, func(a, b AuditEntry) int { return cmp.Compare(b.Seq, a.Seq) })
	if len(all) > limit {
		all = all[:limit]
		list.Next = all[limit-1].Seq
	}
	list.Entries = append(list.Entries, all...)
	return list, nil
}

func (s *Server) getAudit(w http.ResponseWriter, r *http.Request) error {
	before, limit, err := newestFirst(r)
	if err != nil {
		return err
	}
	list, err := s.audit.list(r.Context(), before, limit)
	if err != nil {
		return err
	}
	return writeJSON(w, list)
}

// audited serves a route that changes something, and notes what.
func (s *Server) audited(rt route, who identity, w http.ResponseWriter, r *http.Request) error {
	short := rt.short
	if short == nil {
		short = func(string) string { return "" }
	}
	seen := &statusWriter{ResponseWriter: w, status: http.StatusOK, target: cmp.Or(r.PathValue("id"), r.PathValue("key"))}
	if seen.target != "" || rt.single() {
		seen.before = short(seen.target)
	}
	if err := rt.handle(seen, r); err != nil {
		return err
	}
	if dry, _ := flag(r, "dry_run"); dry || !seen.done() {
		return nil
	}
	if seen.status == http.StatusCreated && seen.target == "" {
		seen.target = path.Base(w.Header().Get("Location"))
	}
	after := short(seen.target)
	if rt.single() {
		seen.before, after = differing(seen.before, after)
	}
	s.audit.add(r.Context(), who, cmp.Or(seen.action, rt.action), seen.target, seen.before, after)
	return nil
}

// single tells whether the route is about the one thing of its kind, which has no name.
func (rt route) single() bool {
	kind, _, _ := strings.Cut(rt.action, ".")
	return kind == "policy" || kind == "pause"
}

// differing leaves out what is in both of two lists of settings: an entry has room for what has changed, not for all.
func differing(before, after string) (onlyBefore, onlyAfter string) {
	const between = "; "
	without := func(text, other string) string {
		all := strings.Split(other, between)
		return strings.Join(slices.DeleteFunc(strings.Split(text, between), func(one string) bool { return slices.Contains(all, one) }), between)
	}
	return without(before, after), without(after, before)
}

// statusWriter remembers with which status was answered, and what the handler knows of what it has done.
type statusWriter struct {
	http.ResponseWriter
	status int
	form   bool   // of a page
	said   bool   // the handler has told the target
	action string // what was done, if it is not what the route usually does
	target string // what it was done to
	before string // in short, what there was of it
}

// done tells whether something was done. A form that has been taken leads to a page, unless it says itself what it has done:
// it is shown again when something is wrong with it, or when it was only to tell what it would do.
func (w *statusWriter) done() bool {
	if w.form {
		return w.said || w.status == http.StatusSeeOther
	}
	return w.status < http.StatusBadRequest
}

// noteForm tells the audit log that a form is being answered.
func noteForm(w http.ResponseWriter) {
	if seen, ok := w.(*statusWriter); ok {
		seen.form = true
	}
}

// noteTarget tells the audit log to what a form has done something, and that it has.
func noteTarget(w http.ResponseWriter, name string) {
	if seen, ok := w.(*statusWriter); ok {
		seen.target, seen.said = name, true
	}
}

// noteAction tells the audit log that a form has done something else than it usually does.
func noteAction(w http.ResponseWriter, action string) {
	if seen, ok := w.(*statusWriter); ok {
		seen.action = action
	}
}

// noteBefore tells the audit log what there was, where only the handler knows.
func noteBefore(w http.ResponseWriter, text string) {
	if seen, ok := w.(*statusWriter); ok {
		seen.before = text
	}
}

// WriteHeader implements http.ResponseWriter.
func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
