package web_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/lan"
	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/web"
)

func TestLeasesAreListedAsTheyAre(t *testing.T) {
	h := newHome(t, func(c *web.Config) {
		c.DeviceName = func(lease.Lease) string { return "Living\x00room\u202e box" }
	})
	opened := h.open(func(r *lease.Request) {
		r.Filters = []lease.Filter{{Prefix: netip.MustParsePrefix("198.51.100.9/32"), Port: 99}}
	})
	h.open(port(8080), func(r *lease.Request) {
		r.Permanent, r.Lifetime, r.Protocol = true, 0, lease.TCP
	})
	b := h.owner()
	list := decode[web.LeaseList](t, b.want(http.StatusOK, b.get("/api/v1/leases"))).Leases
	if len(list) != 2 {
		t.Fatalf("%d leases, want 2", len(list))
	}
	got := list[0]
	if got.RemainingSeconds < 3590 || got.RemainingSeconds > 3600 {
		t.Errorf("remaining_seconds = %d, want about 3600", got.RemainingSeconds)
	}
	got.RemainingSeconds, got.Created = 0, time.Time{}
	want := web.Lease{
		ID: opened.ID, Seq: opened.Seq, Protocol: "udp", ExternalPort: 3074, InternalAddress: console, InternalPort: 3074, PortCount: 1,
		RemoteHosts: []web.RemoteHost{{Prefix: netip.MustParsePrefix("198.51.100.9/32"), Port: 99}},
		Description: "Xbox (192.168.1.50:3074) 3074 UDP", Agent: "Xbox/2.0 UPnP/1.0", Via: lease.OriginUPnP, Client: console,
		Device: "00:50:f2:12:34:56", DeviceName: "Livingroom box",
		State: web.LeaseOpen,
	}
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); d != "" {
		t.Errorf("lease (-want +got):\n%s", d)
	}
	if !list[1].Permanent || list[1].Protocol != "tcp" {
		t.Errorf("second lease = %+v, want a permanent one of tcp", list[1])
	}
}

func TestLeaseDetailHasTraceAndHistory(t *testing.T) {
	h := newHome(t)
	l := h.open()
	h.open()
	h.open(port(4000))
	b := h.owner()
	detail := decode[web.LeaseDetail](t, b.want(http.StatusOK, b.get("/api/v1/leases/"+string(l.ID))))
	if detail.Lease.ID != l.ID || len(detail.Trace) == 0 || detail.Lease.Renewals != 1 {
		t.Errorf("detail = %+v, want the lease with its trace and one renewal", detail)
	}
	if len(detail.Events) != 2 || detail.Events[0].Kind != lease.EventRenewed || detail.Events[1].Kind != lease.EventOpened {
		t.Errorf("events = %+v, want renewed, opened", detail.Events)
	}
	b.refused(web.CodeNoLease, b.get("/api/v1/leases/zzzzzzzz"))
	b.refused(web.CodeNotFound, b.get("/api/v1/leases/..%2f..%2fetc"))
}

func TestOwnerClosesALease(t *testing.T) {
	h := newHome(t)
	l := h.open()
	other := h.open(port(4000))
	b := h.owner()
	closed := decode[web.Lease](t, b.want(http.StatusOK, b.delete("/api/v1/leases/"+string(l.ID))))
	if closed.ID != l.ID {
		t.Errorf("closed %s, want %s", closed.ID, l.ID)
	}
	b.refused(web.CodeNoLease, b.delete("/api/v1/leases/"+string(l.ID)))
	if all := h.manager.Snapshot().Leases; len(all) != 1 || all[0].ID != other.ID {
		t.Errorf("left are %v, want only %v", all, other)
	}
	newest := decode[web.History](t, b.get("/api/v1/history?limit=1")).Events[0]
	if newest.Kind != lease.EventClosed || newest.By != lease.OriginWeb {
		t.Errorf("newest event = %+v, want closed by web", newest)
	}
}

func TestALeaseThatCannotBeClosedStaysAndSaysWhy(t *testing.T) {
	h := newHome(t)
	l := h.open()
	b := h.owner()
	h.firewall.SetFail(func(string) error { return errors.New("iptables: Resource temporarily unavailable") })
	p := b.problem(web.CodeUnavailable, b.delete("/api/v1/leases/"+string(l.ID)))
	if !strings.Contains(p.Detail, "iptables") || p.RetryAfter == 0 {
		t.Errorf("problem = %+v, want the reason and when to try again", p)
	}
	list := decode[web.LeaseList](t, b.get("/api/v1/leases")).Leases
	if len(list) != 1 || !strings.Contains(list[0].Stuck, "iptables") {
		t.Errorf("leases = %+v, want the stuck one", list)
	}
	status := decode[web.Status](t, b.get("/api/v1/status"))
	if status.Verdict != web.VerdictTrouble || len(status.Problems) != 1 || status.Problems[0].Source != "firewall" {
		t.Errorf("status = %+v, want trouble with the firewall", status)
	}
	page := string(b.want(http.StatusOK, b.get("/")).body)
	if !strings.Contains(page, "iptables: Resource temporarily unavailable") {
		t.Error("the page does not say why the lease is stuck")
	}
}

func TestCloseByFormShowsWhyItFailed(t *testing.T) {
	h := newHome(t)
	l := h.open()
	b := h.owner()
	h.firewall.SetFail(func(string) error { return errDisk })
	a := b.want(http.StatusServiceUnavailable, b.form("/leases/"+string(l.ID)+"/close", ""))
	if !strings.Contains(string(a.body), errDisk.Error()) {
		t.Errorf("the page does not say why:\n%s", a.body)
	}
}

func TestHistoryIsPaged(t *testing.T) {
	h := newHome(t)
	for n := range uint16(5) {
		h.open(port(5000 + n))
	}
	b := h.owner()
	var ports []uint16
	for path := "/api/v1/history?limit=2"; path != ""; {
		page := decode[web.History](t, b.want(http.StatusOK, b.get(path)))
		for _, e := range page.Events {
			ports = append(ports, e.Mapping.ExternalPort)
		}
		path = ""
		if page.Next != 0 {
			path = fmt.Sprintf("/api/v1/history?limit=2&before=%d", page.Next)
		}
	}
	if d := cmp.Diff([]uint16{5004, 5003, 5002, 5001, 5000}, ports); d != "" {
		t.Errorf("ports of all pages (-want +got):\n%s", d)
	}
	for _, query := range []string{"limit=0", "limit=1001", "limit=x", "before=-1", "before=0"} {
		b.refused(web.CodeInvalid, b.get("/api/v1/history?"+query))
	}
}

func TestVerdict(t *testing.T) {
	wan := func(state web.WANState) func(*web.Facts) {
		return func(f *web.Facts) { f.WANs = []web.WANFacts{{Name: "wan", State: state}} }
	}
	tests := []struct {
		name  string
		facts func(*web.Facts)
		want  web.Verdict
	}{
		{"public address", func(*web.Facts) {}, web.VerdictReady},
		{"private address", wan(web.WANPrivate), web.VerdictDoubleNAT},
		{"shared address", wan(web.WANShared), web.VerdictSharedAddress},
		{"no address", wan(web.WANNoAddress), web.VerdictNoAddress},
		{"link down", wan(web.WANDown), web.VerdictNoWAN},
		{"no WAN", func(f *web.Facts) { f.WANs = nil }, web.VerdictNoWAN},
		{"no LAN", func(f *web.Facts) { f.LANs = nil }, web.VerdictNoLAN},
		{"one of two is public", func(f *web.Facts) {
			f.WANs = []web.WANFacts{{Name: "a", State: web.WANDown}, {Name: "b", State: web.WANPublic}}
		}, web.VerdictReady},
	}
	h := newHome(t)
	b := h.owner()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h.mu.Lock()
			before := h.facts
			h.mu.Unlock()
			defer h.setFacts(func(f *web.Facts) { *f = before })
			h.setFacts(tt.facts)
			if got := decode[web.Status](t, b.get("/api/v1/status")).Verdict; got != tt.want {
				t.Errorf("verdict = %s, want %s", got, tt.want)
			}
			b.want(http.StatusOK, b.get("/"))
		})
	}
}

func TestCommandLineUsesTheSocket(t *testing.T) {
	h := newHome(t)
	l := h.open()
	c := h.cli()
	if got := decode[web.Status](t, c.want(http.StatusOK, c.get("/api/v1/status"))); got.Leases != 1 || got.Version != "1.0.0-test" {
		t.Errorf("status = %+v, want one lease and the version", got)
	}
	if got := decode[web.LeaseList](t, c.get("/api/v1/leases")).Leases; len(got) != 1 || got[0].ID != l.ID {
		t.Errorf("leases = %+v, want %s", got, l.ID)
	}
	c.want(http.StatusOK, c.get("/api/v1/leases/"+string(l.ID)))
	c.want(http.StatusOK, c.delete("/api/v1/leases/"+string(l.ID)))
	if got := decode[web.History](t, c.get("/api/v1/history")).Events[0]; got.By != lease.OriginCLI {
		t.Errorf("closed by %s, want cli", got.By)
	}
	// What is for browsers is not here.
	c.refused(web.CodeNotFound, c.get("/api/v1/session"))
	c.refused(web.CodeMethod, c.send(http.MethodPut, "/api/v1/leases", nil))
}

// The kernel is asked of the connection beneath a limited one; and a listener that is no Unix socket opens nothing.
func TestWhoeverServesTheSocketTheKernelIsAsked(t *testing.T) {
	h := newHome(t)
	limiter := lan.NewLimiter(lan.Limits{Name: "test", Total: 9, PerHost: 9}, slog.New(slog.DiscardHandler))
	h.socket = filepath.Join(t.TempDir(), "limited.sock")
	for _, tt := range []struct{ network, addr string }{{"unix", h.socket}, {"tcp", "127.0.0.1:0"}} {
		ln, err := net.Listen(tt.network, tt.addr)
		must(t, err)
		h.url = "http://" + ln.Addr().String()
		h.run(tt.network, func(ctx context.Context) error { return h.server.ServeLocal(ctx, limiter.Limit(ln)) })
	}
	c, b := h.cli(), h.browser()
	c.want(http.StatusOK, c.get("/api/v1/status"))
	b.refused(web.CodeNotOwner, b.get("/api/v1/status"))
}

func TestSocketIsForRootAndTheDaemonOnly(t *testing.T) {
	h := newHome(t)
	tests := []struct {
		name string
		uid  uint32
		want int
	}{
		{"root", 0, http.StatusOK},
		{"the daemon's own user", uint32(os.Geteuid()), http.StatusOK},
		{"somebody else", 4711, http.StatusForbidden},
		{"a user of another namespace", 65534, http.StatusForbidden},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			web.LocalAs(h.server, tt.uid).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/api/v1/setup-code", nil))
			if w.Code != tt.want {
				t.Errorf("status %d, want %d: %s", w.Code, tt.want, w.Body)
			}
		})
	}
}

func TestSetupCodeIsNotToBeHadOnTheLAN(t *testing.T) {
	h := newHome(t)
	b := h.browser()
	b.refused(web.CodeNotFound, b.get("/api/v1/setup-code"))
	b.refused(web.CodeNotFound, b.post("/api/v1/setup-code", struct{}{}))
}
