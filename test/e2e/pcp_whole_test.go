package e2e_test

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/pcp"
	"github.com/portreeve/portreeve/test/lab"
)

// Who asks by PCP for all ports gets a public address of the pool for himself: for all protocols, or for one, with the
// filters that he wants. Without a pool, and over IPv6, there is no such thing.
func TestPCPAllPorts(t *testing.T) {
	t.Parallel()
	inAll(t, mapAllPorts)
}

func mapAllPorts(t *testing.T, f flavour) {
	first, second := mustAddr("81.2.69.20"), mustAddr("81.2.69.21")
	const pool = "[nat]\npool = [\"81.2.69.20\", \"81.2.69.21\"]\n"
	state := t.TempDir()
	home, d := newHome(t, f, lab.DaemonOptions{StateDir: state, Config: pool})
	home.Internet.Echo(t, "tcp", "0.0.0.0:7")
	home.Internet.Echo(t, "udp", "0.0.0.0:7")
	for _, h := range []*lab.Host{home.LAN1, home.LAN2} {
		h.Echo(t, "tcp", "0.0.0.0:8000")
		h.Echo(t, "udp", "0.0.0.0:8000")
	}
	all := func(p lease.Protocol, options ...pcp.Option) pcp.MapRequest { return mapRequest(p, 0, 0, options...) }
	in := func(network string, to netip.Addr, peer int) lab.Probe {
		return lab.Probe{Network: network, From: home.Internet, Local: at(home.Peers[peer], 0), To: at(to, 8000)}
	}
	leaves := func(h *lab.Host, network string, want netip.Addr) {
		t.Helper()
		out := lab.Probe{Network: network, From: h, Local: at(h.Addr, 0), To: at(home.Peers[0], 7)}
		lab.Eventually(t, within, network+" leaves with "+want.String(), func() error {
			seen, err := out.Reach(t.Context())
			if err == nil && seen.Addr() != want {
				err = fmt.Errorf("seen as %s, want %s", seen, want)
			}
			return err
		})
	}

	t.Run("all protocols", func(t *testing.T) {
		client, request := pcpClient4(t, home, home.LAN1), all(lease.AllProtocols)
		if r := mustMap(t, client, request); r.External != at(first, 0) {
			t.Fatalf("mapped to %s", r.External)
		}
		for _, network := range []string{"tcp", "udp"} {
			in(network, first, 0).MustReach(t)
			leaves(home.LAN1, network, first)
		}

		mustMap(t, client, deletion(request))
		in("udp", first, 0).MustNotReach(t)
	})
	t.Run("one protocol", func(t *testing.T) {
		client := pcpClient4(t, home, home.LAN1)
		tcp := all(lease.TCP, pcp.Filter{Prefix: netip.PrefixFrom(home.Peers[0], 32)})
		if r := mustMap(t, client, tcp); r.External != at(first, 0) || r.InternalPort != 0 {
			t.Fatalf("mapped to %s", r.External)
		}
		in("tcp", first, 0).MustReach(t)
		in("tcp", first, 1).MustNotReach(t)
		in("udp", first, 0).MustNotReach(t)
		leaves(home.LAN1, "tcp", first)
		leaves(home.LAN1, "udp", home.WAN)

		// The other protocol of the same host goes to the same address, and to nobody else.
		mustRefuse(t, pcpClient4(t, home, home.LAN2), withExternal(all(lease.UDP, pcp.PreferFailure{}), first), pcp.ResultCannotProvideExternal)
		if r := mustMap(t, pcpClient4(t, home, home.LAN2), all(lease.UDP)); r.External.Addr() != second {
			t.Errorf("another host: %s, want %s", r.External, second)
		}
		udp := all(lease.UDP)
		if r := mustMap(t, client, udp); r.External.Addr() != first {
			t.Errorf("UDP of the same host: %s, want %s", r.External, first)
		}
		in("udp", first, 1).MustReach(t)
		leaves(home.LAN1, "udp", first)
		mustMap(t, client, deletion(udp))
		in("udp", first, 1).MustNotReach(t)
		in("tcp", first, 0).MustReach(t)
		in("udp", second, 0).MustReach(t)
		mustMap(t, client, deletion(tcp))
		in("tcp", first, 0).MustNotReach(t)
	})
	t.Run("NAT-PMP knows no such thing", func(t *testing.T) {
		_, err := pcpClient4(t, home, home.LAN1).PMPMap(t.Context(), pcp.PMPMapRequest{Protocol: lease.TCP, Lifetime: time.Hour})
		if refused, ok := errors.AsType[*pcp.PMPResultError](err); !ok || refused.Result != pcp.PMPRefused {
			t.Errorf("answer: %v", err)
		}
	})
	t.Run("over IPv6", func(t *testing.T) {
		mustRefuse(t, pcpClient6(t, home, home.LAN1), all(lease.TCP), pcp.ResultUnsuppProtocol)
	})
	for _, l := range leases(t, d) {
		d.MustCLI(t, "lease", "close", string(l.ID))
	}
	mustMap(t, pcpClient4(t, home, home.LAN1), all(lease.TCP))
	d.Kill()
	d = f.start(t, home, lab.DaemonOptions{StateDir: state, Config: pool})
	in("tcp", first, 0).MustReach(t) // after a crash
	if err := d.Stop(); err != nil {
		t.Fatal(err)
	}
	if f.backend == "nftables" {
		backendThatCannot(t, home, lab.DaemonOptions{StateDir: state, Config: pool})
	}
	f.start(t, home, lab.DaemonOptions{})
	for _, p := range []lease.Protocol{lease.AllProtocols, lease.TCP} { // without a pool
		mustRefuse(t, pcpClient4(t, home, home.LAN1), all(p), pcp.ResultUnsuppProtocol)
	}
}

// backendThatCannot starts the daemon with iptables, where nftables had a mapping that iptables has no rules for: it gets
// nothing that it could take for something else.
func backendThatCannot(t *testing.T, home *lab.Home, o lab.DaemonOptions) {
	t.Helper()
	d := flavours()[2].start(t, home, o)
	const gre = 47
	mustMap(t, pcpClient4(t, home, home.LAN1), mapRequest(gre, 0, 0))
	if err := d.Stop(); err != nil {
		t.Fatal(err)
	}
	d = usual().start(t, home, o)
	d.WaitLog(t, "mapping closed", "cannot map this any more")
	for _, l := range leases(t, d) {
		if l.Protocol != "tcp" {
			t.Errorf("left over: %+v", l)
		}
	}
	if err := d.Stop(); err != nil {
		t.Fatal(err)
	}
}

// withExternal is a request that names an address outside.
func withExternal(m pcp.MapRequest, addr netip.Addr) pcp.MapRequest {
	m.Suggested = netip.AddrPortFrom(addr, m.Suggested.Port())
	return m
}
