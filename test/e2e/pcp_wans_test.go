package e2e_test

import (
	"net/netip"
	"testing"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/pcp"
	"github.com/portreeve/portreeve/test/lab"
)

// The hosts of a LAN whose mappings are made on a named WAN are told the address of that one, by each protocol, and those
// of other LANs that of the default route.
func TestNamedWANIsTold(t *testing.T) {
	t.Parallel()
	home := lab.New(t, lab.Options{SecondWAN: true})
	guestRouter, guest := withGuests(t, home)
	home.StartDaemon(t, lab.DaemonOptions{Config: `
[wan]
interfaces = ["wan0", "wan1"]
[lan]
interfaces = ["br-lan", "guest0"]
wan = { guest0 = "wan1" }
`})
	usual, guests := pcpClient4(t, home, home.LAN1), pcpClient(t, home.LAN2, guest, guestRouter)
	for port, tt := range map[uint16]struct {
		client *pcp.Client
		want   netip.Addr
	}{5000: {guests, home.Second.Addr}, 5001: {usual, home.WAN}} {
		if r := mustMap(t, tt.client, mapRequest(lease.UDP, port, port)); r.External != at(tt.want, port) {
			t.Errorf("PCP tells %s, want %s", r.External, at(tt.want, port))
		}
		if r, err := tt.client.PMPAddress(t.Context()); err != nil || r.Addr != tt.want {
			t.Errorf("NAT-PMP tells %s (%v), want %s", r.Addr, err, tt.want)
		}
	}
	// And by UPnP.
	for router, tt := range map[netip.Addr]struct {
		host *lab.Host
		want netip.Addr
	}{home.Router.Addr: {home.LAN1, home.WAN}, guestRouter: {home.LAN2, home.Second.Addr}} {
		code, reply, err := call(t.Context(), tt.host, router.String(), wanIP1, "GetExternalIPAddress", nil)
		if got := element(reply, "NewExternalIPAddress"); err != nil || code != 0 || got != tt.want.String() {
			t.Errorf("UPnP at %s tells %q (%d, %v), want %s", router, got, code, err, tt.want)
		}
	}
	home.LAN2.Echo(t, "udp", at(guest, 5000).String())
	home.LAN2.Run(t, "ip", "route", "replace", "default", "via", guestRouter.String(), "dev", "eth9")
	lab.Probe{Network: "udp", From: home.Internet, Local: at(home.Second.Gateway, 0), To: at(home.Second.Addr, 5000)}.MustReach(t)
	// Another address of one line is no news on the LANs of the other.
	lan, others := home.LAN2.Capture(t), home.LAN1.Capture(t)
	home.Router.Run(t, "ip", "addr", "del", home.Second.Addr.String()+"/24", "dev", "wan1")
	home.Router.Run(t, "ip", "addr", "add", "81.3.70.77/24", "dev", "wan1")
	told := mustAddr("81.3.70.77")
	if r := announced(t, lan, guestRouter, func(m pcp.PMPAddressResponse) bool { return m.Addr == told }); r.Addr != told {
		t.Errorf("announced %+v", r)
	}
	for _, p := range others.Packets(func(p lab.Packet) bool { return p.Dst.Port() == pcp.ClientPort }) {
		r, err := pcp.ParseResponse(p.Payload)
		if m, ok := r.(pcp.PMPAddressResponse); err != nil || ok && m.Addr != home.WAN {
			t.Errorf("on the other LAN: %+v, %v", r, err)
		}
	}
}
