package igd_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"testing"

	"github.com/portreeve/portreeve/igd"
)

// The owner learns who reads the description, and not who is turned away at the door.
func TestCallsAreHeard(t *testing.T) {
	r := newRouter(t, lan())
	var heard []netip.Addr
	handler := igd.Handler(t, newServer(t, r.manager, r.line, func(c *igd.Config) {
		c.Heard = func(host netip.Addr) { heard = append(heard, host) }
	}), lan())
	for host, name := range map[string]string{"192.168.1.50:4000": "192.168.1.1:49000", "192.168.1.51:4000": "evil.example"} {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/nothing", nil)
		req.RemoteAddr, req.Host = host, name
		handler.ServeHTTP(httptest.NewRecorder(), req)
	}
	if !slices.Equal(heard, []netip.Addr{netip.MustParseAddr("192.168.1.50")}) {
		t.Errorf("heard %v, want 192.168.1.50 alone", heard)
	}
}
