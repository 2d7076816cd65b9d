package web

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/portreeve/portreeve/lease"
)

// maxBody is more than any request of this API needs, but for a backup.
const maxBody = 64 << 10

// contentPolicy lets a page load nothing but this server's own files, and nothing that is written inside it:
// a description that slips past the escaping still is not run.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// guard wraps everything that browsers reach. The order matters: nothing is done for a host name that is not
// ours, and nothing is read of a body that another site sent.
func (s *Server) guard(next http.Handler) http.Handler {
	origin := http.NewCrossOriginProtection()
	origin.SetDenyHandler(s.refuse(problem(CodeOrigin, "another web site sent this request")))
	return s.recovered(hardened(s.hostsOnly(origin.Handler(next))))
}

// hardened sets the headers that every answer has, and bounds the body.
func hardened(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", contentPolicy)
		h.Set("X-Frame-Options", "DENY")
		h.Set("X-Content-Type-Options", "nosniff")
		// Not no-referrer: with that, browsers send "Origin: null" with forms, and the check of the origin
		// would refuse our own.
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		limit := int64(maxBody)
		if r.URL.Path == "/api/v1/backup" || r.URL.Path == "/settings/restore" {
			limit = maxBackup
		}
		r.Body = http.MaxBytesReader(w, r.Body, limit)
		next.ServeHTTP(w, r)
	})
}

// hostsOnly refuses requests for host names that are not this router's. A page of an attacker whose name was
// made to point here (DNS rebinding) would otherwise be of the same origin as ours.
func (s *Server) hostsOnly(next http.Handler) http.Handler {
	refuse := s.refuse(problem(CodeHost, "this router is not known by the name in the address; use its IP address"))
	// A host that tries on and on gets one line a minute.
	sometimes := &rate.Sometimes{First: 1, Interval: time.Minute}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.ownHost(r.Host) {
			sometimes.Do(func() {
				s.Logger.Warn("foreign host name refused", "client", source(r), "host", lease.CleanText(r.Host, 100))
			})
			refuse.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// ownHost tells whether a Host header names this router, with any port.
func (s *Server) ownHost(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	} else if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		name = host[1 : len(host)-1]
	}
	if addr, err := netip.ParseAddr(name); err == nil {
		addr = addr.Unmap()
		same := func(own netip.Addr) bool { return own.Unmap().WithZone("") == addr.WithZone("") }
		return addr.IsLoopback() || slices.ContainsFunc(s.OwnAddrs(), same)
	}
	name = strings.TrimSuffix(name, ".")
	same := func(own string) bool { return strings.EqualFold(strings.TrimSuffix(own, "."), name) }
	return name != "" && (same("localhost") || slices.ContainsFunc(s.Names, same))
}

// refuse answers with a problem, as JSON below /api and as a page elsewhere.
func (s *Server) refuse(p *Problem) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isAPI(r) {
			writeProblem(w, p)
			return
		}
		s.pages.writeProblem(w, r, p)
	})
}

func isAPI(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/api/") }

// recovered turns a panic into an answer and a log line: one bad request must not close ports.
func (s *Server) recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			reason := recover()
			if reason == nil {
				return
			}
			if err, ok := reason.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(reason) // how net/http is told to drop a connection
			}
			s.Logger.Error("panic while answering", "path", r.URL.Path, "err", reason, "stack", string(debug.Stack()))
			s.refuse(problemOf(fmt.Errorf("panic: %v", reason))).ServeHTTP(w, r)
		}()
		next.ServeHTTP(w, r)
	})
}

// source returns the address at the other end; the zero Addr for a Unix socket.
func source(r *http.Request) netip.Addr {
	ap, _ := netip.ParseAddrPort(r.RemoteAddr)
	return ap.Addr().Unmap()
}

// hasMediaType tells whether the body is declared to be of a type, whatever the parameters.
func hasMediaType(r *http.Request, want string) bool {
	got, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && got == want
}

// answerError logs what the owner must know and returns what the other end may know.
func (s *Server) answerError(r *http.Request, err error) *Problem {
	p := problemOf(err)
	if p.Code == CodeInternal && !errors.Is(err, context.Canceled) {
		s.Logger.Error("request failed", "method", r.Method, "path", r.URL.Path, "err", err)
	}
	return p
}
