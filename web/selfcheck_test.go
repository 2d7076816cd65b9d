package web_test

import (
	"context"
	"net/http"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/wan"
	"github.com/portreeve/portreeve/web"
)

func TestSelfCheckAndWhoWasHeard(t *testing.T) {
	found := []web.Finding{{Subject: "wan", OK: true, What: "wan has the address"}, {Subject: "port", What: "tcp 49000 does not listen", Do: "start it again"}}
	h := newHome(t, func(c *web.Config) {
		c.Check = func(context.Context) []web.Finding { return found }
		c.Heard = func() []web.HeardHost {
			return []web.HeardHost{{Address: console, MAC: "00:50:f2:12:34:56", Searches: 3, AgoSeconds: 2}, {Address: netip.MustParseAddr("192.168.1.77"), Requests: 1}}
		}
		c.DeviceName = func(l lease.Lease) string {
			if l.Client == console {
				return "Xbox\n"
			}
			return ""
		}
	})
	b := h.owner()
	got := decode[web.SelfCheck](t, b.want(http.StatusOK, b.get("/api/v1/self-check")))
	if d := cmp.Diff(found, got.Findings); d != "" {
		t.Errorf("findings (-want +got):\n%s", d)
	}
	heard := decode[web.HeardList](t, b.want(http.StatusOK, b.get("/api/v1/heard"))).Hosts
	if len(heard) != 2 || heard[0].Name != "Xbox" || heard[0].Searches != 3 || heard[1].Name != "" {
		t.Errorf("heard %+v", heard)
	}
	empty := newHome(t).cli()
	if got := decode[web.SelfCheck](t, empty.want(http.StatusOK, empty.get("/api/v1/self-check"))); len(got.Findings) != 0 {
		t.Errorf("findings %+v", got)
	}
}

// What the status expects of consoles follows from the line, the protocols, the firewall and what the owner says of new devices.
func TestExpectedNATType(t *testing.T) {
	h := newHome(t)
	c := h.cli()
	expect := func(name string, want wan.Reason, xbox ...wan.Xbox) {
		t.Helper()
		got := decode[web.Status](t, c.want(http.StatusOK, c.get("/api/v1/status"))).ExpectedNAT
		if d := cmp.Diff(append([]wan.Xbox{}, xbox...), got.Xbox); d != "" || got.Reason != want || got.Text == "" {
			t.Errorf("%s: %+v, want %s (-want +got):\n%s", name, got, want, d)
		}
	}
	device := func(access lease.Access) {
		t.Helper()
		_, err := h.manager.SetDevice(t.Context(), lease.Device{MAC: lease.NewDevices, Access: access}, lease.DeviceOptions{By: lease.OriginWeb})
		must(t, err)
	}
	expect("at first", wan.ReasonReady, wan.XboxOpen)
	device(lease.AccessAsk)
	expect("the owner is asked", wan.ReasonAsk, wan.XboxOpen, wan.XboxModerate)
	device(lease.AccessDeny)
	expect("new devices are refused", wan.ReasonDenied, wan.XboxModerate)
	device(lease.AccessAllow)
	deny := true
	_, err := h.manager.SetPolicy(t.Context(), lease.OwnPolicy{DefaultDeny: &deny}, lease.PolicyOptions{By: lease.OriginWeb})
	must(t, err)
	expect("new devices are allowed, whatever rules say", wan.ReasonReady, wan.XboxOpen)
	device(lease.AccessInherit)
	expect("nothing is allowed", wan.ReasonDenied, wan.XboxModerate)
	h.setFacts(func(f *web.Facts) { f.Protocols[0].Enabled = false })
	expect("no UPnP", wan.ReasonSilent, wan.XboxModerate)
	line := func(state web.WANState, addr string) {
		h.setFacts(func(f *web.Facts) {
			f.WANs = []web.WANFacts{{Name: "wan", Addresses: []netip.Addr{netip.MustParseAddr(addr)}, State: state}}
		})
	}
	line(web.WANShared, "100.64.3.17")
	expect("the provider's NAT", wan.ReasonShared, wan.XboxModerate, wan.XboxStrict)
	line(web.WANPrivate, "192.168.0.2")
	expect("another router", wan.ReasonPrivate, wan.XboxModerate, wan.XboxStrict)
	line(web.WANPrivate, "192.0.0.2")
	expect("DS-Lite", wan.ReasonSpecial, wan.XboxModerate, wan.XboxStrict)
	h.setFacts(func(f *web.Facts) { f.WANs = nil })
	expect("no line", wan.ReasonOffline)
}
