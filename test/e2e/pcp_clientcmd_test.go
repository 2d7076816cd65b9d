package e2e_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/test/lab"
)

// clientCommand runs "portreeve client" on a LAN host, where no daemon is.
func clientCommand(t *testing.T, host *lab.Host, args ...string) (string, error) {
	t.Helper()
	return host.Output(t.Context(), lab.Build(t), append([]string{"client"}, args...)...)
}

// gatewayAnswer is what the command prints as JSON.
type gatewayAnswer struct {
	Server          string   `json:"server"`
	ExternalAddress string   `json:"external_address"`
	ExternalPort    uint16   `json:"external_port"`
	Count           uint16   `json:"port_count"`
	Remaining       int64    `json:"remaining_seconds"`
	Nonce           string   `json:"nonce"`
	Options         []string `json:"options"`
	Gateway         string   `json:"gateway"`
	Service         string   `json:"service"`
	Status          string   `json:"status"`
}

func mustClientCommand(t *testing.T, host *lab.Host, args ...string) (a gatewayAnswer) {
	t.Helper()
	out, err := clientCommand(t, host, append(args, "-o", "json")...)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(out), &a); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	return a
}

// The diagnostic tool finds the gateway by itself, maps, tells and gives back, by each protocol and family.
func TestClientCommand(t *testing.T) {
	t.Parallel()
	home, d := newHome(t, usual(), lab.DaemonOptions{})
	run := func(args ...string) gatewayAnswer { t.Helper(); return mustClientCommand(t, home.LAN1, args...) }

	t.Run("PCP", func(t *testing.T) {
		if a := run("announce"); a.Server != home.Router.Addr.String() {
			t.Errorf("announce: %+v", a)
		}
		if a := run("external"); a.ExternalAddress != home.WAN.String() {
			t.Errorf("external: %+v", a)
		}
		if left := leases(t, d); len(left) > 0 {
			t.Errorf("the question for the address has left %+v", left)
		}
		home.LAN1.Echo(t, "udp", at(home.LAN1.Addr, 5000).String())
		a := run("map", "udp", "5000", "--external-port", "6000", "--lifetime", "30m", "--count", "4", "--description", "a test", "--filter", home.Peers[0].String())
		if a.ExternalAddress != home.WAN.String() || a.ExternalPort != 6000 || a.Remaining != 1800 || a.Count != 4 || len(a.Options) != 3 {
			t.Errorf("map: %+v", a)
		}
		lab.Probe{Network: "udp", From: home.Internet, Local: at(home.Peers[0], 0), To: at(home.WAN, 6000)}.MustReach(t)
		if l := leaseAt(t, d, "udp", 6000); l.Description != "a test" || l.PortCount != 4 || len(l.RemoteHosts) != 1 {
			t.Errorf("listed as %+v", l)
		}
		if _, err := clientCommand(t, home.LAN1, "unmap", "udp", "5000", "--nonce", "000000000000000000000000"); exitCode(err) != 5 {
			t.Errorf("with another nonce: %v, want exit code 5", err)
		}
		if _, err := clientCommand(t, home.LAN1, "unmap", "udp", "5000"); exitCode(err) != 2 {
			t.Errorf("without a nonce: %v, want exit code 2", err)
		}
		if _, err := clientCommand(t, home.LAN2, "map", "udp", "5000", "--external-port", "6000", "--prefer-failure"); exitCode(err) != 1 {
			t.Errorf("a port that another host has: %v, want exit code 1", err)
		}
		run("unmap", "udp", "5000", "--nonce", a.Nonce)
	})
	t.Run("PCP over IPv6", func(t *testing.T) {
		a := run("map", "tcp", "5000", "--ipv6")
		if a.ExternalAddress != home.LAN1.Addr6.String() || a.ExternalPort != 5000 {
			t.Errorf("map: %+v", a)
		}
		home.LAN1.Echo(t, "tcp", at(home.LAN1.Addr6, 5000).String())
		lab.Probe{Network: "tcp", From: home.Internet, To: at(home.LAN1.Addr6, 5000)}.MustReach(t)
		run("unmap", "tcp", "all", "--nonce", a.Nonce, "--server", home.Router.Addr6.String())
	})
	t.Run("NAT-PMP", func(t *testing.T) {
		if a := run("external", "--proto", "natpmp"); a.ExternalAddress != home.WAN.String() {
			t.Errorf("external: %+v", a)
		}
		if a := run("map", "tcp", "5000", "--proto", "natpmp", "--external-port", "7000"); a.ExternalPort != 7000 || a.Remaining != 3600 {
			t.Errorf("map: %+v", a)
		}
		run("announce", "--proto", "natpmp")
		run("unmap", "tcp", "all", "--proto", "natpmp")
	})
	t.Run("UPnP", func(t *testing.T) {
		if a := run("announce", "--proto", "upnp"); a.Status != "Connected" || a.Gateway == "" || !strings.HasPrefix(a.Service, "WANIPConnection:") {
			t.Errorf("announce: %+v", a)
		}
		if a := run("external", "--proto", "upnp"); a.ExternalAddress != home.WAN.String() || a.Server != home.Router.Addr.String() {
			t.Errorf("external: %+v", a)
		}
		home.LAN1.Echo(t, "tcp", at(home.LAN1.Addr, 5000).String())
		a := run("map", "tcp", "5000", "--proto", "upnp", "--external-port", "6000", "--lifetime", "30m", "--filter", home.Peers[0].String(), "--description", "a test")
		if a.ExternalAddress != home.WAN.String() || a.ExternalPort != 6000 || a.Remaining < 1790 || a.Remaining > 1800 {
			t.Errorf("map: %+v", a)
		}
		lab.Probe{Network: "tcp", From: home.Internet, Local: at(home.Peers[0], 0), To: at(home.WAN, 6000)}.MustReach(t)
		if l := leaseAt(t, d, "tcp", 6000); l.Description != "a test" || l.Via != lease.OriginUPnP || len(l.RemoteHosts) != 1 {
			t.Errorf("listed as %+v", l)
		}
		for _, tt := range []struct {
			host *lab.Host
			args []string
			code int
			says string
		}{
			{home.LAN2, []string{"map", "tcp", "5000", "--external-port", "6000"}, 1, "AddPortMapping is refused: 718"},
			{home.LAN2, []string{"map", "tcp", "5001", "--third-party", home.LAN1.Addr.String()}, 5, "refused: 606"},
			{home.LAN2, []string{"unmap", "tcp", "6001"}, 6, "DeletePortMapping is refused: 714"},
			{home.LAN1, []string{"announce", "--server", home.LAN2.Addr.String()}, 4, "no UPnP gateway has answered at 192.168.1.11"},
			{home.LAN1, []string{"map", "udp", "all"}, 2, "UPnP asks for one port"},
			{home.LAN1, []string{"map", "udp", "1", "--nonce", "0102030405060708090a0b0c"}, 2, "UPnP cannot say --nonce"},
			{home.LAN1, []string{"map", "udp", "1", "--filter", "198.51.100.0/24"}, 2, "one IPv4 address"},
			{home.LAN1, []string{"map", "sctp", "1"}, 2, "knows tcp and udp, not sctp"},
		} {
			if _, err := clientCommand(t, tt.host, append(tt.args, "--proto", "upnp")...); exitCode(err) != tt.code || !strings.Contains(fmt.Sprint(err), tt.says) {
				t.Errorf("%q: %v, want exit code %d and %q", tt.args, err, tt.code, tt.says)
			}
		}
		run("unmap", "tcp", "6000", "--proto", "upnp", "--filter", home.Peers[0].String())
	})
	if left := leases(t, d); len(left) > 0 {
		t.Errorf("left over: %+v", left)
	}
	if _, err := clientCommand(t, home.LAN1, "announce", "--server", home.LAN2.Addr.String()); exitCode(err) != 4 {
		t.Errorf("where nobody listens: %v, want exit code 4", err)
	}
	for _, wrong := range [][]string{
		{"map", "sctq", "5000"},
		{"map", "256", "5000"},
		{"map", "sctp", "5000", "--proto", "natpmp"},
		{"map", "udp", "all", "--proto", "natpmp"},
		{"map", "udp", "5000", "--count", "2", "--proto", "natpmp"},
		{"map", "udp", "0"},
		{"map", "udp", "65536"},
		{"announce", "--proto", "ssdp"},
		{"announce", "--proto", "upnp", "--ipv6"},
		{"map", "udp", "1", "--nonce", "12"},
		{"map", "udp", "1", "--filter", "peer"},
		{"external", "--proto", "natpmp", "--ipv6"},
		{"announce", "--server", "router"},
	} {
		if _, err := clientCommand(t, home.LAN1, wrong...); exitCode(err) != 2 {
			t.Errorf("%q: %v, want exit code 2", wrong, err)
		}
	}
}
