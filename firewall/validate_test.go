package firewall_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
)

func TestValidateTopology(t *testing.T) {
	if err := firewall.ValidateTopology(home()); err != nil {
		t.Errorf("a home: %v", err)
	}
	if err := firewall.ValidateTopology(lease.Topology{}); err != nil {
		t.Errorf("nothing: %v", err)
	}
	for _, name := range []string{"eth0.10", "br-lan", "pppoe_wan", "WAN", "fifteencharacte"} {
		if err := firewall.ValidateTopology(lease.Topology{WANs: []lease.WAN{{Name: name}}}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for what, bad := range map[string]lease.Topology{
		`""`:                    {WANs: []lease.WAN{{}}},
		`"wan+"`:                {WANs: []lease.WAN{{Name: "wan+"}}},
		`"-i"`:                  {LANs: []lease.LAN{{Name: "-i"}}},
		`"sixteencharacter"`:    {LANs: []lease.LAN{{Name: "sixteencharacter"}}},
		`"lan 0"`:               {LANs: []lease.LAN{{Name: "lan 0"}}},
		"fe80::1%wan0 is":       {WANs: []lease.WAN{{Name: "wan0", Addrs: []netip.Addr{netip.MustParseAddr("fe80::1%wan0")}}}},
		"::ffff:10.0.0.1/104":   {LANs: []lease.LAN{{Name: "lan0", Prefixes: []netip.Prefix{netip.PrefixFrom(netip.MustParseAddr("::ffff:10.0.0.1"), 104)}}}},
		"invalid Prefix is nei": {LANs: []lease.LAN{{Name: "lan0", Prefixes: []netip.Prefix{{}}}}},
	} {
		if err := firewall.ValidateTopology(bad); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("error %v, want one that says %s", err, what)
		}
	}
}

func TestValidateLease(t *testing.T) {
	if err := firewall.ValidateLease(console()); err != nil {
		t.Errorf("a console: %v", err)
	}
	for what, change := range map[string]func(*lease.Lease){
		"the ID":           func(l *lease.Lease) { l.ID = "a\" b" },
		"has no ports":     func(l *lease.Lease) { l.Protocol = 47 },
		"ports must":       func(l *lease.Lease) { l.External = netip.AddrPort{} },
		"all ports has":    func(l *lease.Lease) { l.Internal = netip.AddrPortFrom(l.Internal.Addr(), 0) },
		"internal address": func(l *lease.Lease) { l.Internal = netip.MustParseAddrPort("[ff02::1]:1") },
		"address must be":  func(l *lease.Lease) { l.Internal = netip.MustParseAddrPort("224.0.0.1:1") },
		"that of a host":   func(l *lease.Lease) { l.Internal = netip.MustParseAddrPort("255.255.255.255:1") },
		"must be that of":  func(l *lease.Lease) { l.Internal = netip.MustParseAddrPort("127.0.0.1:1") },
		"the same outside": func(l *lease.Lease) { l.Internal = netip.MustParseAddrPort("[2001:db8::1]:1") },
		"address there or": func(l *lease.Lease) { l.External = netip.MustParseAddrPort("[2001:db8::1]:1") },
		"all has no ports": func(l *lease.Lease) { l.Protocol = lease.AllProtocols },
		"one protocol is": func(l *lease.Lease) {
			l.External, l.Internal = netip.AddrPort{}, netip.AddrPortFrom(l.Internal.Addr(), 0)
		},
		"exceptions are": func(l *lease.Lease) { l.Except = lease.PortSet{{First: 1, Last: 2}} },
		"to 65535":       func(l *lease.Lease) { l.External, l.Ports = netip.AddrPortFrom(netip.Addr{}, 65535), 2 },
		"1025 ports": func(l *lease.Lease) {
			l.Ports, l.Internal = lease.MaxPorts+1, netip.MustParseAddrPort("192.168.1.10:1")
		},
		`"wan 1" cannot`: func(l *lease.Lease) { l.WAN = "wan 1" },
		"17 filters":     func(l *lease.Lease) { l.Filters = make([]lease.Filter, lease.MaxFilters+1) },
		"::/0 is not":    func(l *lease.Lease) { l.Filters = []lease.Filter{{Prefix: netip.MustParsePrefix("::/0")}} },
	} {
		bad := console()
		change(&bad)
		if err := firewall.ValidateLease(bad); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("error %v, want one that says %q", err, what)
		}
	}
}
