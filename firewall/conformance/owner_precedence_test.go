package conformance

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/test/lab"
)

// claim is one who wants a port.
type claim struct {
	name  string
	lease *lease.Lease // nil: the router itself, which has it reserved
	gets  string       // who is reached by the WAN's address if it wins; empty: it is not about that address
	own   string       // who is reached by the other public address
}

// Of every two who want one port, one gets it: by the WAN's address, and by another public one. The router's own services
// come before the DMZ host only: a forward to a port of the router's is the owner's word (see [lease.Rule.FromRouter]), and
// two forwards or leases of one port do not come that far, so the state is refused.
func TestPrecedence(t *testing.T) {
	inOwners(t, lab.Options{}, func(t *testing.T, s subject, home *lab.Home) {
		hold(t, home, "wan0", public5())
		for _, network := range both() {
			t.Run(network, func(t *testing.T) {
				proto, _ := lease.ParseProtocol(network)
				machines := serve(t, home, network, 80)
				one := func(l lease.Lease) *lease.Lease { return &l }
				// In order: who stands first wins.
				claims := []claim{
					{"forward of the address", one(onPublic(mapping(t, network+" 80 192.168.1.10:80"), public5())), "", "lan1"},
					{"1:1", one(whole("own", public5().String(), "192.168.1.11")), "", "lan2"},
					{"lease", one(mapping(t, network+" 80 192.168.1.10:80")), "lan1", "lan1"},
					{"many ports", one(by(mapping(t, network+" 1-2000 192.168.1.11:1"), func(l *lease.Lease) { l.ID = "many" })), "lan2", "lan2"},
					{"own service", nil, "router", "router"},
					{"DMZ", one(whole("dmz", "", "192.168.1.11")), "lan2", "lan2"},
				}
				for i, first := range claims {
					for _, second := range claims[i+1:] {
						t.Run(fmt.Sprintf("%s, %s", first.name, second.name), func(t *testing.T) {
							pairGoes(t, s, home, machines, proto, first, second)
						})
					}
				}
			})
		}
	})
}

// pairGoes tries two claims, whichever is made first.
func pairGoes(t *testing.T, s subject, home *lab.Home, machines echoes, proto lease.Protocol, first, second claim) {
	t.Helper()
	var nat lease.NAT
	var leases []lease.Lease
	for _, c := range []claim{first, second} {
		if c.lease == nil {
			nat.Reserved = []lease.Port{{Protocol: proto, Number: 80}}
		} else {
			leases = append(leases, *c.lease)
		}
	}
	if first.name == "lease" && second.name == "many ports" {
		if _, err := s.Sync(t.Context(), lease.Ruleset{Topology: s.topology, Leases: leases}); err == nil {
			t.Error("a port is given away twice")
		}
		return
	}
	either := func(one, other string) string {
		if one == "" {
			return other
		}
		return one
	}
	wan, own := either(either(first.gets, second.gets), "router"), either(first.own, second.own)
	for _, order := range [][2]int{{0, 1}, {1, 0}} {
		s.syncNAT(t, nat)
		for _, i := range order {
			if i < len(leases) {
				s.add(t, leases[i])
			}
		}
		machines.goesTo(t, wan, outside(home, proto.String(), 0, home.WAN, 80))
		machines.goesTo(t, own, outside(home, proto.String(), 1, public5(), 80))
		for _, i := range order {
			if i < len(leases) {
				s.remove(t, leases[i])
			}
		}
		machines.goesTo(t, "router", outside(home, proto.String(), 0, home.WAN, 80))
	}
}

// ownersKinds are what an owner sets, for tests of what is in the kernel.
func ownersKinds(t testing.TB) []kind {
	t.Helper()
	filters := []lease.Filter{
		{Prefix: netip.MustParsePrefix("198.51.100.0/24")}, {Prefix: netip.MustParsePrefix("192.0.2.66/32"), Port: 7},
	}
	dmz, own := whole("dmz", "", "192.168.1.10"), whole("own", "81.2.69.15", "192.168.1.10")
	host6, many := whole("all", "", "2001:db8:1:1::10"), mapping(t, "udp 2000-60000 192.168.1.10:2000")
	at := onPublic(mapping(t, "udp 3074 192.168.1.10:3074"), public5())
	filtered := func(l lease.Lease) lease.Lease { return by(l, func(l *lease.Lease) { l.Filters = filters }) }
	other := func(l lease.Lease) lease.Lease { return by(l, func(l *lease.Lease) { l.ID = "other" }) }
	except := func(l lease.Lease) lease.Lease {
		return by(l, func(l *lease.Lease) {
			l.Except = lease.PortSet{{First: 1, Last: 9}, {First: 5, Last: 20}, {First: 30, Last: 30}}
		})
	}
	noHairpin := func(l lease.Lease) lease.Lease { return by(l, func(l *lease.Lease) { l.NoHairpin = true }) }
	on := func(l lease.Lease, wan string) lease.Lease {
		return named(by(l, func(l *lease.Lease) { l.WAN = wan }), l.ID+lease.ID(wan))
	}
	return []kind{
		{"DMZ host", dmz, except(dmz), mapping(t, "udp 3074 192.168.1.10:3074", filters...), other(dmz)},
		{"DMZ host for some", filtered(dmz), noHairpin(dmz), own, other(dmz)},
		{"DMZ host of one WAN", on(dmz, "wan1"), except(filtered(on(dmz, "wan1"))), on(dmz, "wan0"), dmz},
		{"address", own, filtered(own), mapping(t, "tcp 80 192.168.1.11:80", filters...), other(own)},
		{"address but for some ports", except(own), noHairpin(own), at, other(own)},
		{"two addresses of a host", own, except(own), whole("second", "81.2.69.16", "192.168.1.10"), other(own)},
		{"very many ports", many, noHairpin(many), dmz, mapping(t, "udp 3074 192.168.1.11:80")},
		{"very many ports of an address", onPublic(many, public5()), onPublic(filtered(many), public5()), many, other(onPublic(many, public5()))},
		{"mapping of an address", at, filtered(at), mapping(t, "udp 3074 192.168.1.11:3074"), other(at)},
		{"mapping without hairpin", noHairpin(mapping(t, "udp 3074 192.168.1.10:3074")), mapping(t, "udp 3074 192.168.1.10:3074"), dmz, other(console(t))},
		{"IPv6 host", host6, except(host6), mapping(t, "udp [2001:db8:1:1::10]:3074"), other(host6)},
		{"very many ports of an IPv6 host", mapping(t, "tcp [2001:db8:1:1::10]:2000-60000"), by(mapping(t, "tcp [2001:db8:1:1::10]:2000-60000"), func(l *lease.Lease) { l.Ports-- }), host6, mapping(t, "tcp [2001:db8:1:1::10]:5000")},
	}
}

// What a change leaves is what a sync makes of the same leases, and a sync that finds it writes nothing; what is in the way
// is refused and changes nothing; what somebody flushes comes back; nothing stays.
func TestWhatAnOwnerSets(t *testing.T) {
	each := func(t *testing.T, s subject) {
		s.topology.WANs = append(s.topology.WANs, lease.WAN{Name: "wan1", Addrs: []netip.Addr{netip.MustParseAddr("81.3.70.10")}})
		s.sync(t)
		empty := s.rules(t)
		for _, k := range ownersKinds(t) {
			t.Run(k.name, func(t *testing.T) {
				var foreign string
				if s.foreign != nil {
					foreign = s.foreign(t)
				}
				step := func(name string, change lease.Change, left ...lease.Lease) {
					t.Helper()
					if err := s.Apply(t.Context(), change); err != nil {
						t.Fatalf("%s: %v", name, err)
					}
					applied := s.rules(t)
					s.repairs(t, name, 0, left...)
					sameRules(t, name+": sync after apply", applied, s.rules(t))
				}
				step("add", lease.Change{Add: []lease.Lease{k.one}}, k.one)
				step("add another", lease.Change{Add: []lease.Lease{k.beside}}, k.one, k.beside)
				both := s.rules(t)
				for name, change := range map[string]lease.Change{
					"in the way":         {Add: []lease.Lease{k.conflict}},
					"what is there":      {Add: []lease.Lease{k.one}},
					"remove with others": {Remove: []lease.Lease{k.changed}},
				} {
					if err := s.Apply(t.Context(), change); err == nil {
						t.Errorf("%s: no error", name)
					}
					sameRules(t, name, both, s.rules(t))
				}
				step("change", lease.Change{Remove: []lease.Lease{k.one}, Add: []lease.Lease{k.changed}}, k.beside, k.changed)
				step("remove the other", lease.Change{Remove: []lease.Lease{k.beside}}, k.changed)
				s.repairs(t, "changed by sync", 1, k.one)
				// The way for pinholes through the chains of others goes with the next sync.
				s.remove(t, k.one)
				s.repairs(t, "remove", 0)
				sameRules(t, "at the end", empty, s.rules(t))

				if s.foreign != nil {
					sameRules(t, "the rules of others", foreign, s.foreign(t))
				}
				s.sync(t, k.one, k.beside)
				full := s.rules(t)
				s.flush(t)
				if err := s.Apply(t.Context(), lease.Change{Remove: []lease.Lease{k.beside}}); err == nil {
					t.Error("Apply after a flush succeeded")
				}
				s.repairs(t, "flushed", 2, k.one, k.beside)
				sameRules(t, "repaired", full, s.rules(t))
				if err := s.Cleanup(t.Context()); err != nil {
					t.Fatal(err)
				}
				sameRules(t, "after cleanup", "", s.rules(t))
				s.sync(t)
				sameRules(t, "without leases again", empty, s.rules(t))
			})
		}
	}
	beside(t, "fake", func(t *testing.T) { each(t, newFake()) })
	inOwners(t, lab.Options{}, func(t *testing.T, s subject, _ *lab.Home) {
		each(t, s)
	})
}
