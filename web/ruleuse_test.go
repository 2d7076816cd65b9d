package web_test

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/web"
)

// The list of forwards tells how they are used, and asks the firewall once for all who look.
func TestForwardsTellHowTheyAreUsed(t *testing.T) {
	asked := 0
	var h *home
	h = newHome(t, func(c *web.Config) {
		c.Counts = func(_ context.Context, all []lease.Lease) (map[lease.ID]web.Used, error) {
			asked++
			counts := map[lease.ID]web.Used{}
			for _, l := range all {
				counts[l.ID] = web.Used{In: 41, Out: 7}
			}
			return counts, nil
		}
		c.Use = func(lease.ID) (web.Use, bool) { return web.Use{Last: h.manager.Now().Add(-130 * time.Second)}, true }
	})
	b := h.owner()
	b.want(http.StatusOK, b.get("/forwards"))
	if asked != 0 {
		t.Error("without forwards the firewall is asked")
	}
	change, err := h.manager.PutRule(t.Context(), lease.Rule{
		Kind: lease.RuleForward, Name: "Game", Enabled: true, Protocols: []lease.Protocol{lease.TCP, lease.UDP}, Ports: lease.PortRange{First: 4000, Last: 4000},
		Target: lease.Target{Addr: netip.MustParseAddr("192.168.1.50")},
	}, lease.RuleOptions{By: lease.OriginWeb})
	must(t, err)
	for range 3 {
		page := string(b.want(http.StatusOK, b.get("/forwards")).body)
		for _, want := range []string{"82 connections", "last used 2 min"} {
			if !strings.Contains(page, want) {
				t.Errorf("the page lacks %q", want)
			}
		}
	}
	if asked != 1 {
		t.Errorf("the firewall was asked %d times, want once", asked)
	}
	// Another one like it is off: both cannot be in force.
	form := string(b.want(http.StatusOK, b.get("/forwards/new?copy="+string(change.Rule.ID))).body)
	for _, want := range []string{`name="name" value="Game"`, `name="ports" value="4000"`, `name="version" value="0"`} {
		if !strings.Contains(form, want) {
			t.Errorf("the form lacks %q", want)
		}
	}
	if i := strings.Index(form, `name="enabled"`); i < 0 || strings.Contains(form[i:i+60], "checked") {
		t.Error("the copy is switched on")
	}
}
