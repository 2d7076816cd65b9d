package nftables_test

import (
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/test/lab"
)

// What goes through leases is counted for the right one and in the right direction: what came in, what the host has begun
// with the mapped port, and what goes through a pinhole.
func TestMeter(t *testing.T) {
	r := newRouter(t, lab.Options{})
	if err := r.Router.Sysctl("net/netfilter/nf_conntrack_acct", "1"); err != nil {
		t.Fatal(err)
	}
	r.LAN1.Echo(t, "udp", "192.168.1.10:80")
	r.LAN1.Echo(t, "udp", "[::]:81")
	outside := r.Internet.Echo(t, "udp", "93.184.216.34:0")
	in, out, idle, hole := udp(8080, "192.168.1.10:80"), udp(9001, "192.168.1.10:9001"), udp(9002, "192.168.1.10:9002"), pinhole(netip.AddrPortFrom(r.LAN1.Addr6, 81).String())
	hole.Protocol = lease.UDP
	all := []lease.Lease{in, out, idle, hole}
	r.sync(t, all...)
	now := time.Unix(5000, 0)
	meter := firewall.NewMeter(firewall.MeterConfig{
		Leases: func() ([]lease.Lease, <-chan struct{}) { return all, nil },
		Now:    func() time.Time { return now }, Log: slog.New(slog.DiscardHandler),
	})
	look := func() {
		t.Helper()
		now = now.Add(time.Minute)
		r.do(t, meter.Look)
	}
	look()
	lab.Probe{Network: "udp", From: r.Internet, To: netip.AddrPortFrom(r.WAN, 8080)}.MustReach(t)
	lab.Probe{Network: "udp", From: r.LAN1, Local: netip.MustParseAddrPort("192.168.1.10:9001"), To: outside.Addr}.MustReach(t)
	lab.Probe{Network: "udp", From: r.Internet, To: hole.Internal}.MustReach(t)
	look()
	if !meter.Counted() {
		t.Error("the kernel does not count")
	}
	for _, tt := range []struct {
		name  string
		lease lease.Lease
		used  bool
	}{{"from outside", in, true}, {"from inside", out, true}, {"pinhole", hole, true}, {"idle", idle, false}} {
		u, ok := meter.Use(tt.lease.ID)
		minutes := meter.Minutes(tt.lease.ID)
		switch {
		case !ok || u.Active != tt.used:
			t.Errorf("%s: %+v, %t, want active %t", tt.name, u, ok, tt.used)
		case !tt.used:
			if u != (firewall.Use{}) || minutes != nil {
				t.Errorf("%s: %+v, minutes %v", tt.name, u, minutes)
			}
		case u.Connections != 1 || u.In.Packets == 0 || u.In.Bytes < 28*u.In.Packets || u.Out.Packets == 0 || !u.Last.Equal(now):
			t.Errorf("%s: %+v", tt.name, u)
		case len(minutes) != 2 || minutes[0] != (firewall.Minute{}) || minutes[1] != (firewall.Minute{In: u.In.Bytes, Out: u.Out.Bytes, Connections: 1}):
			t.Errorf("%s: minutes %v, want the second one of %+v", tt.name, minutes, u)
		}
	}
	before, _ := meter.Use(in.ID)
	look()
	if u, _ := meter.Use(in.ID); u.Active || u.In != before.In || !u.Last.Equal(before.Last) {
		t.Errorf("a minute later %+v, want what was before, and idle", u)
	}
}
