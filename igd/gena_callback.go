package igd

import (
	"cmp"
	"context"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// callback is where a subscriber wants to be told.
type callback struct {
	to     netip.AddrPort
	host   string // header HOST
	target string // of the request line
}

// Limits of what a subscriber may say. Real clients give one URL of 50 bytes, some with two families two.
const (
	maxCallbacks = 4
	maxCallback  = 512
)

// confirmWithin is how long it may take to find out whose the addresses are.
const confirmWithin = 1500 * time.Millisecond

// parseCallbacks reads CALLBACK: one or more URLs in angle brackets (UDA 1.1, section 4.1.2). Those that we cannot or may not
// call are left out: the host must be an address, because a name could turn out to be anybody's. The zone is that of hosts
// with link-local addresses.
func parseCallbacks(header, zone string) (all []callback) {
	for len(all) < maxCallbacks {
		_, rest, ok := strings.Cut(header, "<")
		text, rest, ok2 := strings.Cut(rest, ">")
		if !ok || !ok2 {
			break
		}
		if c, ok := parseCallback(strings.TrimSpace(text), zone); ok {
			all = append(all, c)
		}
		header = rest
	}
	return all
}

func parseCallback(text, zone string) (callback, bool) {
	if len(text) > maxCallback {
		return callback{}, false
	}
	u, err := url.Parse(text)
	if err != nil || !strings.EqualFold(u.Scheme, "http") || u.User != nil || u.Opaque != "" {
		return callback{}, false
	}
	addr, err := netip.ParseAddr(u.Hostname())
	port, ok := typeUI2.parse(cmp.Or(u.Port(), "80"))
	target := u.RequestURI()
	unfit := func(r rune) bool { return r <= ' ' || r > '~' }
	if err != nil || addr.Is4In6() || !ok || port.number == 0 || strings.ContainsFunc(target, unfit) {
		return callback{}, false
	}
	// The zone in a URL is the sender's own name of its interface.
	to := netip.AddrPortFrom(addr.WithZone(""), uint16(port.number))
	c := callback{to: to, host: to.String(), target: target}
	if addr.Is6() && addr.IsLinkLocalUnicast() {
		c.to = netip.AddrPortFrom(addr.WithZone(zone), to.Port())
	}
	return c, true
}

// permitted returns the callbacks that belong to the device that asks. It may call itself only, lest it has us send to others
// what they did not ask for (CVE-2020-12695, CallStranger). One that has an address of each family may ask with one
// and listen with the other: the neighbour table tells, and what it tells must be fresh.
func (h *handler) permitted(ctx context.Context, r *request, all []callback) (own []callback) {
	ctx, cancel := context.WithTimeout(ctx, confirmWithin) // all together
	defer cancel()
	for _, c := range all {
		if c.to.Addr() == r.client || h.sameDevice(ctx, r, c.to.Addr()) {
			own = append(own, c)
		}
	}
	return own
}

func (h *handler) sameDevice(ctx context.Context, r *request, addr netip.Addr) bool {
	device := h.server.hosts.device(r.client)
	if device == "" {
		return false
	}
	r.wait()
	return h.server.network.Confirm(ctx, addr) == device
}
