package web_test

import (
	"net/http"
	"testing"

	"github.com/portreeve/portreeve/web"
)

// Programs learn of what somebody has set without asking for it again and again.
func TestStreamTellsOfPolicyAndDevices(t *testing.T) {
	const camera = "bc:33:29:0a:1b:2c"
	h := newHome(t)
	b := h.owner()
	put := func(path, body string) {
		t.Helper()
		b.want(http.StatusOK, b.json(http.MethodPut, "/api/v1"+path, body))
	}
	put("/devices/new", `{"access": "allow"}`)
	s := h.stream(b, "/api/v1/events")
	var p web.Policy
	s.decode(s.next("policy"), &p)
	var all web.DeviceList
	s.decode(s.next("devices"), &all)
	if p.Version != 1 || len(all.Devices) != 1 || all.Devices[0].MAC != "new" {
		t.Errorf("at first %+v and %+v", p, all)
	}

	put("/policy", `{"mappings_per_device": 7}`)
	if s.decode(s.next("policy"), &p); p.Version != 2 || p.MappingsPerDevice != 7 {
		t.Errorf("policy = %+v, want the changed one", p)
	}
	var d web.Device
	put("/devices/"+camera, `{"access": "deny", "name": "camera"}`)
	if s.decode(s.next("device"), &d); d.MAC != camera || !d.Set || d.Settings.Access != "deny" {
		t.Errorf("device = %+v, want the camera", d)
	}
	put("/devices/"+camera, `{"access": "inherit", "name": "camera"}`)
	if s.decode(s.next("device"), &d); d.Version != 2 {
		t.Errorf("device = %+v, want it changed", d)
	}
	b.want(http.StatusOK, b.delete("/api/v1/devices/"+camera))
	if s.decode(s.next("device"), &d); d.Set || d.Version != 0 {
		t.Errorf("device = %+v, want it forgotten", d)
	}

	// What changes besides is told of as itself.
	s.next("status")
	h.open()
	for e := s.next(""); e.name != "status"; e = s.next("") {
		if e.name != "lease" {
			t.Errorf("a lease that is opened causes the event %s", e.name)
		}
	}
}

// A token is told what it may ask for.
func TestStreamKeepsToTheAreasOfAToken(t *testing.T) {
	h := newHome(t)
	for name, tt := range map[string]struct {
		areas []string
		want  string
	}{
		"all":     {nil, "leases rules policy devices status "},
		"state":   {[]string{"state"}, "leases status "},
		"devices": {[]string{"state", "devices"}, "leases devices status "},
	} {
		c, _ := h.token(web.TokenRequest{Name: name, Role: web.RoleViewer, Areas: tt.areas, LifetimeSeconds: 3600})
		s := h.stream(c, "/api/v1/events")
		got := ""
		for e := s.next("leases"); ; e = s.next("") {
			if got += e.name + " "; e.name == "status" {
				break
			}
		}
		if got != tt.want {
			t.Errorf("a token for %s is told %s, want %s", name, got, tt.want)
		}
	}
}

func TestAuditTellsWhatHasChangedOfThePolicy(t *testing.T) {
	h := newHome(t)
	b := h.owner()
	for _, body := range []string{
		`{"mappings_per_device": 7, "rules": [{"name": "no torrents", "action": "deny", "ports": ["6881-6889"]}]}`,
		`{"mappings_per_device": 9, "rules": [{"name": "no torrents", "action": "deny", "ports": ["6881-6889"]}]}`,
	} {
		b.want(http.StatusOK, b.json(http.MethodPut, "/api/v1/policy", body))
	}
	entries := decode[web.AuditList](t, b.want(http.StatusOK, b.get("/api/v1/audit"))).Entries
	if e := entries[0]; e.Action != "policy.change" || e.Before != "mappings_per_device 7" || e.After != "mappings_per_device 9" {
		t.Errorf("the audit log says %+v", e)
	}
	if e := entries[1]; e.Before != "" || e.After == "" {
		t.Errorf("the audit log says %+v", e)
	}
	lines := h.manager.Snapshot().Own.Lines()
	if len(lines) != 2 || lines[0] != "mappings_per_device 9" {
		t.Errorf("the policy is %q", lines)
	}
}
