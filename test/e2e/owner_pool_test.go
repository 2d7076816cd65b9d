package e2e_test

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/test/lab"
)

// neighbours puts more hosts on the LAN, with the addresses from 192.168.1.50 on.
func neighbours(t *testing.T, home *lab.Home, n int) []*lab.Host {
	t.Helper()
	var hosts []*lab.Host
	for i := range n {
		h := &lab.Host{
			Name: fmt.Sprint("neighbour", i), Namespace: fmt.Sprint(home.LAN1.Namespace, "-", i),
			Addr: netip.AddrFrom4([4]byte{192, 168, 1, byte(50 + i)}),
		}
		ip(t, "netns", "add", h.Namespace)
		t.Cleanup(func() { ip(t, "netns", "del", h.Namespace) })
		home.Router.Run(t, "ip", "link", "add", h.Name, "type", "veth", "peer", "name", "eth0", "netns", h.Namespace)
		home.Router.Run(t, "ip", "link", "set", h.Name, "master", "br-lan", "up")
		h.Run(t, "ip", "addr", "add", h.Addr.String()+"/24", "dev", "eth0")
		h.Run(t, "ip", "link", "set", "eth0", "up")
		h.Run(t, "ip", "route", "add", "default", "via", "192.168.1.1")
		hosts = append(hosts, h)
	}
	return hosts
}

// ip runs ip(8) here, where namespaces are kept.
func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(context.WithoutCancel(t.Context()), "ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// Six devices ask for one of four addresses: four get one, two learn that there is none left, and the first that is given
// back goes to the next. It is the device's own, in both directions and with every protocol. The provider does not route
// them: the router answers for those that are given away, and only as long as they are.
func TestPoolOfAddresses(t *testing.T) {
	t.Parallel()
	inAll(t, func(t *testing.T, f flavour) {
		home, state := f.home(t), t.TempDir()
		before := home.Save(t) + wanAddrs(t, home)
		askers := append(neighbours(t, home, 4), home.LAN1, home.LAN2)
		options := lab.DaemonOptions{StateDir: state, Config: "[nat]\npool = [\"81.2.69.20/30\"]\n"}
		d := f.start(t, home, options)
		home.Internet.Echo(t, "tcp", "0.0.0.0:7")

		has := map[*lab.Host]netip.Addr{}
		for _, h := range askers {
			_, err := d.CLI(t.Context(), "address", "assign", "--to", h.Addr.String())
			if len(has) == 4 {
				refused(t, err, 1, "the 4 addresses of the pool are given away")
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			has[h] = addressOf(t, d, h)
		}
		for h, public := range has {
			owns(t, home, h, public)
		}
		first, next := askers[0], askers[4]
		if out := d.MustCLI(t, "address", "release", has[first].String()); !strings.Contains(out, "is free") {
			t.Errorf("released: %s", out)
		}
		nobody := lab.Probe{Network: "tcp", From: home.Internet, Local: at(home.Gateway, 0), To: at(has[first], 8000)}
		first.Echo(t, "tcp", "0.0.0.0:8000")
		nobody.MustNotReach(t)
		d.MustCLI(t, "address", "assign", "--to", next.Addr.String(), "--for", "1h")
		if got := addressOf(t, d, next); got != has[first] {
			t.Errorf("the next one has %s, want the one that was released, %s", got, has[first])
		}
		has[next] = has[first]
		delete(has, first)
		owns(t, home, next, has[next])

		// They are given back when they come back from the dead, and not before.
		d.Kill()
		d = f.start(t, home, options)
		for h, public := range has {
			if got := addressOf(t, d, h); got != public {
				t.Errorf("after a crash %s has %s, want %s", h.Name, got, public)
			}
		}
		owns(t, home, next, has[next])
		if err := d.Stop(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, home.Save(t)+wanAddrs(t, home)); diff != "" {
			t.Errorf("left after the end (-before +after):\n%s", diff)
		}
		if out := home.Router.Run(t, "nft", "list", "tables"); strings.Contains(out, "portreeve") {
			t.Errorf("left after the end:\n%s", out)
		}
	})
}

// addressOf returns the public address that a host has for itself.
func addressOf(t *testing.T, d *lab.Daemon, h *lab.Host) netip.Addr {
	t.Helper()
	for _, a := range addresses(t, d) {
		if a.InternalAddress == h.Addr {
			return a.Address
		}
	}
	t.Fatalf("%s has no address among %+v", h.Name, addresses(t, d))
	return netip.Addr{}
}

// owns checks by packets that a public address is a host's own.
func owns(t *testing.T, home *lab.Home, h *lab.Host, public netip.Addr) {
	t.Helper()
	out := lab.Probe{Network: "tcp", From: h, Local: at(h.Addr, 0), To: at(home.Peers[0], 7)}
	lab.Eventually(t, within, h.Name+" is seen by its address", func() error {
		seen, err := out.Reach(t.Context())
		if err == nil && seen.Addr() != public {
			err = fmt.Errorf("seen as %s, want %s", seen, public)
		}
		return err
	})
	echo := h.Echo(t, "udp", "0.0.0.0:9000")
	in := lab.Probe{Network: "udp", From: home.Internet, Local: at(home.Gateway, 0), To: at(public, 9000)}
	in.MustReach(t)
	if !slices.ContainsFunc(echo.Peers(), func(p netip.AddrPort) bool { return p.Addr() == home.Gateway }) {
		t.Errorf("%s: somebody else than %s has answered", in, h.Name)
	}
	if err := echo.Close(); err != nil {
		t.Error(err)
	}
}

// wanAddrs lists the addresses that the router has outside.
func wanAddrs(t *testing.T, home *lab.Home) string {
	t.Helper()
	return home.Router.Run(t, "ip", "-br", "-4", "addr", "show", "dev", "wan0")
}
