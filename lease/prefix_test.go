package lease

import (
	"net/netip"
	"strings"
	"testing"
)

// Pinholes end with the prefix, and not because a LAN or a line is down for a moment.
func TestPinholesEndWithTheirPrefix(t *testing.T) {
	lan := func(name string, prefixes ...string) LAN {
		l := LAN{Name: name, Prefixes: []netip.Prefix{netip.MustParsePrefix("192.168.1.1/24"), netip.MustParsePrefix("fd00::1/64")}}
		for _, p := range prefixes {
			l.Prefixes = append(l.Prefixes, netip.MustParsePrefix(p))
		}
		return l
	}
	home := func(lans ...LAN) Topology { return Topology{LANs: lans} }
	const old, other, guests = "2001:db8:1:1::1/64", "2001:db8:2:1::1/64", "2001:db8:1:2::1/64"
	for _, tt := range []struct {
		name        string
		before, now Topology
		gone        bool
	}{
		{"nothing has changed", home(lan("br", old)), home(lan("br", old)), false},
		{"another one beside it", home(lan("br", old)), home(lan("br", old, other)), false},
		{"another one", home(lan("br", old)), home(lan("br", other)), true},
		{"none", home(lan("br", old)), home(lan("br")), false},
		{"another one after none", home(lan("br")), home(lan("br", other)), true},
		{"no LAN", home(lan("br", old)), home(), false},
		{"another one since the start", home(), home(lan("br", other)), true},
		{"the LAN is not there yet", home(), home(lan("guests", guests), lan("br")), false},
		{"the LAN is gone, another has its own", home(lan("guests", guests), lan("br", old)), home(lan("guests", guests), lan("br")), false},
		{"the other LAN has another one", home(lan("guests", guests), lan("br", old)), home(lan("guests", other), lan("br", old)), false},
		{"this LAN has another one, the other has none", home(lan("guests"), lan("br", old)), home(lan("guests"), lan("br", other)), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			base := newTable()
			add := func(id, internal string, rule ID) {
				addr := netip.MustParseAddrPort(internal)
				m := Mapping{Protocol: TCP, Internal: addr, External: netip.AddrPortFrom(netip.Addr{}, addr.Port())}
				if m.Pinhole() {
					m.External = addr
				}
				base.put(&Lease{ID: ID(id), Mapping: m, Rule: rule})
			}
			add("pinhole", "[2001:db8:1:1::10]:80", "")
			add("owners", "[2001:db8:1:1::10]:81", "rule")
			add("ipv4", "10.0.0.1:80", "")
			tx := newTx(base)
			tx.closeLeft(tt.before, tt.now)
			if gone := tx.get("pinhole") == nil; gone != tt.gone {
				t.Errorf("closed: %v, want %v", gone, tt.gone)
			}
			if tx.get("owners") == nil || tx.get("ipv4") == nil {
				t.Error("something else is closed")
			}
			if tt.gone && (len(tx.events) != 1 || !strings.Contains(tx.events[0].Reason, "another prefix")) {
				t.Errorf("events: %+v", tx.events)
			}
		})
	}
}
