package igd_test

import (
	"bufio"
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"testing"

	"github.com/portreeve/portreeve/lease"
)

// The whole way of a request, from the bytes on the wire to the answer, with a real manager behind it.
func FuzzHandler(f *testing.F) {
	r := newRouter(f, lan())
	for _, file := range deviceFiles(f) {
		for _, e := range readDevice(f, file, "192.168.1.1", "192.168.1.1:49000", alice) {
			f.Add([]byte(e.request))
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
		if err != nil {
			return
		}
		req.RemoteAddr = alice + ":40000"
		w := httptest.NewRecorder()
		r.handler.ServeHTTP(w, req)
		switch w.Code {
		case 200, 400, 403, 404, 405, 413, 500, 501:
		default:
			t.Errorf("status %d", w.Code)
		}
		if got, want := w.Header().Get("Content-Length"), strconv.Itoa(w.Body.Len()); got != want {
			t.Errorf("content length %s for %s bytes", got, want)
		}
		readReply(t, w.Result(), w.Body.String())
		checkAndClose(t, r.manager)
	})
}

// checkAndClose checks what the one client got against the policy, and takes it back.
func checkAndClose(t *testing.T, m *lease.Manager) {
	t.Helper()
	policy := lease.DefaultPolicy()
	for _, l := range m.Snapshot().Leases {
		if l.Internal.Addr() != netip.MustParseAddr(alice) || !policy.Ports.Contains(l.External.Port()) || policy.Never.Contains(l.External.Port()) {
			t.Errorf("mapping that nobody may have: %s", l.Mapping)
		}
		if _, err := m.CloseID(t.Context(), lease.Actor{Origin: lease.OriginCLI}, l.ID); err != nil {
			t.Error(err)
		}
	}
}
