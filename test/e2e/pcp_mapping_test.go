package e2e_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/pcp"
	"github.com/portreeve/portreeve/test/lab"
)

// A mapping of PCP lets packets in, through the router's own dropping forward chain, until it is deleted: over IPv4 by
// translation, over IPv6 as a pinhole.
func TestPCPMapping(t *testing.T) {
	t.Parallel()
	inAll(t, func(t *testing.T, f flavour) {
		home, d := newHome(t, f, lab.DaemonOptions{})
		for _, family := range families(home) {
			for _, protocol := range []lease.Protocol{lease.UDP, lease.TCP} {
				t.Run(protocol.String()+" over "+family.name, func(t *testing.T) {
					home.LAN1.Echo(t, protocol.String(), at(family.inside, 5000).String())
					client := pcpClient(t, home.LAN1, family.inside, family.router)
					request := mapRequest(protocol, 5000, 5000, pcp.Description{Text: "a game"})
					r := mustMap(t, client, request)
					if want := at(family.outside, 5000); r.External != want || r.Lifetime != time.Hour {
						t.Errorf("mapped to %s for %s, want %s for an hour", r.External, r.Lifetime, want)
					}
					probe := lab.Probe{Network: protocol.String(), From: home.Internet, Local: at(family.peers[0], 40000), To: r.External}
					if seen := probe.MustReach(t); seen != probe.Local {
						t.Errorf("the host saw the sender as %s, want %s", seen, probe.Local)
					}
					if l := leaseAt(t, d, protocol.String(), 5000); l.Via != lease.OriginPCP || l.Description != "a game" || l.Client != family.inside {
						t.Errorf("listed as %+v", l)
					}
					mustMap(t, client, deletion(request))
					home.MustForget(t, protocol.String(), r.External.Port())
					probe.MustNotReach(t)
					if left := leases(t, d); len(left) > 0 {
						t.Errorf("left over: %+v", left)
					}
				})
			}
		}
	})
}

// A host asks its default router, which over IPv6 is a link-local address, and is answered from there.
func TestPCPAtTheLinkLocalAddress(t *testing.T) {
	t.Parallel()
	home, _ := newHome(t, usual(), lab.DaemonOptions{})
	home.LAN1.Echo(t, "tcp", at(home.LAN1.Addr6, 5000).String())
	probe := lab.Probe{Network: "tcp", From: home.Internet, To: at(home.LAN1.Addr6, 5000)}
	client := pcpClient(t, home.LAN1, home.LAN1.Addr6, gateway6(t, home, home.LAN1))
	request := mapRequest(lease.TCP, 5000, 0)
	mustMap(t, client, request)
	probe.MustReach(t)
	mustMap(t, client, deletion(request))
	probe.MustNotReach(t)

	// From its own link-local address it can name the other one, because the MAC address is the same.
	local := pcpClient(t, home.LAN1, home.LAN1.LinkLocal(t, "eth0"), gateway6(t, home, home.LAN1))
	mustRefuse(t, local, mapRequest(lease.TCP, 5000, 0), pcp.ResultNotAuthorized)
	mustMap(t, local, mapRequest(lease.TCP, 5000, 0, pcp.ThirdParty{Addr: home.LAN1.Addr6}))
	probe.MustReach(t)
}

// The peers that the filters name come in, others do not, until the filters are taken away. More than there can be are
// refused, and change nothing.
func TestPCPFilter(t *testing.T) {
	t.Parallel()
	inAll(t, func(t *testing.T, f flavour) {
		home, d := newHome(t, f, lab.DaemonOptions{})
		for _, family := range families(home) {
			t.Run(family.name, func(t *testing.T) {
				home.LAN1.Echo(t, "udp", at(family.inside, 5000).String())
				client := pcpClient(t, home.LAN1, family.inside, family.router)
				from := func(peer int, port uint16) lab.Probe {
					return lab.Probe{Network: "udp", From: home.Internet, Local: at(family.peers[peer], port), To: at(family.outside, 5000)}
				}
				filter := func(peer int, shorter int, port uint16) pcp.Filter {
					addr := family.peers[peer]
					return pcp.Filter{Prefix: netip.PrefixFrom(addr, addr.BitLen()-shorter).Masked(), Port: port}
				}
				request := mapRequest(lease.UDP, 5000, 5000, filter(0, 8, 0))
				mustMap(t, client, request)
				from(0, 7000).MustReach(t)
				from(1, 7000).MustNotReach(t)

				t.Run("another one is added", func(t *testing.T) {
					request.Options = []pcp.Option{filter(1, 0, 7001)}
					mustMap(t, client, request)
					from(1, 7001).MustReach(t)
					from(0, 7001).MustReach(t)
					from(1, 7002).MustNotReach(t)
				})
				t.Run("too many", func(t *testing.T) {
					many := request
					many.Options = nil
					for port := range uint16(lease.MaxFilters - 1) {
						many.Options = append(many.Options, filter(1, 0, 7002+port))
					}
					mustRefuse(t, client, many, pcp.ResultExcessiveRemotePeers)
					if l := leaseAt(t, d, "udp", 5000); len(l.RemoteHosts) != 2 {
						t.Errorf("a refused request left the filters %v", l.RemoteHosts)
					}
					from(1, 7003).MustNotReach(t)
					many.Options = many.Options[1:]
					mustMap(t, client, many)
					from(1, 7003).MustReach(t)
				})
				t.Run("all are replaced", func(t *testing.T) {
					request.Options = []pcp.Option{pcp.Filter{}, filter(1, 0, 0)}
					mustMap(t, client, request)
					from(1, 7100).MustReach(t)
					from(0, 7100).MustNotReach(t)
				})
				t.Run("all are taken away", func(t *testing.T) {
					request.Options = []pcp.Option{pcp.Filter{}}
					mustMap(t, client, request)
					from(0, 7200).MustReach(t)
					from(1, 7200).MustReach(t)
				})
				mustMap(t, client, deletion(request))
			})
		}
	})
}

// 64 ports are one lease with one record and one event, and all are open.
func TestPCPPortSet(t *testing.T) {
	t.Parallel()
	inAll(t, func(t *testing.T, f flavour) {
		home, d := newHome(t, f, lab.DaemonOptions{Config: "[policy]\nports = [\"6000-6095\"]\n"})
		const size, internal, external = 64, 5000, 6000
		client := pcpClient4(t, home, home.LAN1)
		request := mapRequest(lease.UDP, internal, external, pcp.PortSet{Size: size, First: internal})
		r := mustMap(t, client, request)
		if set, ok := r.Options[0].(pcp.PortSet); !ok || set.Size != size || set.First != internal || r.External != at(home.WAN, external) {
			t.Fatalf("granted %+v", r)
		}
		if l := leases(t, d); len(l) != 1 || l[0].PortCount != size {
			t.Errorf("listed: %+v, want one lease", l)
		}
		d.WaitLog(t, "mapping opened")
		if events := history(t, d); len(events) != 1 || events[0].Kind != lease.EventOpened || strings.Count(d.Log(), "mapping opened") != 1 {
			t.Errorf("events: %+v, want one", events)
		}
		for n := range uint16(size) {
			home.LAN1.Echo(t, "udp", at(home.LAN1.Addr, internal+n).String())
			lab.Probe{Network: "udp", From: home.Internet, To: at(home.WAN, external+n)}.MustReach(t)
		}
		beyond := lab.Probe{Network: "udp", From: home.Internet, To: at(home.WAN, external+size)}
		beyond.MustNotReach(t)

		// Another client that wants some of them gets fewer, none of which is of the first (RFC 7753): 32 are left.
		wants := mapRequest(lease.UDP, internal, external+32, pcp.PortSet{Size: size, First: internal})
		exactly := wants
		exactly.Options = append([]pcp.Option{pcp.PreferFailure{}}, wants.Options...)
		mustRefuse(t, pcpClient4(t, home, home.LAN2), exactly, pcp.ResultCannotProvideExternal)
		other := mustMap(t, pcpClient4(t, home, home.LAN2), wants)
		const begin, got = external + size, uint16(32)
		if len(other.Options) != 1 || other.External.Port() != begin || other.Options[0].(pcp.PortSet) != (pcp.PortSet{Size: got, First: internal}) {
			t.Fatalf("the second client has %+v, want %d ports from %d", other, got, begin)
		}
		home.LAN2.Echo(t, "udp", at(home.LAN2.Addr, internal+got-1).String())
		lab.Probe{Network: "udp", From: home.Internet, To: at(home.WAN, begin+got-1)}.MustReach(t)

		// The set ends as a whole, by any of its ports.
		request.InternalPort += 10
		end := deletion(request)
		end.Options = []pcp.Option{pcp.PortSet{Size: size, First: internal}}
		mustMap(t, client, end)
		for _, port := range []uint16{external, external + size - 1} {
			lab.Probe{Network: "udp", From: home.Internet, To: at(home.WAN, port)}.MustNotReach(t)
		}
	})
}

// Two hosts want one port.
func TestPCPTwoHostsOnePort(t *testing.T) {
	t.Parallel()
	home, d := newHome(t, usual(), lab.DaemonOptions{})
	first, second := pcpClient4(t, home, home.LAN1), pcpClient4(t, home, home.LAN2)
	mustMap(t, first, mapRequest(lease.TCP, 5000, 6000))
	wait := mustRefuse(t, second, mapRequest(lease.TCP, 5000, 6000, pcp.PreferFailure{}), pcp.ResultCannotProvideExternal)
	if wait != 30*time.Second {
		t.Errorf("it is told to wait %s, want 30 s (RFC 6887, section 7.4)", wait)
	}
	d.WaitLog(t, "192.168.1.11", "6000")
	if r := mustMap(t, second, mapRequest(lease.TCP, 5000, 6000)); r.External.Port() == 6000 {
		t.Error("two hosts have the same port")
	}
	elsewhere := mapRequest(lease.TCP, 5001, 7001, pcp.PreferFailure{})
	elsewhere.Suggested = netip.MustParseAddrPort("198.51.100.1:7001")
	mustRefuse(t, second, elsewhere, pcp.ResultCannotProvideExternal)
	mustMap(t, second, mapRequest(lease.TCP, 5001, 7001, pcp.PreferFailure{}))
}

// Whoever does not know the nonce can neither end a mapping nor take it over, also if he forges the address of the host.
func TestPCPNonce(t *testing.T) {
	t.Parallel()
	home, d := newHome(t, usual(), lab.DaemonOptions{})
	client := pcpClient4(t, home, home.LAN1)
	request := mapRequest(lease.UDP, 5000, 5000)
	mustMap(t, client, request)
	hijack := request
	hijack.Nonce = pcp.NewNonce()
	wait := mustRefuse(t, client, deletion(hijack), pcp.ResultNotAuthorized)
	if wait < time.Hour-time.Minute || wait > time.Hour {
		t.Errorf("it is told to wait %s, want what is left of the hour", wait)
	}
	hijack.Options = []pcp.Option{pcp.Filter{Prefix: netip.MustParsePrefix("198.51.100.0/24")}}
	mustRefuse(t, client, hijack, pcp.ResultNotAuthorized)

	forged := deletion(hijack)
	forged.Client, forged.Suggested = home.LAN1.Addr, at(netip.IPv4Unspecified(), 0)
	packet, err := pcp.Marshal(forged)
	if err != nil {
		t.Fatal(err)
	}
	answers := home.LAN1.Capture(t)
	home.LAN2.Spoof(t, "udp", at(home.LAN1.Addr, 4444), at(home.Router.Addr, pcp.Port), packet)
	answers.Wait("the answer to the forged request", func(p lab.Packet) bool { return p.Dst == at(home.LAN1.Addr, 4444) })
	if l := leaseAt(t, d, "udp", 5000); len(l.RemoteHosts) > 0 {
		t.Errorf("taken over: %+v", l)
	}

	// A client that draws a new nonce each time keeps its mapping up, which is still that of the first nonce.
	hijack.Options, hijack.Lifetime = nil, 2*time.Hour
	if r := mustMap(t, client, hijack); r.External.Port() != 5000 || r.Lifetime != 2*time.Hour {
		t.Errorf("with a new nonce: %+v", r)
	}
	mustRefuse(t, client, deletion(hijack), pcp.ResultNotAuthorized)
	mustMap(t, client, deletion(request))
	if left := leases(t, d); len(left) > 0 {
		t.Errorf("left over: %+v", left)
	}
}

// A renewal keeps the port, whatever is suggested, and has the lifetime that is asked for, within the bounds.
func TestPCPRenewal(t *testing.T) {
	t.Parallel()
	home, d := newHome(t, usual(), lab.DaemonOptions{})
	for _, family := range families(home) {
		client := pcpClient(t, home.LAN1, family.inside, family.router)
		request := mapRequest(lease.UDP, 5000, 0)
		first := mustMap(t, client, request)
		for asked, want := range map[time.Duration]time.Duration{
			time.Second: 120 * time.Second, 2 * time.Hour: 2 * time.Hour, 10 * 24 * time.Hour: 24 * time.Hour,
		} {
			request.Lifetime, request.Suggested = asked, netip.AddrPortFrom(netip.Addr{}, 7000)
			if r := mustMap(t, client, request); r.External != first.External || r.Lifetime != want {
				t.Errorf("%s, asked for %s: %s for %s, want %s for %s", family.name, asked, r.External, r.Lifetime, first.External, want)
			}
		}
	}
	if n := len(leases(t, d)); n != 2 {
		t.Errorf("%d leases, want one of each family", n)
	}
}

// With port 0 a host is rid of all that it has asked for with a nonce: of one protocol, or of all.
func TestPCPDeleteAll(t *testing.T) {
	t.Parallel()
	home, d := newHome(t, usual(), lab.DaemonOptions{})
	client, nonce := pcpClient4(t, home, home.LAN1), pcp.NewNonce()
	for _, protocol := range []lease.Protocol{lease.TCP, lease.UDP} {
		for port := range uint16(3) {
			request := mapRequest(protocol, 5000+port, 5000+port)
			request.Nonce = nonce
			mustMap(t, client, request)
		}
	}
	mustMap(t, client, mapRequest(lease.TCP, 5009, 5009)) // with another nonce
	mustMap(t, pcpClient4(t, home, home.LAN2), mapRequest(lease.TCP, 6000, 6000))
	if _, err := client.PMPMap(t.Context(), pcp.PMPMapRequest{Protocol: lease.UDP, InternalPort: 5010, Lifetime: time.Hour}); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		protocol lease.Protocol
		want     int
	}{{lease.TCP, 6}, {lease.AllProtocols, 3}} {
		mustMap(t, client, pcp.MapRequest{Nonce: nonce, Protocol: step.protocol})
		if left := leases(t, d); len(left) != step.want {
			t.Errorf("after all of %s: %d leases, want %d: %+v", step.protocol, len(left), step.want, left)
		}
	}
}

// A host may ask for others only where the owner has said so.
func TestPCPThirdParty(t *testing.T) {
	t.Parallel()
	for _, allowed := range []string{"false", "true"} {
		t.Run("third_party = "+allowed, func(t *testing.T) {
			t.Parallel()
			home, _ := newHome(t, usual(), lab.DaemonOptions{Config: "[pcp]\nthird_party = " + allowed + "\n"})
			home.LAN2.Echo(t, "udp", at(home.LAN2.Addr, 5000).String())
			client := pcpClient4(t, home, home.LAN1)
			request := mapRequest(lease.UDP, 5000, 5000, pcp.ThirdParty{Addr: home.LAN2.Addr})
			probe := lab.Probe{Network: "udp", From: home.Internet, To: at(home.WAN, 5000)}
			if allowed == "false" {
				mustRefuse(t, client, request, pcp.ResultUnsuppOption)
				probe.MustNotReach(t)
				return
			}
			mustMap(t, client, request)
			probe.MustReach(t)
			// The host itself has another nonce.
			other := mapRequest(lease.UDP, 5000, 5000)
			mustRefuse(t, pcpClient4(t, home, home.LAN2), deletion(other), pcp.ResultNotAuthorized)
			end := deletion(request)
			end.Options = request.Options
			mustMap(t, client, end)
			probe.MustNotReach(t)
		})
	}
}

// A host that has as many mappings as it may have is told so, and one that asks for what nobody may have.
func TestPCPRefusals(t *testing.T) {
	t.Parallel()
	home, d := newHome(t, usual(), lab.DaemonOptions{Config: "[limits]\nmappings_per_device = 3\n"})
	client := pcpClient4(t, home, home.LAN1)
	for port := range uint16(3) {
		mustMap(t, client, mapRequest(lease.UDP, 5000+port, 5000+port))
	}
	mustRefuse(t, client, mapRequest(lease.UDP, 5003, 5003), pcp.ResultUserExQuota)
	line := d.WaitLog(t, "192.168.1.10", "5003")
	if n := strings.Count(d.Log(), line); n != 1 {
		t.Errorf("the log says %d times %s", n, line)
	}
	other := pcpClient4(t, home, home.LAN2)
	mustRefuse(t, other, mapRequest(lease.TCP, 445, 445, pcp.PreferFailure{}), pcp.ResultCannotProvideExternal)
	mustRefuse(t, other, mapRequest(lease.Protocol(47), 0, 0), pcp.ResultUnsuppProtocol)
	mismatch := mapRequest(lease.UDP, 5000, 5000)
	mismatch.Client = mustAddr("10.0.0.1")
	mustRefuse(t, other, mismatch, pcp.ResultAddressMismatch)
}
