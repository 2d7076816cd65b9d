package web_test

import (
	"net/http"
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
