package igd_test

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/igd"
	"github.com/portreeve/portreeve/lease"
)

// The same home in IPv6: alice has two addresses, bob one.
const (
	alice6     = "2001:db8:1:1::10"
	aliceOther = "2001:db8:1:1:5054:ff:fe00:10"
	bob6       = "2001:db8:1:1::11"
)

func lan6() netip.Prefix { return netip.MustParsePrefix("2001:db8:1:1::1/64") }

// dualRouter is a router whose hosts have addresses of both families.
type dualRouter struct {
	*router
	six http.Handler
}

// addresses are the hosts by what the router sees of them.
func addresses() map[string][]string {
	return map[string][]string{
		"02:00:00:00:00:10": {alice6, alice, aliceOther, "fe80::10%lan0"},
		"02:00:00:00:00:11": {bob6, bob},
	}
}

func deviceOf(addr netip.Addr) string {
	for device, list := range addresses() {
		for _, a := range list {
			if netip.MustParseAddr(a) == addr {
				return device
			}
		}
	}
	return ""
}

func addrsOf(device string) (list []netip.Addr) {
	for _, a := range addresses()[device] {
		list = append(list, netip.MustParseAddr(a))
	}
	return list
}

func newDualRouter(t testing.TB, options ...func(*lease.Config)) dualRouter {
	t.Helper()
	r := newRouter(t, lan(), append(options, func(cfg *lease.Config) {
		cfg.Topology.LANs[0].Prefixes = append(cfg.Topology.LANs[0].Prefixes, lan6())
		if cfg.Device == nil {
			cfg.Device = deviceOf
		}
	})...)
	r.line.timeout = map[lease.Protocol]time.Duration{lease.UDP: 30 * time.Second, lease.TCP: 5 * 24 * time.Hour}
	r.server = newServer(t, r.manager, r.line, func(cfg *igd.Config) { cfg.Device, cfg.Addrs = deviceOf, addrsOf })
	r.handler = igd.Handler(t, r.server, lan())
	return dualRouter{r, igd.Handler(t, r.server, lan6())}
}

// ask calls an action over the family of the client.
func (r dualRouter) ask(client, path, namespace, action string, args ...arg) reply {
	r.t.Helper()
	req := request(client, path, namespace, action, body(namespace, action, args...))
	if !strings.Contains(client, ":") {
		return r.do(req)
	}
	req.RemoteAddr, req.Host = "["+client+"]:40000", "[2001:db8:1:1::1]:49000"
	four := r.handler
	r.handler = r.six
	defer func() { r.handler = four }()
	return r.do(req)
}

// pinhole are the arguments of AddPinhole.
func pinhole(remote, remotePort, client, port, protocol, duration string) []arg {
	return []arg{
		{"RemoteHost", remote},
		{"RemotePort", remotePort},
		{"InternalClient", client},
		{"InternalPort", port},
		{"Protocol", protocol},
		{"LeaseTime", duration},
	}
}

func (r dualRouter) firewall(client, action string, args ...arg) reply {
	r.t.Helper()
	return r.ask(client, ip6fCtl, w6fc1, action, args...)
}

// S30 and S31.
func TestAddPinhole(t *testing.T) {
	r := newDualRouter(t)
	id := r.firewall(alice6, "AddPinhole", pinhole("", "0", alice6, "8080", "6", "3600")...).values["UniqueID"]
	if id == "" || id == "0" {
		t.Fatalf("S30: the pinhole is number %q", id)
	}
	if again := r.firewall(alice6, "AddPinhole", pinhole("", "0", alice6, "8080", "6", "7200")...); again.values["UniqueID"] != id {
		t.Errorf("S30: the same pinhole again is number %q, want %q", again.values["UniqueID"], id)
	}
	left := r.manager.Snapshot().Leases[0]
	if left.Remaining(time.Now()) < time.Hour {
		t.Errorf("it has %s left, want two hours", left.Remaining(time.Now()))
	}
	for _, tt := range []struct {
		name   string
		client string
		args   []arg
		want   string
	}{
		{"S31: all protocols", alice6, pinhole("", "0", alice6, "8080", "65535", "60"), "707"},
		{"S31: all ports inside", alice6, pinhole("", "0", alice6, "0", "6", "60"), "706"},
		{"S31: no host", alice6, pinhole("", "0", "", "8080", "6", "60"), "708"},
		{"S31: any host", alice6, pinhole("", "0", "*", "8080", "6", "60"), "708"},
		{"S31: no lease", alice6, pinhole("", "0", alice6, "8080", "6", "0"), "402"},
		{"more than a day", alice6, pinhole("", "0", alice6, "8080", "6", "86401"), "402"},
		{"S31: another host", alice6, pinhole("", "0", bob6, "8080", "6", "60"), "606"},
		{"a low port", alice6, pinhole("", "0", alice6, "22", "6", "60"), "606"},
		{"a protocol without ports", alice6, pinhole("", "0", alice6, "8080", "1", "60"), "705"},
		{"a number that is no protocol", alice6, pinhole("", "0", alice6, "8080", "300", "60"), "705"},
		{"a name inside", alice6, pinhole("", "0", "console.example", "8080", "6", "60"), "402"},
		{"IPv4 inside", alice6, pinhole("", "0", alice, "8080", "6", "60"), "402"},
		{"mapped IPv4 inside", alice6, pinhole("", "0", "::ffff:192.168.1.10", "8080", "6", "60"), "402"},
		{"a link-local address", alice6, pinhole("", "0", "fe80::10", "8080", "6", "60"), "402"},
		{"an address with a zone", alice6, pinhole("", "0", "fe80::10%eth0", "8080", "6", "60"), "402"},
		{"the router itself", alice6, pinhole("", "0", "2001:db8:1:1::1", "8080", "6", "60"), "606"},
		{"a host of elsewhere", alice6, pinhole("", "0", "2001:db8:ffff::1", "8080", "6", "60"), "606"},
		{"a name outside", alice6, pinhole("peer.example", "0", alice6, "8080", "6", "60"), "402"},
		{"IPv4 outside", alice6, pinhole("198.51.100.7", "0", alice6, "8080", "6", "60"), "402"},
		{"a port that is none", alice6, pinhole("", "65536", alice6, "8080", "6", "60"), "402"},
		{"another address of one's own", alice6, pinhole("", "0", aliceOther, "8080", "6", "60"), "200"},
		{"over IPv4 for one's own", alice, pinhole("", "0", alice6, "8081", "17", "60"), "200"},
		{"over IPv4 for another host", alice, pinhole("", "0", bob6, "8081", "17", "60"), "606"},
		{"one peer with one port", bob6, pinhole("2001:db8:a::34", "443", bob6, "8080", "17", "60"), "200"},
		{"any peer with one port", bob6, pinhole("", "443", bob6, "8081", "17", "60"), "200"},
		{"no port is any", bob6, pinhole("*", "", bob6, "8082", "17", "60"), "200"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := r.firewall(tt.client, "AddPinhole", tt.args...); got.String() != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
	want := []string{
		"tcp [2001:db8:1:1::10]:8080", "tcp [2001:db8:1:1:5054:ff:fe00:10]:8080", "udp [2001:db8:1:1::10]:8081",
		"udp [2001:db8:1:1::11]:8080", "udp [2001:db8:1:1::11]:8081", "udp [2001:db8:1:1::11]:8082",
	}
	if diff := cmp.Diff(want, r.mappings()); diff != "" {
		t.Errorf("pinholes (-want +got):\n%s", diff)
	}
	one, anybody := r.manager.Snapshot().Leases[3], r.manager.Snapshot().Leases[4]
	wantFilters := [][]lease.Filter{
		{{Prefix: netip.MustParsePrefix("2001:db8:a::34/128"), Port: 443}}, {{Prefix: netip.MustParsePrefix("::/0"), Port: 443}},
	}
	if diff := cmp.Diff(wantFilters, [][]lease.Filter{one.Filters, anybody.Filters}, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("filters (-want +got):\n%s", diff)
	}
}

// S32.
func TestPinholeByNumber(t *testing.T) {
	r := newDualRouter(t)
	number := func(id string) arg { return arg{"UniqueID", id} }
	id := number(r.firewall(alice6, "AddPinhole", pinhole("", "0", alice6, "8080", "6", "600")...).values["UniqueID"])
	unknown := number("4711")
	life := func(seconds string) arg { return arg{"NewLeaseTime", seconds} }
	for _, tt := range []struct {
		name, client, action string
		args                 []arg
		want                 string
	}{
		{"unknown", alice6, "UpdatePinhole", []arg{unknown, life("60")}, "704"},
		{"S32: unknown", alice6, "DeletePinhole", []arg{unknown}, "704"},
		{"unknown", alice6, "GetPinholePackets", []arg{unknown}, "704"},
		{"unknown", alice6, "CheckPinholeWorking", []arg{unknown}, "704"},
		{"another's", bob6, "UpdatePinhole", []arg{id, life("60")}, "606"},
		{"another's", bob6, "DeletePinhole", []arg{id}, "606"},
		{"another's", bob6, "GetPinholePackets", []arg{id}, "606"},
		{"another's", bob6, "CheckPinholeWorking", []arg{id}, "606"},
		{"no lease", alice6, "UpdatePinhole", []arg{id, life("0")}, "402"},
		{"longer", alice6, "UpdatePinhole", []arg{id, life("86400")}, "200"},
		{"no packets yet", alice6, "CheckPinholeWorking", []arg{id}, "709"},
		{"from another address of one's own", aliceOther, "UpdatePinhole", []arg{id, life("60")}, "200"},
		{"over IPv4", alice, "GetPinholePackets", []arg{id}, "200"},
	} {
		if got := r.firewall(tt.client, tt.action, tt.args...); got.String() != tt.want {
			t.Errorf("%s by %s, %s: got %s, want %s", tt.action, tt.client, tt.name, got, tt.want)
		}
	}
	if left := r.manager.Snapshot().Leases[0].Remaining(time.Now()); left > time.Minute {
		t.Errorf("%s are left after an update to a minute", left)
	}
	r.line.packets = 1<<32 + 5
	if got := r.firewall(alice6, "GetPinholePackets", id).values["PinholePackets"]; got != "5" {
		t.Errorf("%s packets, want 5: the counter wraps", got)
	}
	if got := r.firewall(alice6, "CheckPinholeWorking", id); got.values["IsWorking"] != "1" {
		t.Errorf("with packets: %s %v", got, got.values)
	}
	if got := r.firewall(alice6, "DeletePinhole", id); got.String() != "200" || len(r.mappings()) != 0 {
		t.Errorf("delete: %s, left %v", got, r.mappings())
	}
	if got := r.firewall(alice6, "DeletePinhole", id); got.String() != "704" {
		t.Errorf("delete it again: %s", got)
	}
}

func TestPinholeOfPCP(t *testing.T) {
	r := newDualRouter(t)
	end := netip.MustParseAddrPort("[" + alice6 + "]:8080")
	_, err := r.manager.Open(t.Context(), lease.Request{
		Mapping: lease.Mapping{Protocol: lease.TCP, External: end, Internal: end}, Origin: lease.OriginPCP, Client: end.Addr(),
		Key: lease.ByInternal, Lifetime: time.Hour, Nonce: lease.Nonce{1},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := r.firewall(alice6, "AddPinhole", pinhole("", "0", alice6, "8080", "6", "60")...)
	id := arg{"UniqueID", got.values["UniqueID"]}
	if got.String() != "200" || len(r.mappings()) != 1 {
		t.Errorf("asking for what PCP has opened: %s, now %v", got, r.mappings())
	}
	if left := r.manager.Snapshot().Leases[0].Remaining(time.Now()); left < 50*time.Minute {
		t.Errorf("it was shortened to %s", left)
	}
	if got := r.firewall(alice6, "DeletePinhole", id); got.String() != "606" {
		t.Errorf("deleting what has a nonce: %s, want 606", got)
	}
}

func TestFirewallStatus(t *testing.T) {
	for allowed, change := range map[string]func(*lease.Config){
		"1": func(*lease.Config) {},
		"0": func(cfg *lease.Config) { cfg.Policy.DefaultDeny = true },
	} {
		r := newDualRouter(t, change)
		got := r.firewall(alice6, "GetFirewallStatus").values
		if diff := cmp.Diff(map[string]string{"FirewallEnabled": "1", "InboundPinholeAllowed": allowed}, got); diff != "" {
			t.Errorf("status (-want +got):\n%s", diff)
		}
		if got := r.firewall(alice6, "AddPinhole", pinhole("", "0", alice6, "8080", "6", "60")...); allowed == "0" && got.String() != "703" {
			t.Errorf("nobody may open anything: %s, want 703", got)
		}
		for _, tt := range []struct{ protocol, want string }{{"17", "30"}, {"6", "432000"}} {
			args := pinhole("2001:db8:a::34", "443", alice6, "50000", tt.protocol, "")[:5]
			if got := r.firewall(alice6, "GetOutboundPinholeTimeout", args...); got.values["OutboundPinholeTimeout"] != tt.want {
				t.Errorf("timeout of protocol %s: %s %v, want %s", tt.protocol, got, got.values, tt.want)
			}
		}
		for protocol, want := range map[string]string{"65535": "707", "1": "705"} {
			if got := r.firewall(alice6, "GetOutboundPinholeTimeout", pinhole("", "", alice6, "", protocol, "")[:5]...); got.String() != want {
				t.Errorf("timeout of protocol %s: %s, want %s", protocol, got, want)
			}
		}
	}
}

// js-libp2p's nat-port-mapper calls the actions on pinholes by the name of WANIPConnection:2, with an empty port.
func TestPinholeByAnotherName(t *testing.T) {
	r := newDualRouter(t)
	got := r.ask(alice6, "/ctl/2/IPConn", wipc2, "AddPinhole", pinhole("", "", alice6, "8080", "6", "600")...)
	if got.String() != "200" || got.space != wipc2 {
		t.Fatalf("got %s in %s", got, got.space)
	}
	id := arg{"UniqueID", got.values["UniqueID"]}
	if got := r.ask(alice6, "/ctl/2/IPConn", wipc2, "DeletePinhole", id); got.String() != "200" {
		t.Errorf("delete: %s", got)
	}
}

// Who calls over IPv6 is the same device as by IPv4.
func TestMappingOverIPv6(t *testing.T) {
	r := newDualRouter(t)
	for _, tt := range []struct {
		name   string
		client string
		action string
		args   []arg
		want   string
	}{
		{"for its own IPv4 address", alice6, "AddPortMapping", add("", "8080", "TCP", "8080", alice, "1", "t", "600"), "200"},
		{"for another host", alice6, "AddPortMapping", add("", "8081", "TCP", "8080", bob, "1", "t", "600"), "606"},
		{"without an address", bob6, "AddPortMapping", add("", "8082", "TCP", "8080", "", "1", "t", "600"), "200"},
		{"from an address that nobody knows", "2001:db8:1:1::99", "AddPortMapping", add("", "8083", "TCP", "8080", "", "1", "t", "600"), "715"},
		{"any port", aliceOther, "AddAnyPortMapping", add("", "8082", "TCP", "8080", alice, "1", "t", "600"), "200"},
		{"one's own", aliceOther, "GetListOfPortMappings", append(ports("1", "65535", "TCP", "0"), arg{"NewNumberOfPorts", "0"}), "200"},
		{"another's", alice6, "DeletePortMapping", key("", "8082", "TCP"), "606"},
		{"one's own", aliceOther, "DeletePortMapping", key("", "8080", "TCP"), "200"},
		{"all of one's own", alice6, "DeletePortMappingRange", ports("1", "65535", "TCP", "1"), "200"},
	} {
		if got := r.ask(tt.client, ipConn, wipc2, tt.action, tt.args...); got.String() != tt.want {
			t.Errorf("%s by %s, %s: got %s, want %s", tt.action, tt.client, tt.name, got, tt.want)
		}
	}
	if diff := cmp.Diff([]string{"tcp 8082 -> 192.168.1.11:8080"}, r.mappings()); diff != "" {
		t.Errorf("mappings (-want +got):\n%s", diff)
	}
}

// A host that has only spoken IPv6 with the router so far is asked for its IPv4 address before it is taken for another one.
func TestHostIsAskedForItsOtherAddress(t *testing.T) {
	met := map[netip.Addr]bool{}
	device := func(addr netip.Addr) string {
		if addr.Is4() && !met[addr] {
			return ""
		}
		return deviceOf(addr)
	}
	r := newDualRouter(t, func(cfg *lease.Config) { cfg.Device = device })
	r.server = newServer(t, r.manager, r.line, func(cfg *igd.Config) {
		cfg.Device, cfg.Addrs = device, addrsOf
		cfg.Present = func(_ context.Context, addr netip.Addr) bool { met[addr] = true; return true }
	})
	r.six = igd.Handler(t, r.server, lan6())
	for _, tt := range []struct{ client, want string }{{alice, "200"}, {bob, "606"}} {
		got := r.ask(alice6, ipConn, wipc1, "AddPortMapping", add("", "8080", "TCP", "8080", tt.client, "1", "t", "600")...)
		if got.String() != tt.want {
			t.Errorf("for %s: got %s, want %s", tt.client, got, tt.want)
		}
	}
	r.ask(alice6, ipConn, wipc1, "AddPortMapping", add("", "8081", "TCP", "8080", "192.168.2.9", "1", "t", "600")...)
	if len(met) != 3 {
		t.Errorf("asked for %v", met)
	}
}
