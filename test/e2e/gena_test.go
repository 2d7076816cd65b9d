package e2e_test

import (
	"bufio"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/portreeve/portreeve/test/lab"
)

// event is what a subscriber was told.
type event struct {
	sid, seq, from string
	values         map[string]string
}

// subscribers listens on an address of a host for events.
func subscribers(t *testing.T, host *lab.Host, addr netip.AddrPort) <-chan event {
	t.Helper()
	ln, err := host.Listen(t.Context(), "tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	events := make(chan event, 1000)
	server := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var set struct {
			Properties []struct {
				Variables []struct {
					XMLName xml.Name
					Text    string `xml:",chardata"`
				} `xml:",any"`
			} `xml:"property"`
		}
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = xml.Unmarshal(body, &set)
		}
		if err != nil {
			t.Errorf("%v in %s", err, body)
		}
		e := event{r.Header.Get("SID"), r.Header.Get("SEQ"), r.RemoteAddr, map[string]string{}}
		for _, p := range set.Properties {
			for _, v := range p.Variables {
				e.values[v.XMLName.Local] = v.Text
			}
		}
		events <- e
	})}
	done := make(chan error, 1)
	go func() { done <- server.Serve(ln) }()
	t.Cleanup(func() {
		_ = server.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return events
}

// gena sends a request of GENA from a host to the router's address and returns the status and the head of the answer.
func gena(ctx context.Context, from *lab.Host, router netip.Addr, method, path string, header map[string]string) (int, http.Header, error) {
	to := netip.AddrPortFrom(router, 49000).String()
	req, err := http.NewRequestWithContext(ctx, method, "http://host"+path, http.NoBody)
	if err != nil {
		return 0, nil, err
	}
	req.Host = netip.AddrPortFrom(router.WithZone(""), 49000).String()
	for name, value := range header {
		req.Header[name] = []string{value}
	}
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return from.Dial(ctx, "tcp", to) },
	}}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	return resp.StatusCode, resp.Header, resp.Body.Close()
}

// subscribe subscribes to the events at a path, or ends the test.
func subscribe(t *testing.T, from *lab.Host, router netip.Addr, path string, callback netip.AddrPort) string {
	t.Helper()
	status, head, err := gena(t.Context(), from, router, "SUBSCRIBE", path, map[string]string{
		"CALLBACK": "<http://" + netip.AddrPortFrom(callback.Addr().WithZone(""), callback.Port()).String() + "/>", "NT": "upnp:event", "TIMEOUT": "Second-1800",
	})
	if err != nil {
		t.Fatal(err)
	}
	if status != http.StatusOK || head.Get("SID") == "" {
		t.Fatalf("subscribing to %s: %d", path, status)
	}
	return head.Get("SID")
}

// nextEvent waits for one that holds.
func nextEvent(t *testing.T, events <-chan event, what string) event {
	t.Helper()
	select {
	case e := <-events:
		return e
	case <-time.After(within):
		t.Fatalf("no event: %s", what)
		return event{}
	}
}

// When the address outside changes, a subscriber is told once, and who asks is told the same. Mappings and their ends are told
// as well.
func TestEventsOfTheLine(t *testing.T) {
	t.Parallel()
	home, _ := newHome(t, usual(), lab.DaemonOptions{})
	callback := at(home.LAN1.Addr, 7000)
	events := subscribers(t, home.LAN1, callback)
	sid := subscribe(t, home.LAN1, home.Router.Addr, "/evt/IPConn", callback)
	first := nextEvent(t, events, "the first one")
	if first.sid != sid || first.seq != "0" || first.values["ExternalIPAddress"] != home.WAN.String() || first.values["ConnectionStatus"] != "Connected" ||
		!strings.HasPrefix(first.from, home.Router.Addr.String()+":") {
		t.Errorf("first event %v", first)
	}
	mustSOAP(t, home.LAN2, wanIP1, "AddPortMapping", mapping(5000, "UDP", 5000, "192.168.1.11", "0"))
	if e := nextEvent(t, events, "a mapping"); e.seq != "1" || e.values["PortMappingNumberOfEntries"] != "1" || len(e.values) != 1 {
		t.Errorf("after a mapping: %v", e)
	}

	addr := mustAddr("81.2.70.99") // of another subnet, or it would go together with the old one
	home.Router.Run(t, "ip", "addr", "add", addr.String()+"/24", "dev", "wan0")
	home.Router.Run(t, "ip", "addr", "del", home.WAN.String()+"/24", "dev", "wan0")
	e := nextEvent(t, events, "the address")
	if e.seq != "2" || e.values["ExternalIPAddress"] != addr.String() || len(e.values) != 1 {
		t.Errorf("after another address: %v", e)
	}
	if got := element(mustSOAP(t, home.LAN1, wanIP1, "GetExternalIPAddress", nil), "NewExternalIPAddress"); got != addr.String() {
		t.Errorf("told when asked: %s", got)
	}
	mustSOAP(t, home.LAN2, wanIP1, "DeletePortMapping", which(5000, "UDP"))
	if e := nextEvent(t, events, "no mapping"); e.seq != "3" || e.values["PortMappingNumberOfEntries"] != "0" {
		t.Errorf("the address was not told once: %v", e)
	}
}

// A host may subscribe over one family and listen on the other, as aMule does; by link-local addresses too. Nobody may have
// others called (CVE-2020-12695).
func TestCallbacksOfBothFamilies(t *testing.T) {
	t.Parallel()
	home, _ := newHome(t, usual(), lab.DaemonOptions{})
	local := home.LAN1.LinkLocal(t, "eth0")
	router := zoned(home.Router.LinkLocal(t, "br-lan"), local)
	all := []netip.Addr{home.LAN1.Addr, home.LAN1.Addr6, local}
	for i, asked := range []netip.Addr{home.Router.Addr, home.Router.Addr6, router} {
		for j, listens := range all {
			callback := at(listens, uint16(7000+10*i+j))
			events := subscribers(t, home.LAN1, callback)
			sid := subscribe(t, home.LAN1, asked, "/evt/L3F", callback)
			if e := nextEvent(t, events, fmt.Sprintf("%s at %s", asked, callback)); e.sid != sid || e.values["DefaultConnectionService"] == "" {
				t.Errorf("%s at %s: %v", asked, callback, e)
			}
		}
	}
	heard := home.LAN2.Capture(t)
	outside := home.Internet.Capture(t)
	for _, victim := range []netip.AddrPort{
		at(home.LAN2.Addr, 80), at(home.LAN2.Addr6, 80), at(home.Peers[0], 80), at(home.Gateway, 80), at(home.Router.Addr, 49000),
		at(mustAddr("192.168.1.255"), 80), at(mustAddr("127.0.0.1"), 80), at(mustAddr("::1"), 80), at(mustAddr("::ffff:192.168.1.11"), 80),
	} {
		status, _, err := gena(t.Context(), home.LAN1, home.Router.Addr, "SUBSCRIBE", "/evt/L3F", map[string]string{
			"CALLBACK": "<http://" + victim.String() + "/>", "NT": "upnp:event",
		})
		if err != nil || status != http.StatusPreconditionFailed {
			t.Errorf("callback %s: %d, %v", victim, status, err)
		}
	}
	called := func(p lab.Packet) bool { return p.Network == "tcp" && p.Dst.Port() == 80 }
	if n := len(heard.Packets(called)) + len(outside.Packets(called)); n != 0 {
		t.Errorf("%d packets went to others", n)
	}
}

// A LAN that is made anew does not cost its subscriptions.
func TestSubscriptionsSurviveANewBridge(t *testing.T) {
	t.Parallel()
	home, _ := newHome(t, usual(), lab.DaemonOptions{})
	callback := at(home.LAN1.Addr, 7000)
	events := subscribers(t, home.LAN1, callback)
	subscribe(t, home.LAN1, home.Router.Addr, "/evt/IPConn", callback)
	nextEvent(t, events, "the first one")
	home.Router.Run(t, "ip", "link", "del", "br-lan")
	home.Router.Run(t, "ip", "link", "add", "br-lan", "address", "02:00:00:00:00:01", "type", "bridge")
	home.Router.Run(t, "ip", "addr", "add", "192.168.1.1/24", "dev", "br-lan")
	home.Router.Run(t, "ip", "link", "set", "br-lan", "up")
	for _, port := range []string{"lan1", "lan2"} {
		home.Router.Run(t, "ip", "link", "set", port, "master", "br-lan", "up")
	}
	lab.Eventually(t, within, "a mapping is opened", func() error {
		code, _, err := call(t.Context(), home.LAN1, "192.168.1.1", wanIP1, "AddPortMapping", mapping(5000, "UDP", 5000, "192.168.1.10", "0"))
		if err == nil && code != 0 {
			err = fmt.Errorf("code %d", code)
		}
		return err
	})
	for {
		if e := nextEvent(t, events, "a mapping"); e.values["PortMappingNumberOfEntries"] == "1" {
			return
		}
	}
}

// GUPnP, by which GNOME and others are control points: it finds the gateway, subscribes to its services, and is told
// everything and then of a mapping.
func TestGUPnPIsTold(t *testing.T) {
	t.Parallel()
	home, _ := newHome(t, usual(), lab.DaemonOptions{})
	ctx, cancel := context.WithTimeout(t.Context(), 4*within)
	defer cancel()
	client := home.LAN1.Command(ctx, "/usr/bin/python3", "testdata/gupnp_events.py")
	var out, complaints strings.Builder
	client.Stderr = &complaints
	pipe, err := client.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	opened := false
	for lines := bufio.NewScanner(pipe); lines.Scan(); {
		fmt.Fprintln(&out, lines.Text())
		if lines.Text() == "told of everything" && !opened {
			opened = true
			mustSOAP(t, home.LAN2, wanIP1, "AddPortMapping", mapping(5000, "UDP", 5000, "192.168.1.11", "0"))
		}
	}
	if err := client.Wait(); err != nil {
		t.Errorf("%v\n%s", err, &complaints)
	}
	expect(t, out.String(),
		`^WANIPConnection:1 ExternalIPAddress 81\.2\.69\.10$`, `^WANIPConnection:1 PortMappingNumberOfEntries 0$`,
		`^WANIPConnection:1 PortMappingNumberOfEntries 1$`, `^WANCommonInterfaceConfig:1 PhysicalLinkStatus Up$`,
		`^Layer3Forwarding:1 DefaultConnectionService uuid:`)
}

// The control points of npm's upnp-device-client, which many programs of Node.js use, take events and never answer them. What is
// in one they find only where devices leave out the prefixes of the specification's examples, so it is empty here.
func TestUPnPDeviceClientIsTold(t *testing.T) {
	t.Parallel()
	folder, err := filepath.Abs(filepath.Join("..", "..", "build", "upnp-device-client", "node_modules"))
	if err != nil {
		t.Fatal(err)
	}
	home, _ := newHome(t, usual(), lab.DaemonOptions{})
	ctx, cancel := context.WithTimeout(t.Context(), 2*within)
	defer cancel()
	client := home.LAN1.Command(ctx, "node", "-e", `
const Client = require('upnp-device-client');
const client = new Client('http://192.168.1.1:49000/rootDesc.xml');
client.on('error', (err) => { console.error(err); process.exit(1); });
client.subscribe('urn:upnp-org:serviceId:L3Forwarding1', (event) => {
	console.log(JSON.stringify(event));
	process.exit(0);
});`)
	client.Env = append(client.Env, "NODE_PATH="+folder)
	var complaints strings.Builder
	client.Stderr = &complaints
	out, err := client.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, &complaints)
	}
	expect(t, string(out), `^\{.*\}$`)
}
