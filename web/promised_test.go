package web_test

import (
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/web"
)

// Each kind of event that a life with troubles has is in the history.
func TestHistoryOfATroubledLife(t *testing.T) {
	disturbed := make(chan struct{}, 1)
	h := newHomeWith(t, func(c *lease.Config) { c.Disturbed = disturbed })
	b := h.owner()
	kinds := func(wanted ...lease.EventKind) func() bool {
		return func() bool {
			var got []lease.EventKind
			for _, e := range decode[web.History](t, b.want(http.StatusOK, b.get("/api/v1/history?limit=100"))).Events {
				got = append(got, e.Kind)
			}
			return !slices.ContainsFunc(wanted, func(k lease.EventKind) bool { return !slices.Contains(got, k) })
		}
	}
	h.open()
	h.open()
	h.open(func(r *lease.Request) { r.Internal = netip.AddrPortFrom(console, 4000) })
	if _, err := h.manager.Open(t.Context(), lease.Request{
		Mapping: lease.Mapping{Protocol: lease.UDP, External: netip.AddrPortFrom(netip.Addr{}, 22), Internal: netip.AddrPortFrom(console, 22)},
		Origin:  lease.OriginUPnP, Client: console, Permanent: true,
	}); err == nil {
		t.Error("port 22 was opened")
	}
	eventually(t, "the events of leases", kinds(lease.EventOpened, lease.EventRenewed, lease.EventChanged, lease.EventDenied))

	h.firewall.Forget()
	disturbed <- struct{}{}
	eventually(t, "the rules are repaired", kinds(lease.EventRepaired))

	h.firewall.SetFail(func(op string) error {
		if strings.HasPrefix(op, "s") || strings.HasPrefix(op, "apply") {
			return errors.New("no kernel today")
		}
		return nil
	})
	if _, err := h.manager.Open(t.Context(), lease.Request{
		Mapping: lease.Mapping{Protocol: lease.UDP, External: netip.AddrPortFrom(netip.Addr{}, 5000), Internal: netip.AddrPortFrom(console, 5000)},
		Origin:  lease.OriginUPnP, Client: console, Permanent: true,
	}); !errors.Is(err, lease.ErrUnavailable) {
		t.Errorf("without a kernel: %v", err)
	}
	eventually(t, "the trouble", kinds(lease.EventTrouble))
	h.firewall.SetFail(nil)
}

// Must change nothing, and tell what would be.
func TestTriedOnly(t *testing.T) {
	h := newHomeWith(t, func(c *lease.Config) { c.Policy.Pool = []netip.Addr{netip.MustParseAddr("203.0.113.20")} })
	b := h.owner()
	l := decode[web.Lease](t, b.want(http.StatusOK, b.json(http.MethodPost, "/api/v1/addresses?dry_run=true", `{"to":"192.168.1.50"}`)))
	if l.ExternalAddress != netip.MustParseAddr("203.0.113.20") {
		t.Errorf("the lease would be %+v", l)
	}
	if n := len(h.manager.Snapshot().Leases); n != 0 {
		t.Errorf("there are %d leases, want none", n)
	}
	token := decode[web.NewToken](t, b.want(http.StatusOK, b.json(http.MethodPost, "/api/v1/tokens?dry_run=true", `{"name":"program"}`)))
	if token.Secret != "" || token.Token.Name != "program" {
		t.Errorf("the token would be %+v", token)
	}
	if u := decode[web.User](t, b.want(http.StatusOK, b.get("/api/v1/users/admin"))); u.Name != "admin" || u.Role != web.RoleAdmin {
		t.Errorf("the account is %+v", u)
	}
}

// Must be told to come again, because passwords are hashed one at a time.
func TestManyPasswordsAtOnce(t *testing.T) {
	h := newHome(t)
	h.owner()
	cli := h.cli()
	eventually(t, "somebody is told to come again", func() bool {
		var all sync.WaitGroup
		busy := make(chan bool, 32)
		for range cap(busy) {
			all.Go(func() {
				a := cli.json(http.MethodPut, "/api/v1/users/admin", web.UserSettings{Role: web.RoleAdmin, Password: password})
				busy <- a.StatusCode == http.StatusServiceUnavailable && a.Header.Get("Retry-After") != ""
			})
		}
		all.Wait()
		close(busy)
		for one := range busy {
			if one {
				return true
			}
		}
		return false
	})
}

// A daemon that ends says so, as long as it can.
func TestAskedWhileItEnds(t *testing.T) {
	h := newHome(t)
	l := h.open()
	b := h.owner()
	h.stopCore()
	b.problem(web.CodeStopping, b.delete("/api/v1/leases/"+string(l.ID)))
}
