package igd_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"testing"
	"testing/iotest"

	"github.com/portreeve/portreeve/igd"
	"github.com/portreeve/portreeve/lease"
)

// The whole way of what a host sends, from the bytes on the wire to the answers, with a real manager behind it. It makes
// no difference in how many pieces the bytes come.
func FuzzHandler(f *testing.F) {
	r := newRouter(f, lan())
	for _, file := range deviceFiles(f) {
		for _, e := range readDevice(f, file, "192.168.1.1", "192.168.1.1:49000", alice) {
			f.Add([]byte(e.request))
		}
	}
	exchange := igd.Exchanges(r.server, lan(), netip.MustParseAddr(alice))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if bytes.Contains(raw, []byte(http.MethodHead)) {
			return // the answer says how long its body would be, and there is none
		}
		atOnce := answers(t, exchange(bytes.NewReader(raw)))
		checkAndClose(t, r.manager)
		inPieces := answers(t, exchange(iotest.OneByteReader(bytes.NewReader(raw))))
		checkAndClose(t, r.manager)
		if !slices.Equal(atOnce, inPieces) {
			t.Errorf("at once the answers are %v, in pieces %v", atOnce, inPieces)
		}
	})
}

// answers checks what a host has got, and returns what it is.
func answers(t *testing.T, received []byte) (statuses []string) {
	t.Helper()
	got := bytes.NewReader(received)
	in := bufio.NewReader(got)
	for got.Len() > 0 || in.Buffered() > 0 {
		w, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatalf("answer %d: %v", len(statuses)+1, err)
		}
		text, err := io.ReadAll(w.Body)
		if err := errors.Join(err, w.Body.Close()); err != nil {
			t.Fatalf("answer %d: %v", len(statuses)+1, err)
		}
		switch w.StatusCode {
		case 100:
			continue
		case 200, 400, 403, 404, 405, 413, 414, 417, 431, 500, 501, 505:
		default:
			t.Errorf("status %d", w.StatusCode)
		}
		if w.ContentLength != int64(len(text)) {
			t.Errorf("content length %d for %d bytes", w.ContentLength, len(text))
		}
		statuses = append(statuses, readReply(t, w, string(text)).String())
	}
	return statuses
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
