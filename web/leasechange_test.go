package web_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/web"
)

func TestReopenALease(t *testing.T) {
	h := newHome(t)
	b, l := h.owner(), h.open()
	path := "/api/v1/leases/" + string(l.ID)
	b.refused(web.CodeNoLease, b.post("/api/v1/leases/nothing0/reopen", struct{}{}))
	b.want(http.StatusOK, b.delete(path))
	again := decode[web.Lease](t, b.want(http.StatusOK, b.post(path+"/reopen", struct{}{})))
	if again.ID != l.ID || again.ExternalPort != 3074 {
		t.Errorf("reopened %+v", again)
	}
	h.inForce(lease.Port{Protocol: lease.UDP, Number: 3074}, true)

	b.want(http.StatusOK, b.delete(path))
	other := h.open()
	p := b.problem(web.CodeConflict, b.post(path+"/reopen", struct{}{}))
	if want := "conflict with another mapping: its device has opened udp 3074 again by itself"; p.Detail != want {
		t.Errorf("refused with %q, want %q", p.Detail, want)
	}
	b.want(http.StatusOK, b.delete("/api/v1/leases/"+string(other.ID)))
	b.want(http.StatusOK, b.post(path+"/reopen", struct{}{}))

	entries := decode[web.AuditList](t, b.want(http.StatusOK, b.get("/api/v1/audit"))).Entries
	if e := entries[0]; e.Action != "lease.reopen" || e.Target != string(l.ID) || e.Before != "" || e.After != "udp 3074 -> 192.168.1.50:3074" {
		t.Errorf("the audit log says %+v", e)
	}
}

// inForce checks whether the firewall has a port.
func (h *home) inForce(p lease.Port, want bool) {
	h.t.Helper()
	if _, open := h.firewall.Lease(p); open != want {
		h.t.Errorf("%s in the firewall: %t, want %t", p, open, want)
	}
}

func TestAmendALease(t *testing.T) {
	h := newHome(t)
	b, l := h.owner(), h.open()
	path := "/api/v1/leases/" + string(l.ID)
	patch := func(query, body string) answer { return b.json(http.MethodPatch, path+query, body) }
	got := decode[web.Lease](t, b.want(http.StatusOK, patch("", `{"note": "<b>Anna's</b>"}`)))
	if got.Note != "<b>Anna's</b>" || got.EndFixed || got.RemainingSeconds < 3500 {
		t.Errorf("with a note %+v", got)
	}
	got = decode[web.Lease](t, b.want(http.StatusOK, patch("?dry_run=true", `{"remaining_seconds": 60}`)))
	if !got.EndFixed || got.RemainingSeconds > 60 {
		t.Errorf("a dry run answers %+v", got)
	}
	got = decode[web.LeaseDetail](t, b.want(http.StatusOK, b.get(path))).Lease
	if got.EndFixed || got.RemainingSeconds < 3500 || got.Note == "" {
		t.Errorf("a dry run left %+v", got)
	}
	b.want(http.StatusOK, patch("", `{"remaining_seconds": 7200, "note": null}`))
	for _, body := range []string{`{}`, `{"remaining_seconds": 0}`, `{"remaining_seconds": 99999999999999999}`, `{"remaining_seconds": "1h"}`, `{"name": "x"}`} {
		b.refused(web.CodeInvalid, patch("", body))
	}
	b.refused(web.CodeNoLease, b.json(http.MethodPatch, "/api/v1/leases/nothing0", `{"note": "x"}`))

	entries := decode[web.AuditList](t, b.want(http.StatusOK, b.get("/api/v1/audit"))).Entries
	e := entries[0]
	if e.Action != "lease.change" || e.Target != string(l.ID) || e.Before == e.After || !strings.HasPrefix(e.After, "udp 3074 -> 192.168.1.50:3074, ") ||
		!strings.HasSuffix(e.After, ` left, note "<b>Anna's</b>"`) {
		t.Errorf("the audit log says %+v", e)
	}
}
