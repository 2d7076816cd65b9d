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

func TestCloseSeveralLeases(t *testing.T) {
	h := newHome(t)
	b := h.owner()
	closing := func(query, body string) web.CloseResult {
		t.Helper()
		return decode[web.CloseResult](t, b.want(http.StatusOK, b.json(http.MethodPost, "/api/v1/leases/close"+query, body)))
	}
	one, two, three := h.open(), h.open(port(3075)), h.open(port(3076))
	got := closing("?dry_run=true", `{"all": true}`)
	if !got.DryRun || len(got.Closed) != 3 || len(got.Failed) != 0 {
		t.Errorf("a dry run answers %+v", got)
	}
	got = closing("", `{"ids": ["nothing0", "`+string(one.ID)+`", "`+string(two.ID)+`"]}`)
	if len(got.Closed) != 2 || len(got.Failed) != 1 || got.Failed[0].ID != "nothing0" || got.Failed[0].Code != web.CodeNoLease || got.Failed[0].Status != http.StatusNotFound {
		t.Errorf("closed %+v", got)
	}
	e := decode[web.AuditList](t, b.want(http.StatusOK, b.get("/api/v1/audit"))).Entries[0]
	if e.Action != "lease.close.selected" || e.Before != "udp 3074 -> 192.168.1.50:3074; udp 3075 -> 192.168.1.50:3075" || e.After != "" {
		t.Errorf("the audit log says %+v", e)
	}
	if got = closing("", `{"device": "192.168.1.51"}`); len(got.Closed) != 0 {
		t.Errorf("of another device %+v", got)
	}
	if got = closing("", `{"device": "00-50-F2-12-34-56", "port": 3076, "via": "upnp"}`); len(got.Closed) != 1 || got.Closed[0].ID != three.ID {
		t.Errorf("of the device %+v", got)
	}
	h.inForce(lease.Port{Protocol: lease.UDP, Number: 3076}, false)
	for _, body := range []string{`{}`, `{"all": true, "port": 1}`, `{"device": "router"}`, `{"via": "web"}`, `{"port": 70000}`, `{"ids": "all"}`} {
		b.refused(web.CodeInvalid, b.json(http.MethodPost, "/api/v1/leases/close", body))
	}
}
