package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/portreeve/portreeve/test/bench/load"
	"github.com/portreeve/portreeve/test/lab"
)

// The addresses of the LAN hosts. All are on one machine of the lab.
const (
	firstHost = 50
	hosts     = 200
)

// Ports. Those of leases that are present begin with firstPort, cyclePort is the first that requests open and close
// again, and probed is that of the worst-placed lease: made last, and with the highest number.
const (
	firstPort = 10000
	cyclePort = 40000
	probed    = 60001
)

// house is a home whose router is like that of a real house.
type house struct {
	*lab.Home
	hosts []netip.Addr
	self  string // this program
}

// newHouse builds one.
func newHouse(ctx context.Context, variant lab.Variant) (h *house, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	home, err := lab.Start(ctx, lab.Options{IPTables: variant})
	if err != nil {
		return nil, err
	}
	h = &house{Home: home, self: self}
	defer func() {
		if err != nil {
			err = errors.Join(err, home.Close())
		}
	}()
	if err := h.settle(ctx); err != nil {
		return nil, err
	}
	// The few connections that a small router remembers after their end; else miniupnpd, which reads the table of
	// all of them for each new mapping, would be slow for a reason that such a router does not have.
	for _, host := range []*lab.Host{home.Router, home.LAN1} {
		if err := host.Sysctl("net/ipv4/tcp_max_tw_buckets", "64"); err != nil {
			return nil, err
		}
	}
	// A client must not happen to get the port of a server.
	return h, home.LAN1.Sysctl("net/ipv4/ip_local_port_range", fmt.Sprintf("30000 %d", probed-1))
}

// settle gives the LAN hosts their addresses and tells the router where they are: the kernel remembers about a thousand
// neighbours that it has found by itself, for all houses together.
func (h *house) settle(ctx context.Context) error {
	var link *net.Interface
	err := h.LAN1.Do(func() (err error) {
		link, err = net.InterfaceByName("eth0")
		return err
	})
	if err != nil {
		return err
	}
	var addresses, neighbours strings.Builder
	for i := range hosts {
		addr := netip.AddrFrom4([4]byte{192, 168, 1, byte(firstHost + i)})
		h.hosts = append(h.hosts, addr)
		fmt.Fprintf(&addresses, "addr add %s/24 dev eth0\n", addr)
		fmt.Fprintf(&neighbours, "neigh replace %s lladdr %s dev br-lan nud permanent\n", addr, link.HardwareAddr)
	}
	for host, batch := range map[*lab.Host]string{h.LAN1: addresses.String(), h.Router: neighbours.String()} {
		cmd := host.Command(ctx, "ip", "-batch", "-")
		cmd.Stdin = strings.NewReader(batch)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("addresses of the LAN hosts: %w\n%s", err, out)
		}
	}
	return nil
}

// smallTables gives the homes that are built from now on socket tables like those of a router with 512 MB, instead of
// those of this machine.
func smallTables() error {
	for name, entries := range map[string]string{"tcp_child_ehash_entries": "4096", "udp_child_hash_entries": "256"} {
		if err := os.WriteFile("/proc/sys/net/ipv4/"+name, []byte(entries), 0); err != nil {
			return err
		}
	}
	return nil
}

// lan has the LAN hosts do something.
func (h *house) lan(ctx context.Context, t load.Task) (load.Result, error) {
	t.Router, t.Clients = h.Router.Addr, h.hosts
	return load.Run(h.LAN1.Command(ctx, h.self, workerRole), t)
}

// internet has a host on the internet do something.
func (h *house) internet(ctx context.Context, t load.Task) (load.Result, error) {
	t.Router = h.WAN
	return load.Run(h.Internet.Command(ctx, h.self, workerRole), t)
}

// pmp makes a NAT-PMP client for each LAN host, in this process.
func (h *house) pmp() (clients []load.PMP, err error) {
	err = h.LAN1.Do(func() error {
		for _, addr := range h.hosts {
			c, err := load.DialPMP(addr, h.Router.Addr)
			if err != nil {
				return err
			}
			clients = append(clients, c)
		}
		return nil
	})
	return clients, err
}

// mapping is a UDP lease with the same port inside and outside.
type mapping struct {
	host netip.Addr
	port uint16
}

// mappings are n leases, spread over the hosts.
func mappings(n int, hosts []netip.Addr) []mapping {
	var all []mapping
	for i := range n {
		all = append(all, mapping{hosts[i%len(hosts)], firstPort + uint16(i)})
	}
	return all
}

// sample is at most so many of the mappings, from all over them, with the first and the last.
func sample(all []mapping, most int) []mapping {
	if len(all) <= most {
		return all
	}
	var some []mapping
	for i := range most {
		some = append(some, all[i*(len(all)-1)/(most-1)])
	}
	return some
}
