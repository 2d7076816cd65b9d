package conformance

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/test/lab"
)

// flavour is a backend on a router whose own rules it finds.
type flavour struct {
	name string
	open func(t testing.TB, home *lab.Home) subject
	lab  lab.Options
}

// ownersFlavours are the backends that make what an owner sets by hand.
func ownersFlavours() []flavour {
	flavours := []flavour{
		{"nftables", newNftables, lab.Options{}},
		{"nftables-beside-iptables", newNftablesBesideIptables, lab.Options{}},
	}
	for _, v := range lab.Variants() {
		open := func(t testing.TB, home *lab.Home) subject { return newIptables(t, home, v) }
		flavours = append(flavours, flavour{"iptables-" + string(v), open, lab.Options{IPTables: v}})
	}
	return flavours
}

// inOwners runs a test with each of them, in a home of its own.
func inOwners(t *testing.T, o lab.Options, test func(t *testing.T, s subject, home *lab.Home)) {
	t.Helper()
	t.Parallel()
	for _, f := range ownersFlavours() {
		beside(t, f.name, func(t *testing.T) {
			f.lab.SecondWAN = o.SecondWAN
			home := lab.New(t, f.lab)
			s := f.open(t, home)
			if o.SecondWAN {
				s.topology = topology(wan0(home), wan1(home))
			}
			test(t, s, home)
		})
	}
}

// whole returns a lease of all protocols: of a DMZ host if public is empty, of an address of the host's own, or of a whole
// IPv6 host.
func whole(id lease.ID, public, host string, filters ...lease.Filter) lease.Lease {
	m := lease.Mapping{Internal: netip.AddrPortFrom(netip.MustParseAddr(host), 0), Filters: filters}
	switch {
	case m.Internal.Addr().Is6():
		m.External = m.Internal
	case public != "":
		m.External = netip.AddrPortFrom(netip.MustParseAddr(public), 0)
	}
	return named(lease.Lease{Mapping: m}, id)
}

// by returns a lease with something changed.
func by(l lease.Lease, change func(*lease.Lease)) lease.Lease {
	change(&l)
	return l
}

// named gives a lease a name, and its place among the others by that.
func named(l lease.Lease, id lease.ID) lease.Lease {
	l.ID, l.Seq = id, uint64(crc32.ChecksumIEEE([]byte(id)))
	return l
}

// onPublic makes a mapping one of an address beside the WAN's own.
func onPublic(l lease.Lease, public netip.Addr) lease.Lease {
	return by(l, func(l *lease.Lease) {
		l.External = netip.AddrPortFrom(public, l.External.Port())
		*l = named(*l, l.ID+"at")
	})
}

// The public addresses of the tests, beside that of wan0, which the provider says are at home.
func public5() netip.Addr { return netip.MustParseAddr("81.2.69.15") }
func public6() netip.Addr { return netip.MustParseAddr("81.2.69.16") }

// hold makes public addresses local on a WAN, as the daemon does.
func hold(t *testing.T, home *lab.Home, wan string, addrs ...netip.Addr) {
	t.Helper()
	for _, a := range addrs {
		home.Router.Run(t, "ip", "addr", "add", a.String()+"/32", "dev", wan)
	}
}

// syncNAT is sync with what the router does besides mappings.
func (s subject) syncNAT(t testing.TB, nat lease.NAT, leases ...lease.Lease) (repaired int) {
	t.Helper()
	repaired, err := s.Sync(t.Context(), lease.Ruleset{Topology: s.topology, Leases: leases, NAT: nat})
	if err != nil {
		t.Fatal(err)
	}
	return repaired
}

// echoes are servers on a port of each machine of the home.
type echoes map[string]*lab.Echo

// serve lets all machines answer on a port: whoever is reached is seen by who answers.
func serve(t *testing.T, home *lab.Home, network string, port uint16) echoes {
	t.Helper()
	listen := at(netip.IPv4Unspecified(), port).String()
	return echoes{
		"router": home.Router.Echo(t, network, listen), "lan1": home.LAN1.Echo(t, network, listen), "lan2": home.LAN2.Echo(t, network, listen),
	}
}

// reached tells who answers a probe that comes from a port which nothing else uses; "nobody" if none does.
func (e echoes) reached(t *testing.T, probe lab.Probe) string {
	t.Helper()
	before := map[string]int{}
	for probe.Local.IsValid() && e.know(probe.Local.Port()) {
		probe.Local = at(probe.Local.Addr(), uint16(20000+rand.IntN(40000)))
	}
	for name, echo := range e {
		before[name] = len(echo.Peers())
	}
	if _, err := probe.Reach(shortly(t)); err != nil {
		return "nobody"
	}
	for name, echo := range e {
		if len(echo.Peers()) > before[name] {
			return name
		}
	}
	return "somebody else"
}

// know tells whether somebody has come from a port before; nobody comes from port 0.
func (e echoes) know(port uint16) bool {
	for _, echo := range e {
		if slices.ContainsFunc(echo.Peers(), func(a netip.AddrPort) bool { return a.Port() == port }) {
			return true
		}
	}
	return port == 0
}

// goesTo is an error of the test if somebody else is reached than a machine by its name.
func (e echoes) goesTo(t *testing.T, want string, probe lab.Probe) {
	t.Helper()
	if want == "nobody" {
		probe.MustNotReach(t)
		return
	}
	got := "nobody"
	for deadline := time.Now().Add(5 * time.Second); got == "nobody" && time.Now().Before(deadline); { // the machine may be busy
		got = e.reached(t, probe)
	}
	if got != want {
		t.Errorf("%s reaches %s, want %s", probe, got, want)
	}
}

// shortly is enough time for an answer that comes.
func shortly(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	t.Cleanup(cancel)
	return ctx
}

// outside is a probe of a peer on the internet to an address of the router, from a fresh port.
func outside(home *lab.Home, network string, peer int, to netip.Addr, port uint16) lab.Probe {
	return lab.Probe{Network: network, From: home.Internet, Local: at(home.Peers[peer], 0), To: at(to, port)}
}

// inside is a probe of a LAN host to an address of the router outside, from a fresh port.
func inside(from *lab.Host, network string, to netip.Addr, port uint16) lab.Probe {
	return lab.Probe{Network: network, From: from, Local: at(from.Addr, 0), To: at(to, port)}
}

// ping tells whether an address answers, within half a second.
func ping(t *testing.T, from *lab.Host, local, to netip.Addr) bool {
	t.Helper()
	var socket int
	err := from.Do(func() (err error) {
		socket, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(socket)
	id := uint16(rand.Uint32())
	question := binary.BigEndian.AppendUint32([]byte{8, 0, 0, 0}, uint32(id)<<16|1) // RFC 792
	binary.BigEndian.PutUint16(question[2:], ^uint16((0x0800+uint32(id)+1)%0xffff))
	timeout := unix.NsecToTimeval(int64(50 * time.Millisecond))
	if err := errors.Join(
		unix.SetsockoptTimeval(socket, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout),
		unix.Bind(socket, &unix.SockaddrInet4{Addr: local.As4()}),
		unix.Sendto(socket, question, 0, &unix.SockaddrInet4{Addr: to.As4()}),
	); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1500)
	for deadline := time.Now().Add(500 * time.Millisecond); time.Now().Before(deadline); {
		n, _, err := unix.Recvfrom(socket, buf, 0)
		if err == nil && n >= 28 && buf[20] == 0 && binary.BigEndian.Uint16(buf[24:]) == id {
			return true
		}
	}
	return false
}
