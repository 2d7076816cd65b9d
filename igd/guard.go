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

// admit returns the address of the client, or why it is not served.
func (g *guard) admit(r *http.Request, lan netip.Prefix) (netip.Addr, error) {
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	client := remote.Addr().Unmap()
	switch {
	case err != nil || !onLink(client, lan):
		err = errOffLink
	case !isHost(r.Host, lan.Addr()):
		err = errHost
	case r.Method != http.MethodGet && r.Method != http.MethodHead && fromBrowser(r.Header):
		err = errBrowser
	default:
		return client, nil
	}
	g.often.Do(func() {
		g.log.Warn("request refused; more of them are not logged for a minute", "client", client, "err", err)
	})
	return netip.Addr{}, err
}

// onLink tells whether an address is a host of the LAN.
func onLink(client netip.Addr, lan netip.Prefix) bool { return lan.Contains(client) }

// isHost tells whether the Host header names the address. The port does not matter: what a browser could be made to
// send is a name. Without a Host header, which only HTTP/1.0 allows, the request is no browser's.
func isHost(host string, local netip.Addr) bool {
	if host == "" {
		return true
	}
	if withPort, err := netip.ParseAddrPort(host); err == nil {
		return withPort.Addr() == local
	}
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
	return err == nil && addr == local
}

// fromBrowser tells whether a request comes out of a web page: it has an origin, a referrer or the site it came from.
// Other fetch metadata prove nothing: Node.js sends Sec-Fetch-Mode.
func fromBrowser(h http.Header) bool {
	for _, name := range []string{"Origin", "Referer", "Sec-Fetch-Site"} {
		if len(h.Values(name)) > 0 {
			return true
		}
	}
	return false
}
