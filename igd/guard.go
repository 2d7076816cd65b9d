package igd

import (
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/time/rate"
)

// guard keeps out who is not on the LAN, and web pages that make a browser on the LAN talk to us. A page has two
// ways: a name of its own that suddenly resolves to our address (DNS rebinding), and plain requests across sites.
// Against the first, only our address is accepted as Host; against the second, nothing that browsers alone send.
type guard struct {
	log   *slog.Logger
	often rate.Sometimes // a page may try thousands of times
}

func newGuard(log *slog.Logger) *guard {
	return &guard{log: log, often: rate.Sometimes{First: 1, Interval: time.Minute}}
}

var (
	errOffLink = errors.New("only hosts of this network are served")
	errHost    = errors.New("the host must be the address of this router")
	errBrowser = errors.New("web pages may not control the router")
)

// admit returns nil if a request is to be answered, else why not.
func (g *guard) admit(r *request, lan *LAN) (err error) {
	switch {
	case !lan.contains(r.client):
		err = errOffLink
	case !isHost(r.host, lan.Addr):
		err = errHost
	case r.method != http.MethodGet && r.method != http.MethodHead && fromBrowser(r):
		err = errBrowser
	default:
		return nil
	}
	g.often.Do(func() {
		g.log.Warn("request refused; more of them are not logged for a minute", "client", r.client, "err", err)
	})
	return err
}

// isHost tells whether the Host header names the address. The port does not matter: what a browser could be made to
// send is a name. Nor does a zone, which is the client's own name of its interface. Without a Host header, which HTTP/1.1 does
// not allow but old clients do, the request is no browser's.
func isHost(host string, local netip.Addr) bool {
	if host == "" {
		return true
	}
	if withPort, err := netip.ParseAddrPort(host); err == nil {
		return withPort.Addr().WithZone("") == local
	}
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
	return err == nil && addr.WithZone("") == local
}

// fromBrowser tells whether a request comes out of a web page: it has an origin, a referrer or the site it came from.
// Other fetch metadata prove nothing: Node.js sends Sec-Fetch-Mode.
func fromBrowser(r *request) bool {
	return r.has("Origin") || r.has("Referer") || r.has("Sec-Fetch-Site")
}
