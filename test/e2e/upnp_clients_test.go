package e2e_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/huin/goupnp"
	"github.com/huin/goupnp/dcps/internetgateway1"
	"github.com/huin/goupnp/dcps/internetgateway2"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/test/lab"
)

// onlyUPnP is a configuration in which clients that know several protocols have one.
const onlyUPnP = "[pcp]\npcp = false\nnatpmp = false\n"

// upnpc -A and what belongs to it: a pinhole of one's own is opened, looked at, prolonged and closed, over IPv6 and over IPv4.
func TestUpnpcPinholes(t *testing.T) {
	t.Parallel()
	home, d := newHome(t, usual(), lab.DaemonOptions{})
	own, port := home.LAN1.Addr6.String(), uint16(5000)
	home.LAN1.Echo(t, "udp", at(home.LAN1.Addr6, port).String())
	probe := lab.Probe{Network: "udp", From: home.Internet, To: at(home.LAN1.Addr6, port)}
	for _, family := range []struct{ name, location string }{
		{"IPv6", "http://[" + home.Router.Addr6.String() + "]:49000/rootDesc.xml"},
		{"IPv4", "http://192.168.1.1:49000/rootDesc.xml"},
	} {
		upnpc := func(args ...string) string {
			return home.LAN1.Run(t, "upnpc", append([]string{"-u", family.location}, args...)...)
		}
		probe.MustNotReach(t)
		expect(t, upnpc("-S"), `FirewallEnabled: 1`, `Inbound Pinhole Allowed: 1`)
		out := upnpc("-A", "", "0", own, fmt.Sprint(port), "UDP", "600")
		found := regexp.MustCompile(`(?i)Pinhole ID = (\d+)`).FindStringSubmatch(out)
		if found == nil {
			t.Fatalf("%s: no pinhole:\n%s", family.name, out)
		}
		id := found[1]
		if again := upnpc("-A", "", "0", own, fmt.Sprint(port), "UDP", "1200"); !strings.Contains(again, "Pinhole ID = "+id) {
			t.Errorf("%s: the same again is another one than %s:\n%s", family.name, id, again)
		}
		if out, _ := home.LAN1.Output(t.Context(), "upnpc", "-u", family.location, "-C", id); !strings.Contains(out, "709") {
			t.Errorf("%s: before any packet:\n%s", family.name, out)
		}
		probe.MustReach(t)
		expect(t, upnpc("-C", id), `IsWorking = Yes`)
		expect(t, upnpc("-K", id), `Pinhole ID = `+id+` .*Packets [1-9]|`+id+`.*: *[1-9]\d*`)
		upnpc("-U", id, "3600")
		if l := leases(t, d); len(l) != 1 || l[0].RemainingSeconds < 3500 || l[0].Via != lease.OriginUPnP {
			t.Errorf("%s: after an update to an hour: %+v", family.name, l)
		}
		if out, err := home.LAN2.Output(t.Context(), "upnpc", "-u", family.location, "-D", id); err == nil && !strings.Contains(out, "606") {
			t.Errorf("%s: another host has deleted it:\n%s", family.name, out)
		}
		probe.MustReach(t)
		expect(t, upnpc("-G", "", "0", own, fmt.Sprint(port), "17"), `= 30$|: 30$`)
		upnpc("-D", id)
		home.MustForget(t, "udp", port)
		probe.MustNotReach(t)
		if out, _ := home.LAN1.Output(t.Context(), "upnpc", "-u", family.location, "-C", id); !strings.Contains(out, "704") {
			t.Errorf("%s: after it was deleted:\n%s", family.name, out)
		}
	}
}

// upnpc finds the gateway by IPv6 too, and maps its IPv4 address over it.
func TestUpnpcOverIPv6(t *testing.T) {
	t.Parallel()
	home, d := newHome(t, usual(), lab.DaemonOptions{})
	out := home.LAN1.Run(t, "upnpc", "-6", "-a", "192.168.1.10", "5001", "5000", "UDP", "600")
	expect(t, out, `http://\[[0-9a-f:]+(%\w+)?\]:49000/`, `:5000 UDP is redirected to internal 192\.168\.1\.10:5001`)
	home.LAN1.Echo(t, "udp", "192.168.1.10:5001")
	lab.Probe{Network: "udp", From: home.Internet, To: at(home.WAN, 5000)}.MustReach(t)
	if out, err := home.LAN1.Output(t.Context(), "upnpc", "-6", "-a", "192.168.1.11", "5001", "5001", "UDP", "600"); err == nil && !strings.Contains(out, "606") {
		t.Errorf("a mapping for another host:\n%s", out)
	}
	home.LAN1.Run(t, "upnpc", "-6", "-d", "5000", "UDP")
	if left := leases(t, d); len(left) != 0 {
		t.Errorf("left over: %+v", left)
	}
}

// useGoupnpVersions looks for a version of the gateway and tells what the description is that it is led to, and what a client of
// that version can do there for args[0].
func useGoupnpVersions(args []string) error {
	for version := 1; version <= 2; version++ {
		found, err := goupnp.DiscoverDevices(fmt.Sprint("urn:schemas-upnp-org:device:InternetGatewayDevice:", version))
		if err != nil || len(found) != 1 || found[0].Err != nil {
			return fmt.Errorf("IGD:%d: found %+v, error %w", version, found, err)
		}
		fmt.Println(version, found[0].Location.Path, found[0].Root.Device.DeviceType, found[0].Root.Device.UDN)
	}
	first, _, err := internetgateway1.NewWANIPConnection1Clients()
	if err != nil || len(first) != 1 {
		return fmt.Errorf("%d clients of WANIPConnection:1, error %w", len(first), err)
	}
	second, _, err := internetgateway2.NewWANIPConnection2Clients()
	if err != nil || len(second) != 1 {
		return fmt.Errorf("%d clients of WANIPConnection:2, error %w", len(second), err)
	}
	dialled, _, err := internetgateway2.NewWANPPPConnection1Clients()
	if err != nil || len(dialled) != 1 {
		return fmt.Errorf("%d clients of WANPPPConnection:1, error %w", len(dialled), err)
	}
	if err := first[0].AddPortMapping("", 6000, "UDP", 6001, args[0], true, "first", 600); err != nil {
		return err
	}
	port, err := second[0].AddAnyPortMapping("", 80, "UDP", 6002, args[0], true, "second", 0)
	if err != nil {
		return err
	}
	external, err := dialled[0].GetExternalIPAddress()
	if err != nil {
		return err
	}
	fmt.Println(port, external)
	return nil
}

// goupnp, the library of Tailscale, go-ethereum, go-libp2p and others, finds each version, and the same device in both.
func TestGoupnpVersions(t *testing.T) {
	t.Parallel()
	home, d := newHome(t, usual(), lab.DaemonOptions{})
	lines := strings.Split(goClient(t, home.LAN1, "goupnp-versions", "192.168.1.10"), "\n")
	if len(lines) != 3 {
		t.Fatalf("got %q", lines)
	}
	for i, want := range []string{"1 /rootDesc.xml urn:schemas-upnp-org:device:InternetGatewayDevice:1 uuid:", "2 /rootDesc2.xml urn:schemas-upnp-org:device:InternetGatewayDevice:2 uuid:"} {
		if !strings.HasPrefix(lines[i], want) {
			t.Errorf("got %q, want %q", lines[i], want)
		}
	}
	if a, b := strings.Fields(lines[0]), strings.Fields(lines[1]); a[3] != b[3] {
		t.Errorf("two devices: %s and %s", a[3], b[3])
	}
	expect(t, lines[2], `^\d{4,5} `+regexp.QuoteMeta(home.WAN.String())+`$`)
	for _, port := range []uint16{6001, 6002} {
		home.LAN1.Echo(t, "udp", at(home.LAN1.Addr, port).String())
	}
	all := leases(t, d)
	if len(all) != 2 {
		t.Fatalf("leases %+v", all)
	}
	for _, l := range all {
		lab.Probe{Network: "udp", From: home.Internet, To: at(home.WAN, l.ExternalPort)}.MustReach(t)
	}
}

// GNOME's library finds the gateway by every kind of search, and the description of the version that it asks for.
func TestGSSDP(t *testing.T) {
	t.Parallel()
	home, _ := newHome(t, usual(), lab.DaemonOptions{})
	for target, path := range map[string]string{
		"upnp:rootdevice": "/rootDesc.xml",
		"urn:schemas-upnp-org:device:InternetGatewayDevice:1":   "/rootDesc.xml",
		"urn:schemas-upnp-org:device:InternetGatewayDevice:2":   "/rootDesc2.xml",
		"urn:schemas-upnp-org:service:WANIPConnection:1":        "/rootDesc.xml",
		"urn:schemas-upnp-org:service:WANIPConnection:2":        "/rootDesc2.xml",
		"urn:schemas-upnp-org:service:WANPPPConnection:1":       "/rootDescPPP.xml",
		"urn:schemas-upnp-org:service:WANIPv6FirewallControl:1": "/rootDesc.xml",
	} {
		out := home.LAN1.Run(t, "gssdp-discover", "-i", "eth0", "--timeout=2", "--target="+target)
		expect(t, out, regexp.QuoteMeta("http://192.168.1.1:49000"+path)+`$`)
		if !strings.Contains(out, target) {
			t.Errorf("%s is not what was found:\n%s", target, out)
		}
	}
}

// libtorrentUPnP is [libtorrentSession] with the other protocol.
func libtorrentUPnP() string {
	return strings.NewReplacer("'enable_natpmp': True, 'enable_upnp': False", "'enable_natpmp': False, 'enable_upnp': True",
		"{'enable_natpmp': False}", "{'enable_upnp': False}").Replace(libtorrentSession)
}

// The torrent client of qBittorrent, Deluge and many others, by UPnP.
func TestLibtorrentUPnP(t *testing.T) {
	t.Parallel()
	home, d := newHome(t, usual(), lab.DaemonOptions{Config: onlyUPnP})
	cmd := home.LAN1.Command(t.Context(), "/usr/bin/python3", "-c", libtorrentUPnP())
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = input.Close() // so it ends
		if err := cmd.Wait(); err != nil {
			t.Errorf("libtorrent: %v\n%s", err, output.String())
		}
		lab.Eventually(t, within, "the mappings are given back", func() error {
			if len(leases(t, d)) > 0 {
				return errStillThere
			}
			return nil
		})
	}()
	lab.Eventually(t, 2*within, "libtorrent's mappings", func() error {
		found := map[string]bool{}
		for _, l := range leases(t, d) {
			found[l.Protocol+" "+string(l.Via)] = l.InternalPort == 6881 && l.InternalAddress == home.LAN1.Addr
		}
		if !found["tcp upnp"] || !found["udp upnp"] {
			return fmt.Errorf("there is only %v", found)
		}
		return nil
	})
	lab.Eventually(t, within, "a connection", func() error {
		conn, err := home.Internet.Dial(t.Context(), "tcp", at(home.WAN, leaseOf(t, d, "tcp")).String())
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// leaseOf is the external port of the only lease of a protocol.
func leaseOf(t *testing.T, d *lab.Daemon, protocol string) uint16 {
	t.Helper()
	for _, l := range leases(t, d) {
		if l.Protocol == protocol {
			return l.ExternalPort
		}
	}
	t.Fatalf("no lease of %s", protocol)
	return 0
}

// miniupnpcSession is what a program in Python does with the library of upnpc.
const miniupnpcSession = `
import miniupnpc
u = miniupnpc.UPnP()
u.discoverdelay = 500
print(u.discover() > 0, u.selectigd(), u.lanaddr, u.externalipaddress(), u.statusinfo()[0], u.connectiontype())
print(u.addportmapping(7000, 'UDP', u.lanaddr, 7001, 'caf\u00e9', '', 600))
print(u.getspecificportmapping(7000, 'UDP')[:4])
print(u.addanyportmapping(80, 'UDP', u.lanaddr, 7002, 'any', '') not in (0, 80))
i = 0
while u.getgenericportmapping(i):
	i += 1
print(i)
`

// Debian's python3-miniupnpc.
func TestPythonMiniupnpc(t *testing.T) {
	t.Parallel()
	home, _ := newHome(t, usual(), lab.DaemonOptions{})
	home.LAN1.Echo(t, "udp", "192.168.1.10:7001")
	out := home.LAN1.Run(t, "/usr/bin/python3", "-c", miniupnpcSession)
	expect(t, out, `^True http://192\.168\.1\.1:49000/ctl/IPConn 192\.168\.1\.10 81\.2\.69\.10 Connected IP_Routed$`, `^True$`,
		`^\('192\.168\.1\.10', 7001, 'caf.', True\)$`, `^2$`)
	lab.Probe{Network: "udp", From: home.Internet, To: at(home.WAN, 7000)}.MustReach(t)
}

// The setting of the version: one of them is all that anybody finds, but for those who stumble over the second.
func TestIGDVersionSetting(t *testing.T) {
	t.Parallel()
	for version, want := range map[int]struct{ other, path string }{1: {"", "/rootDesc.xml"}, 2: {"/rootDesc2.xml", "/rootDesc2.xml"}} {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			t.Parallel()
			home, _ := newHome(t, usual(), lab.DaemonOptions{Config: fmt.Sprintf("[igd]\nversion = %d\n", version)})
			search := func(target string) string {
				return home.LAN1.Run(t, "gssdp-discover", "-i", "eth0", "--timeout=2", "--target="+target)
			}
			const device = "urn:schemas-upnp-org:device:InternetGatewayDevice:"
			expect(t, search("upnp:rootdevice"), regexp.QuoteMeta("http://192.168.1.1:49000"+want.path)+`$`)
			expect(t, search(fmt.Sprint(device, version)), regexp.QuoteMeta("http://192.168.1.1:49000"+want.path)+`$`)
			// A device of version 2 answers for version 1 as well (UDA 1.1, section 1.3.2), but not the other way round.
			if out := search(fmt.Sprint(device, 3-version)); want.other == "" && strings.Contains(out, "49000") || want.other != "" && !strings.Contains(out, want.other) {
				t.Errorf("a search for the other version finds\n%s", out)
			}
			for _, path := range []string{"/rootDesc.xml", "/rootDesc2.xml"} {
				if text := (console{home.LAN1, "syncthing/1.27"}).read(t, path); !strings.Contains(text, fmt.Sprint(device, version, "<")) {
					t.Errorf("at %s:\n%s", path, text)
				}
			}
			console{home.LAN2, "FDSSDP"}.mustSeeVersion1(t)
		})
	}
}

// A port of a host may have several pinholes, each for other peers; each is closed for itself, and they survive a restart.
func TestPinholesForSeveralPeers(t *testing.T) {
	t.Parallel()
	inAll(t, func(t *testing.T, f flavour) {
		home := f.home(t)
		state := t.TempDir()
		d := f.start(t, home, lab.DaemonOptions{StateDir: state})
		home.LAN1.Echo(t, "udp", at(home.LAN1.Addr6, 5000).String())
		upnpc := func(args ...string) string {
			out, _ := home.LAN1.Output(t.Context(), "upnpc", append([]string{"-u", "http://192.168.1.1:49000/rootDesc.xml"}, args...)...)
			return out
		}
		open := func(peer, port string) string {
			out := upnpc("-A", peer, port, home.LAN1.Addr6.String(), "5000", "UDP", "600")
			if found := regexp.MustCompile(`Pinhole ID = (\d+)`).FindStringSubmatch(out); found != nil {
				return found[1]
			}
			return out
		}
		probe := func(peer int) lab.Probe {
			return lab.Probe{Network: "udp", From: home.Internet, Local: at(home.Peers6[peer], 4000), To: at(home.LAN1.Addr6, 5000)}
		}
		first := open(home.Peers6[0].String(), "0")
		probe(0).MustReach(t)
		probe(1).MustNotReach(t)
		second := open(home.Peers6[1].String(), "4000")
		if first == second || len(leases(t, d)) != 2 {
			t.Fatalf("pinholes %s and %s, leases %+v", first, second, leases(t, d))
		}
		probe(0).MustReach(t)
		probe(1).MustReach(t)
		for name, again := range map[string]string{"for everybody": open("", "0"), "for one port of the first peer": open(home.Peers6[0].String(), "4000")} {
			if !strings.Contains(again, "701") {
				t.Errorf("another one %s:\n%s", name, again)
			}
		}
		if err := d.Stop(); err != nil {
			t.Fatal(err)
		}
		d = f.start(t, home, lab.DaemonOptions{StateDir: state})
		probe(0).MustReach(t)
		probe(1).MustReach(t)
		expect(t, upnpc("-D", first), `returned : 0|: 0`)
		lab.Eventually(t, within, "what came through it ends", func() error {
			if out := home.Router.Run(t, "conntrack", "-L", "-f", "ipv6", "-p", "udp", "--orig-src", home.Peers6[0].String()); out != "" {
				return errorText(out)
			}
			return nil
		})
		probe(0).MustNotReach(t)
		probe(1).MustReach(t)
		if left := leases(t, d); len(left) != 1 {
			t.Errorf("left %+v", left)
		}
	})
}
