package web_test

import (
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/web"
)

// Each choice means for a device that was ticked, for one that was not, and for a forward of the owner's what it says.
func TestWhoMayOpenPorts(t *testing.T) {
	h := newHome(t, visited)
	b := h.owner()
	const xbox, play = "00:50:f2:12:34:56", "bc:33:29:0a:1b:2c"
	try := func(client string) error {
		addr := netip.MustParseAddr(client)
		l, err := h.manager.Open(t.Context(), lease.Request{
			Mapping: lease.Mapping{Protocol: lease.UDP, External: netip.AddrPortFrom(netip.Addr{}, 4000), Internal: netip.AddrPortFrom(addr, 4000)},
			Origin:  lease.OriginUPnP, Client: addr, Lifetime: time.Hour,
		})
		if err == nil {
			_, err = h.manager.CloseID(t.Context(), lease.Actor{Origin: lease.OriginUPnP, Client: addr}, l.ID)
		}
		return err
	}
	_, err := h.manager.SetDevice(t.Context(), lease.Device{MAC: xbox, Name: "Xbox", Mappings: 5}, lease.DeviceOptions{By: lease.OriginWeb})
	must(t, err)
	for _, tt := range []struct {
		form                 string
		who                  string // is chosen then
		xbox, play, stranger error
	}{
		{"who=everyone", "everyone", nil, nil, nil},
		{"who=ask&seen=" + xbox + "&allow=" + xbox + "&seen=" + play, "ask", nil, lease.ErrWaiting, lease.ErrWaiting},
		{"who=only&seen=" + xbox + "&seen=" + play + "&allow=" + play, "only", lease.ErrNotAuthorized, nil, lease.ErrNotAuthorized},
		{"who=only&seen=" + xbox + "&allow=" + xbox, "only", nil, nil, lease.ErrNotAuthorized}, // of the other nothing is said
		{"who=nobody", "nobody", lease.ErrNotAuthorized, lease.ErrNotAuthorized, lease.ErrNotAuthorized},
		{"who=everyone", "everyone", nil, nil, nil},
	} {
		a := b.want(http.StatusSeeOther, b.form("/welcome/devices", strings.ReplaceAll(tt.form, ":", "%3A")))
		if at := a.Header.Get("Location"); at != "/welcome/check" {
			t.Errorf("%s leads to %s", tt.form, at)
		}
		for client, want := range map[string]error{"192.168.1.50": tt.xbox, "192.168.1.61": tt.play, "192.168.1.99": tt.stranger} {
			if err := try(client); !errors.Is(err, want) {
				t.Errorf("%s: %s gets %v, want %v", tt.form, client, err, want)
			}
		}
		page := string(b.want(http.StatusOK, b.get("/welcome/devices")).body)
		if !strings.Contains(page, `value="`+tt.who+`" checked`) {
			t.Errorf("%s: %s is not the choice that is shown", tt.form, tt.who)
		}
	}
	if d := h.manager.Snapshot().Own.Devices[xbox]; d.Mappings != 5 || d.Name != "Xbox" {
		t.Errorf("what else was set is gone: %+v", d)
	}
	b.want(http.StatusBadRequest, b.form("/welcome/devices", "who=strangers"))
	b.want(http.StatusNotFound, b.get("/welcome/nothing"))
	if a := b.want(http.StatusSeeOther, b.get("/welcome")); a.Header.Get("Location") != "/welcome/network" {
		t.Errorf("the first step is %s", a.Header.Get("Location"))
	}
}

// What the configuration file sets is not changed behind its back.
func TestWhoMayOpenPortsByTheFile(t *testing.T) {
	h := newHomeWith(t, func(c *lease.Config) { c.Policy.DefaultDeny = true })
	b := h.owner()
	b.want(http.StatusBadRequest, b.form("/welcome/devices", "who=everyone"))
	b.want(http.StatusSeeOther, b.form("/welcome/devices", "who=only"))
}

// The page of what was found says where it comes from, whatever was found.
func TestWhatWasFound(t *testing.T) {
	h := newHome(t, func(c *web.Config) {
		c.ConfigFile = web.ConfigFile{Path: "/etc/portreeve/portreeve.toml", Read: true}
		c.Settings = []web.Setting{{Name: "wan.interfaces", Value: "wan", Set: true}, {Name: "lan.interfaces", Value: "auto"}}
	})
	b := h.owner()
	page := func(wanted ...string) {
		t.Helper()
		text := string(b.want(http.StatusOK, b.get("/welcome/network")).body)
		for _, want := range wanted {
			if !strings.Contains(text, want) {
				t.Errorf("%q is not in the page:\n%s", want, text)
			}
		}
	}
	page("Internet <span class=\"faint\">configuration file", "Home network <span class=\"faint\">found by itself", "This is set in /etc/portreeve/portreeve.toml", "pcp = false")
	h.setFacts(func(f *web.Facts) { f.WANs, f.LANs = nil, nil })
	page("No way to the internet was found", "No network with a private address was found")
}
