package e2e_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/pcp"
	"github.com/portreeve/portreeve/test/lab"
)

// withGuests gives the router a second LAN, on which is a second interface of LAN2.
func withGuests(t *testing.T, home *lab.Home) (router, host netip.Addr) {
	t.Helper()
	home.Router.Run(t, "ip", "link", "add", "guest0", "type", "veth", "peer", "name", "eth9", "netns", home.LAN2.Namespace)
	home.Router.Run(t, "ip", "addr", "add", "192.168.9.1/24", "dev", "guest0")
	home.Router.Run(t, "ip", "-6", "addr", "add", "2001:db8:1:9::1/64", "dev", "guest0", "nodad")
	home.Router.Run(t, "ip", "link", "set", "guest0", "up")
	home.LAN2.Run(t, "ip", "addr", "add", "192.168.9.10/24", "dev", "eth9")
	home.LAN2.Run(t, "ip", "-6", "addr", "add", "2001:db8:1:9::10/64", "dev", "eth9", "nodad")
	home.LAN2.Run(t, "ip", "link", "set", "eth9", "up")
	return mustAddr("192.168.9.1"), mustAddr("192.168.9.10")
}

// announced waits for an announcement from an address of the router and returns it.
func announced[M pcp.Response](t *testing.T, c *lab.Capture, router netip.Addr, holds func(M) bool) M {
	t.Helper()
	group := mustAddr("224.0.0.1")
	if router.Is6() {
		group = mustAddr("ff02::1")
	}
	var found M
	c.Wait(fmt.Sprintf("%T from %s to %s", found, router, group), func(p lab.Packet) bool {
		if p.Src != at(router, pcp.Port) || p.Dst != at(group, pcp.ClientPort) {
			return false
		}
		response, err := pcp.ParseResponse(p.Payload)
		if err != nil {
			t.Fatalf("announced: % x: %v", p.Payload, err)
		}
		m, ok := response.(M)
		if ok && holds(m) {
			found = m
			return true
		}
		return false
	})
	return found
}

// aged waits until the epoch is old enough for a client to see that it begins anew.
func aged(t *testing.T, c *pcp.Client, epoch *pcp.Epoch) time.Duration {
	t.Helper()
	var age time.Duration
	lab.Eventually(t, within, "an epoch of some seconds", func() error {
		r, err := c.Announce(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !epoch.Kept(r.Epoch, time.Now()) {
			t.Fatalf("the epoch %s does not go on", r.Epoch)
		}
		if age = r.Epoch; age < 4*time.Second {
			return errorText("the epoch is " + age.String())
		}
		return nil
	})
	return age
}

// Promise 7, seen by clients: after a restart with its state the daemon goes on with its epoch, and a client that follows
// RFC 6887, section 8.5, stays calm. Without the state the epoch begins anew, this is announced on every LAN over both
// families, and the client makes its mappings again.
func TestPromise7EpochAfterRestart(t *testing.T) {
	t.Parallel()
	f := usual()
	home, state := f.home(t), t.TempDir()
	guestRouter, _ := withGuests(t, home)
	o := lab.DaemonOptions{StateDir: state, Args: []string{"--lan", "br-lan", "--lan", "guest0"}}
	d := f.start(t, home, o)
	clients := map[string]*pcp.Client{"IPv4": pcpClient4(t, home, home.LAN1), "IPv6": pcpClient6(t, home, home.LAN1)}
	epochs := map[string]*pcp.Epoch{"IPv4": {}, "IPv6": {}}
	request := mapRequest(lease.UDP, 5000, 5000)
	mustMap(t, clients["IPv4"], request)

	var before time.Duration
	for name, c := range clients {
		before = aged(t, c, epochs[name])
	}
	for _, end := range []func() error{d.Stop, func() error { d.Kill(); return nil }} {
		if err := end(); err != nil {
			t.Fatal(err)
		}
		d = f.start(t, home, o)
		for name, c := range clients {
			r, err := c.Announce(t.Context())
			if err != nil || r.Epoch < before || !epochs[name].Kept(r.Epoch, time.Now()) {
				t.Errorf("%s: the state was kept, and the epoch went from %s to %s (%v)", name, before, r.Epoch, err)
			}
		}
		if l := leases(t, d); len(l) != 1 {
			t.Errorf("kept: %+v", l)
		}
	}

	if err := d.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(state, "portreeve.db")); err != nil {
		t.Fatal(err)
	}
	lan, guests := home.LAN1.Capture(t), home.LAN2.Capture(t)
	d = f.start(t, home, o)
	fresh := func(m pcp.AnnounceResponse) bool { return m.Epoch < before }
	announced(t, lan, home.Router.Addr, func(m pcp.PMPAddressResponse) bool { return m.Addr == home.WAN && m.Epoch < before })
	for router, c := range map[netip.Addr]*lab.Capture{
		home.Router.Addr: lan, home.Router.Addr6: lan, home.Router.LinkLocal(t, "br-lan").WithZone(""): lan,
		guestRouter: guests, mustAddr("2001:db8:1:9::1"): guests,
	} {
		m := announced(t, c, router, fresh)
		if name := map[netip.Addr]string{home.Router.Addr: "IPv4", home.Router.Addr6: "IPv6"}[router]; name != "" && epochs[name].Kept(m.Epoch, time.Now()) {
			t.Errorf("%s: the client of %s believes that its mappings are still there", name, router)
		}
	}
	if l := leases(t, d); len(l) != 0 {
		t.Errorf("kept without a state: %+v", l)
	}
	mustMap(t, clients["IPv4"], request) // what the client does then
}

// Another address outside is announced on every LAN, also where UPnP is switched off: by NAT-PMP itself, by PCP as an epoch that begins anew, so that
// clients ask again and learn it.
func TestPCPAddressChangeIsAnnounced(t *testing.T) {
	t.Parallel()
	home := usual().home(t)
	guestRouter, _ := withGuests(t, home)
	usual().start(t, home, lab.DaemonOptions{Args: []string{"--lan", "br-lan", "--lan", "guest0"}, Config: "[igd]\nenable = false\n"})
	client, epoch := pcpClient4(t, home, home.LAN1), &pcp.Epoch{}
	request := mapRequest(lease.UDP, 5000, 5000)
	mustMap(t, client, request)
	before := aged(t, client, epoch)

	lan, guests := home.LAN1.Capture(t), home.LAN2.Capture(t)
	changed := mustAddr("81.2.69.77")
	home.Router.Run(t, "ip", "addr", "del", home.WAN.String()+"/24", "dev", "wan0")
	home.Router.Run(t, "ip", "addr", "add", changed.String()+"/24", "dev", "wan0")
	home.Router.Run(t, "ip", "route", "replace", "default", "via", home.Gateway.String(), "dev", "wan0")
	fresh := func(m pcp.AnnounceResponse) bool { return m.Epoch < before }
	for router, c := range map[netip.Addr]*lab.Capture{home.Router.Addr: lan, home.Router.Addr6: lan, guestRouter: guests} {
		m := announced(t, c, router, fresh)
		if router == home.Router.Addr && epoch.Kept(m.Epoch, time.Now()) {
			t.Error("the client believes that nothing has changed")
		}
	}
	for router, c := range map[netip.Addr]*lab.Capture{home.Router.Addr: lan, guestRouter: guests} {
		m := announced(t, c, router, func(m pcp.PMPAddressResponse) bool { return m.Addr == changed })
		if m.Epoch < before {
			t.Errorf("the epoch of NAT-PMP was %s and is %s: nothing was lost", before, m.Epoch)
		}
	}
	if r := mustMap(t, client, request); r.External != at(changed, 5000) {
		t.Errorf("renewed: %s, want the new address", r.External)
	}
	home.LAN1.Echo(t, "udp", at(home.LAN1.Addr, 5000).String())
	lab.Probe{Network: "udp", From: home.Internet, To: at(changed, 5000)}.MustReach(t)
}

// Another prefix on the LAN: the pinholes for the old one are closed, the epoch begins anew, which is announced from each
// address, the new address is served, the old one answers no more, IPv4 goes on.
func TestPCPFollowsThePrefix(t *testing.T) {
	t.Parallel()
	home, d := newHome(t, usual(), lab.DaemonOptions{})
	home.LAN1.Echo(t, "tcp", at(home.LAN1.Addr6, 5000).String())
	old, local, epoch := pcpClient6(t, home, home.LAN1), pcpClient(t, home.LAN1, home.LAN1.LinkLocal(t, "eth0"), gateway6(t, home, home.LAN1)), &pcp.Epoch{}
	mustMap(t, old, mapRequest(lease.TCP, 5000, 0))
	mustMap(t, pcpClient4(t, home, home.LAN1), mapRequest(lease.TCP, 5001, 5001))
	lab.Probe{Network: "tcp", From: home.Internet, To: at(home.LAN1.Addr6, 5000)}.MustReach(t)

	sockets := func() string {
		return home.Router.Run(t, "ss", "-lnuH", "sport = :5351", "and", "src", "["+home.Router.Addr6.String()+"]")
	}
	// A LAN that is without for a moment has lost nothing.
	before := aged(t, local, epoch)
	home.Router.Run(t, "ip", "-6", "addr", "del", home.Router.Addr6.String()+"/64", "dev", "br-lan")
	lab.Eventually(t, within, "the address is given up", func() error {
		if sockets := sockets(); sockets != "" {
			return errors.New(sockets)
		}
		return nil
	})
	home.Router.Run(t, "ip", "-6", "addr", "add", home.Router.Addr6.String()+"/64", "dev", "br-lan", "nodad")
	lab.Probe{Network: "tcp", From: home.Internet, To: at(home.LAN1.Addr6, 5000)}.MustReach(t)
	if m, err := local.Announce(t.Context()); err != nil || m.Epoch < before || !epoch.Kept(m.Epoch, time.Now()) {
		t.Errorf("the same prefix again: the epoch went from %s to %s (%v)", before, m.Epoch, err)
	}
	before = aged(t, local, epoch)
	capture := home.LAN1.Capture(t)
	router, host := mustAddr("2001:db8:1:2::1"), mustAddr("2001:db8:1:2::10")
	home.Router.Run(t, "ip", "-6", "addr", "del", home.Router.Addr6.String()+"/64", "dev", "br-lan")
	home.Router.Run(t, "ip", "-6", "addr", "add", router.String()+"/64", "dev", "br-lan", "nodad")
	home.LAN1.Run(t, "ip", "-6", "addr", "add", host.String()+"/64", "dev", "eth0", "nodad")
	home.Internet.Run(t, "ip", "-6", "route", "replace", "2001:db8:1:2::/64", "via", home.WAN6.String(), "dev", "eth0")
	fresh := func(m pcp.AnnounceResponse) bool { return m.Epoch < before }
	for _, from := range []netip.Addr{router, home.Router.LinkLocal(t, "br-lan").WithZone("")} {
		heard := *epoch
		if m := announced(t, capture, from, fresh); heard.Kept(m.Epoch, time.Now()) {
			t.Errorf("%s: the client believes that nothing has changed", from)
		}
	}
	d.WaitLog(t, "mapping closed", "another prefix")
	if all := leases(t, d); len(all) != 1 || all[0].ExternalPort != 5001 {
		t.Errorf("left: %+v, want the mapping of IPv4", all)
	}

	home.LAN1.Echo(t, "tcp", at(host, 5000).String())
	client := pcpClient(t, home.LAN1, host, router)
	request := mapRequest(lease.TCP, 5000, 0)
	mustMap(t, client, request)
	probe := lab.Probe{Network: "tcp", From: home.Internet, To: at(host, 5000)}
	probe.MustReach(t)
	// By the link-local address too, whose service has to know of the new subnet.
	mustMap(t, pcpClient(t, home.LAN1, host, gateway6(t, home, home.LAN1)), request)
	if _, err := pcpClient4(t, home, home.LAN1).Announce(t.Context()); err != nil {
		t.Error(err)
	}
	if left := sockets(); left != "" {
		t.Errorf("the old address has still a socket: %s", left)
	}
}

// A router that was off and comes back with its state and another address outside says so: PCP begins a new epoch, which goes
// on after the next restart.
func TestPCPAddressChangedWhileDown(t *testing.T) {
	t.Parallel()
	home, o := usual().home(t), lab.DaemonOptions{StateDir: t.TempDir()}
	d := usual().start(t, home, o)
	client, epoch := pcpClient4(t, home, home.LAN1), &pcp.Epoch{}
	before := aged(t, client, epoch)
	d.Kill()
	home.Router.Run(t, "ip", "addr", "del", home.WAN.String()+"/24", "dev", "wan0")
	home.Router.Run(t, "ip", "addr", "add", "81.2.69.77/24", "dev", "wan0")
	home.Router.Run(t, "ip", "route", "replace", "default", "via", home.Gateway.String(), "dev", "wan0")
	d = usual().start(t, home, o)
	r, err := client.Announce(t.Context())
	if err != nil || r.Epoch >= before || epoch.Kept(r.Epoch, time.Now()) {
		t.Fatalf("the address is another one, and the epoch went from %s to %s (%v)", before, r.Epoch, err)
	}
	before = aged(t, client, epoch)
	d.Kill()
	usual().start(t, home, o)
	if r, err := client.Announce(t.Context()); err != nil || r.Epoch < before || !epoch.Kept(r.Epoch, time.Now()) {
		t.Errorf("nothing has changed, and the epoch went from %s to %s (%v)", before, r.Epoch, err)
	}
}
