package web_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/web"
)

func TestPause(t *testing.T) {
	h := newHome(t)
	b, l := h.owner(), h.open()
	status := func() web.Status {
		t.Helper()
		return decode[web.Status](t, b.want(http.StatusOK, b.get("/api/v1/status")))
	}
	put := func(query, body string) web.PauseChange {
		t.Helper()
		return decode[web.PauseChange](t, b.want(http.StatusOK, b.json(http.MethodPut, "/api/v1/pause"+query, body)))
	}
	if p := decode[web.Paused](t, b.want(http.StatusOK, b.get("/api/v1/pause"))); p != (web.Paused{}) || status().Paused != p || status().Verdict != web.VerdictReady {
		t.Errorf("before, %+v", p)
	}
	change := put("?dry_run=true", `{"seconds": 600, "close_automatic": true}`)
	if !change.DryRun || !change.Paused.On || len(change.Closed) != 1 || change.Closed[0].ID != l.ID || status().Paused.On {
		t.Errorf("a dry run answers %+v", change)
	}
	change = put("", `{"seconds": 600}`)
	if p := change.Paused; change.DryRun || !p.On || p.UntilResumed || p.RemainingSeconds < 590 || p.RemainingSeconds > 600 || len(change.Closed) != 0 {
		t.Errorf("paused: %+v", change)
	}
	if s := status(); !s.Paused.On || s.Verdict != web.VerdictPaused {
		t.Errorf("status: %+v, %s", s.Paused, s.Verdict)
	}
	_, err := h.manager.Open(t.Context(), lease.Request{Mapping: l.Mapping, Origin: lease.OriginUPnP, Client: console.Next(), Lifetime: 60e9})
	if !errors.Is(err, lease.ErrUnavailable) && !errors.Is(err, lease.ErrThirdParty) {
		t.Errorf("a device opened something: %v", err)
	}
	change = put("", `{"close_automatic": true}`)
	if p := change.Paused; !p.UntilResumed || p.RemainingSeconds != 0 || len(change.Closed) != 1 {
		t.Errorf("paused without an end: %+v", change)
	}
	h.inForce(lease.Port{Protocol: lease.UDP, Number: 3074}, false)
	b.refused(web.CodeNoLease, b.post("/api/v1/leases/"+string(l.ID)+"/reopen", struct{}{}))
	for _, body := range []string{`{"seconds": 2592001}`, `{"seconds": -1}`, `{"seconds": "10m"}`, `{"for": 1}`, `[]`} {
		b.refused(web.CodeInvalid, b.json(http.MethodPut, "/api/v1/pause", body))
	}
	if p := decode[web.Paused](t, b.want(http.StatusOK, b.delete("/api/v1/pause"))); p != (web.Paused{}) || status().Paused.On {
		t.Errorf("resumed: %+v", p)
	}
	h.open()

	entries := decode[web.AuditList](t, b.want(http.StatusOK, b.get("/api/v1/audit"))).Entries
	got := [][3]string{}
	for _, e := range entries[:3] {
		got = append(got, [3]string{e.Action, e.Before, e.After})
	}
	if got[0] != [3]string{"pause.end", "paused until that is ended", ""} || got[1][0] != "pause.set" || got[1][2] != "paused until that is ended" ||
		got[2][1] != "" || got[2][2] != "paused for 10m0s" {
		t.Errorf("the audit log says %q", got)
	}
}
