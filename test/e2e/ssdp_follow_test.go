package e2e_test

import (
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/portreeve/portreeve/test/lab"
)

// toldOf tells whether a captured packet is an announcement of that kind (NTS) with that LOCATION.
func toldOf(nts, location string) func(lab.Packet) bool {
	return func(p lab.Packet) bool {
		m := parseMessage(p.Payload, p.Src)
		return p.Network == "udp" && p.Dst.Port() == 1900 && m.fields["NTS"] == nts && m.fields["LOCATION"] == location
	}
}

// The network under a running daemon changes: the LAN's bridge is made anew, the LAN gets other addresses, a second LAN comes
// and goes. Each time hosts find the gateway where it is now, without a restart, and are told of it unasked.
func TestDiscoveryFollowsTheNetwork(t *testing.T) {
	t.Parallel()
	home, d := newHome(t, usual(), lab.DaemonOptions{})
	lan1 := home.LAN1.Addr
	first := mustFind(t, home.LAN1, lan1, ssdpGroup(), igd1, "http://192.168.1.1:49000/rootDesc.xml")
	heard := home.LAN1.Capture(t)

	home.Router.Run(t, "ip", "link", "del", "br-lan")
	home.Router.Run(t, "ip", "link", "add", "br-lan", "address", "02:00:00:00:00:01", "type", "bridge")
	home.Router.Run(t, "ip", "addr", "add", "192.168.1.1/24", "dev", "br-lan")
	home.Router.Run(t, "ip", "link", "set", "br-lan", "up")
	for _, port := range []string{"lan1", "lan2"} {
		home.Router.Run(t, "ip", "link", "set", port, "master", "br-lan", "up")
	}
	again := mustFind(t, home.LAN1, lan1, ssdpGroup(), igd1, "http://192.168.1.1:49000/rootDesc.xml")
	if bootID(t, again) <= bootID(t, first) {
		t.Errorf("boot ID %d after %d", bootID(t, again), bootID(t, first))
	}
	heard.Wait("an announcement on the new bridge", toldOf("ssdp:alive", "http://192.168.1.1:49000/rootDesc.xml"))
	mustSOAP(t, home.LAN1, wanIP1, "GetStatusInfo", nil)

	home.LAN1.Run(t, "ip", "addr", "add", "192.168.7.10/24", "dev", "eth0")
	home.Router.Run(t, "ip", "addr", "add", "192.168.7.1/24", "dev", "br-lan")
	home.Router.Run(t, "ip", "addr", "del", "192.168.1.1/24", "dev", "br-lan")
	renumbered := netip.MustParseAddr("192.168.7.10")
	mustFind(t, home.LAN1, renumbered, ssdpGroup(), igd1, "http://192.168.7.1:49000/rootDesc.xml")
	heard.Wait("an announcement of the new address", toldOf("ssdp:alive", "http://192.168.7.1:49000/rootDesc.xml"))
	if code, _, err := call(t.Context(), home.LAN1, "192.168.7.1", wanIP1, "GetStatusInfo", nil); code != 0 || err != nil {
		t.Errorf("the new address: %d, %v", code, err)
	}
	before := mustFind(t, home.LAN1, renumbered, ssdpGroup(), igd1, "http://192.168.7.1:49000/rootDesc.xml")

	addGuests(t, home)
	guest := netip.MustParseAddr("192.168.9.10")
	home.LAN2.Run(t, "ip", "route", "replace", "239.255.255.250/32", "dev", "eth1")
	mustFind(t, home.LAN2, guest, ssdpGroup(), igd1, "http://192.168.9.1:49000/rootDesc.xml")
	update := heard.Wait("that the boot ID changes", toldOf("ssdp:update", "http://192.168.7.1:49000/rootDesc.xml"))
	told := parseMessage(update.Payload, update.Src)
	after := mustFind(t, home.LAN1, renumbered, ssdpGroup(), igd1, "http://192.168.7.1:49000/rootDesc.xml")
	if bootID(t, told) > bootID(t, before) || told.fields["NEXTBOOTID.UPNP.ORG"] > after.fields["BOOTID.UPNP.ORG"] || bootID(t, after) <= bootID(t, before) {
		t.Errorf("boot IDs: %d, then told %v, then %d", bootID(t, before), told.fields, bootID(t, after))
	}

	home.Router.Run(t, "ip", "link", "del", "guest0")
	mustFind(t, home.LAN1, renumbered, ssdpGroup(), igd1, "http://192.168.7.1:49000/rootDesc.xml")
	select {
	case <-d.Exited():
		t.Error("the daemon has ended")
	default:
	}
}

// addGuests gives the router a second LAN, 192.168.9.1/24, on which LAN2 is 192.168.9.10.
func addGuests(t *testing.T, home *lab.Home) {
	t.Helper()
	home.Router.Run(t, "ip", "link", "add", "guest0", "type", "veth", "peer", "name", "eth1", "netns", home.LAN2.Namespace)
	home.LAN2.Run(t, "ip", "addr", "add", "192.168.9.10/24", "dev", "eth1")
	home.LAN2.Run(t, "ip", "link", "set", "eth1", "up")
	home.Router.Run(t, "ip", "addr", "add", "192.168.9.1/24", "dev", "guest0")
	home.Router.Run(t, "ip", "link", "set", "guest0", "up")
}

func bootID(t *testing.T, m message) int {
	t.Helper()
	n, err := strconv.Atoi(m.fields["BOOTID.UPNP.ORG"])
	if err != nil {
		t.Fatalf("boot ID: %v in %v", err, m.fields)
	}
	return n
}

// A LAN that is not served hears and gets nothing, by no protocol and family, while the other one is served.
func TestGuestsAreNotServed(t *testing.T) {
	t.Parallel()
	home, _ := newHome(t, usual(), lab.DaemonOptions{Config: "[lan]\ninterfaces = [\"br-lan\"]\n"})
	heard := home.LAN2.Capture(t)
	addGuests(t, home)
	home.LAN2.Run(t, "ip", "route", "replace", "239.255.255.250/32", "dev", "eth1")
	guest := netip.MustParseAddr("192.168.9.10")
	guest6 := home.LAN2.LinkLocal(t, "eth1")
	router6 := home.Router.LinkLocal(t, "guest0")
	mustFind(t, home.LAN1, home.LAN1.Addr, ssdpGroup(), igd1, "http://192.168.1.1:49000/rootDesc.xml")
	for _, way := range []struct {
		from netip.Addr
		to   netip.AddrPort
	}{
		{guest, ssdpGroup()},
		{guest, netip.MustParseAddrPort("192.168.9.1:1900")},
		{guest, netip.MustParseAddrPort("192.168.1.1:1900")},
		{guest6, netip.AddrPortFrom(zoned(netip.MustParseAddr("ff02::c"), guest6), 1900)},
		{guest6, netip.AddrPortFrom(zoned(router6, guest6), 1900)},
	} {
		answers, err := ssdpSearch(t, home.LAN2, way.from, way.to, "ssdp:all")
		if len(answers) != 0 && err == nil {
			t.Errorf("a search from %s to %s is answered: %v", way.from, way.to, answers)
		}
	}
	for _, addr := range []string{"192.168.9.1:49000", netip.AddrPortFrom(zoned(router6, guest6), 49000).String()} {
		if conn, err := home.LAN2.Dial(t.Context(), "tcp", addr); err == nil {
			conn.Close()
			t.Errorf("a guest can connect to %s", addr)
		}
	}
	said := heard.Packets(func(p lab.Packet) bool {
		return p.Dst.Port() == 1900 && strings.HasPrefix(string(p.Payload), "NOTIFY") && strings.Contains(string(p.Payload), "192.168.9.1")
	})
	if len(said) != 0 {
		t.Errorf("guests are told: %s", said[0].Payload)
	}
}

// What a host of the LAN finds and does over IPv6, with each kind of address.
func TestDiscoveryOverIPv6(t *testing.T) {
	t.Parallel()
	home, _ := newHome(t, usual(), lab.DaemonOptions{})
	home.Router.Run(t, "ip", "addr", "add", "fd00:1::1/64", "dev", "br-lan", "nodad")
	home.LAN1.Run(t, "ip", "addr", "add", "fd00:1::10/64", "dev", "eth0", "nodad")
	host := home.LAN1.LinkLocal(t, "eth0")
	router := home.Router.LinkLocal(t, "br-lan").WithZone("")
	link := netip.AddrPortFrom(netip.MustParseAddr("ff02::c").WithZone(host.Zone()), 1900)
	site := netip.AddrPortFrom(netip.MustParseAddr("ff05::c").WithZone(host.Zone()), 1900)
	for _, tt := range []struct {
		from   netip.Addr
		to     netip.AddrPort
		router netip.Addr
	}{
		{host, link, router},
		{home.LAN1.Addr6, site, home.Router.Addr6},
		{netip.MustParseAddr("fd00:1::10"), site, netip.MustParseAddr("fd00:1::1")},
		{home.LAN1.Addr6, netip.AddrPortFrom(home.Router.Addr6, 1900), home.Router.Addr6},
	} {
		location := "http://" + netip.AddrPortFrom(tt.router, 49000).String() + "/rootDesc2.xml"
		found := mustFind(t, home.LAN1, tt.from, tt.to, igd2, location)
		if found.from != netip.AddrPortFrom(tt.router, 1900) {
			t.Errorf("answered from %s, want %s", found.from, tt.router)
		}
	}
	// The WAN side is as silent as over IPv4.
	for _, to := range []netip.Addr{home.WAN6, home.Router.Addr6} {
		if answers, err := ssdpSearch(t, home.Internet, home.Gateway6, netip.AddrPortFrom(to, 1900), "ssdp:all"); len(answers) != 0 {
			t.Errorf("the internet finds us at %s: %v, %v", to, answers, err)
		}
		ctx, cancel := contextWithin(t, time.Second)
		if conn, err := home.Internet.Dial(ctx, "tcp", netip.AddrPortFrom(to, 49000).String()); err == nil {
			conn.Close()
			t.Errorf("the internet can connect to %s", to)
		}
		cancel()
	}
}
