package e2e_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/portreeve/portreeve/test/lab"
)

// console is a client that says what it is.
type console struct {
	host  *lab.Host
	agent string
}

// read fetches a description.
func (c console) read(t *testing.T, path string) string {
	t.Helper()
	return c.do(t, http.MethodGet, path, "", "")
}

func (c console) do(t *testing.T, method, path, action, body string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://192.168.1.1:49000"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("User-Agent", c.agent)
	if action != "" {
		req.Header.Set("Content-Type", `text/xml; charset="utf-8"`)
		req.Header.Set("SOAPAction", `"`+wanIP1+"#"+action+`"`)
	}
	client := http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DialContext: c.host.Dial, DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// ask calls an action and returns its fault, 0 if it has none.
func (c console) ask(t *testing.T, action string, args ...arg) int {
	t.Helper()
	var list strings.Builder
	for _, a := range args {
		fmt.Fprintf(&list, "<%s>%s</%s>", a.name, a.value, a.name)
	}
	reply := c.do(t, http.MethodPost, "/ctl/IPConn", action,
		`<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body><u:`+
			action+` xmlns:u="`+wanIP1+`">`+list.String()+`</u:`+action+`></s:Body></s:Envelope>`)
	code := element(reply, "errorCode")
	if code == "" {
		if !strings.Contains(reply, action+"Response") {
			t.Fatalf("%s: %s", action, reply)
		}
		return 0
	}
	n, err := strconv.Atoi(code)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// openPort asks for a port outside as a game does: it looks whether it is free, and takes the next one if it is refused.
func (c console) openPort(t *testing.T, port int) (external int) {
	t.Helper()
	for external = port; external < port+5; external++ {
		if c.ask(t, "GetSpecificPortMappingEntry", which(external, "UDP")...) == 0 {
			continue // somebody else's
		}
		if c.ask(t, "AddPortMapping", mapping(external, "UDP", port, c.host.Addr.String(), "0")...) == 0 {
			if code := c.ask(t, "GetSpecificPortMappingEntry", which(external, "UDP")...); code != 0 {
				t.Errorf("%s: %d after it was opened", c.agent, code)
			}
			return external
		}
	}
	t.Fatalf("%s got no port", c.agent)
	return 0
}

// mustBeOpen expects what makes a NAT open: one port outside towards every peer, and peers that nobody has spoken to come in.
func (c console) mustBeOpen(t *testing.T, home *lab.Home, inside, outside int) {
	t.Helper()
	for _, peer := range home.Peers {
		probe := lab.Probe{Network: "udp", From: c.host, Local: at(c.host.Addr, uint16(inside)), To: at(peer, 9000)}
		if seen := probe.MustReach(t); seen != at(home.WAN, uint16(outside)) {
			t.Errorf("%s is %s to %s, want port %d", c.agent, seen, peer, outside)
		}
	}
	echo := c.host.Echo(t, "udp", at(c.host.Addr, uint16(inside)).String())
	lab.Probe{Network: "udp", From: home.Internet, Local: at(home.Peers[1], 5555), To: at(home.WAN, uint16(outside))}.MustReach(t)
	if err := echo.Close(); err != nil {
		t.Error(err)
	}
}

// mustSeeVersion1 expects that both descriptions are those of version 1.
func (c console) mustSeeVersion1(t *testing.T) {
	t.Helper()
	for _, path := range []string{"/rootDesc.xml", "/rootDesc2.xml"} {
		if text := c.read(t, path); strings.Contains(text, ":2</") || !strings.Contains(text, ":InternetGatewayDevice:1</") {
			t.Errorf("%s is shown at %s:\n%s", c.agent, path, text)
		}
	}
	if text := c.read(t, "/scpd/IPConn.xml"); strings.Contains(text, "AddAnyPortMapping") {
		t.Errorf("%s is shown the actions of version 2", c.agent)
	}
}

// Xbox and Teredo, two consoles with one game.
func TestXboxes(t *testing.T) {
	t.Parallel()
	inAll(t, func(t *testing.T, f flavour) {
		home, _ := newHome(t, f, lab.DaemonOptions{})
		home.Internet.Echo(t, "udp", "0.0.0.0:9000")
		const agent = "Xbox/10.0 UPnP/1.0"
		first, second := console{home.LAN1, agent}, console{home.LAN2, agent}
		first.mustSeeVersion1(t)
		if got := first.openPort(t, 3074); got != 3074 {
			t.Errorf("the first console has port %d, want 3074", got)
		}
		if code := second.ask(t, "AddPortMapping", mapping(3074, "UDP", 3074, "192.168.1.11", "0")...); code != 718 {
			t.Errorf("the second one got %d for the port of the first, want 718", code)
		}
		if got := second.openPort(t, 3074); got != 3075 {
			t.Errorf("the second console has port %d, want 3075", got)
		}
		first.mustBeOpen(t, home, 3074, 3074)
		second.mustBeOpen(t, home, 3074, 3075)
	})
}

// The system of a PlayStation wants UDP 9308 and tries nothing else, games want 3074 and do.
func TestPlayStations(t *testing.T) {
	t.Parallel()
	home, d := newHome(t, usual(), lab.DaemonOptions{})
	home.Internet.Echo(t, "udp", "0.0.0.0:9000")
	const agent = "PlayStation 4 UPnP/1.0"
	first, second := console{home.LAN1, agent}, console{home.LAN2, agent}
	first.mustSeeVersion1(t)
	if code := first.ask(t, "AddPortMapping", mapping(9308, "UDP", 9308, "192.168.1.10", "0")...); code != 0 {
		t.Fatalf("UDP 9308: %d", code)
	}
	if code := second.ask(t, "AddPortMapping", mapping(9308, "UDP", 9308, "192.168.1.11", "0")...); code != 718 {
		t.Errorf("the second console got %d for 9308, want 718: it must learn that it does not have it", code)
	}
	if l := leaseAt(t, d, "udp", 9308); l.InternalAddress != home.LAN1.Addr {
		t.Errorf("9308 leads to %s now", l.InternalAddress)
	}
	for _, c := range []console{first, second} {
		c.mustBeOpen(t, home, 3074, c.openPort(t, 3074))
	}
	first.mustBeOpen(t, home, 9308, 9308)
	if all := leases(t, d); len(all) != 3 {
		t.Errorf("leases %+v", all)
	}
}

// subscriber collects the events of a service on a LAN host.
type subscriber struct {
	mu     sync.Mutex
	events []string // bodies
}

func (s *subscriber) seen() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string{}, s.events...)
}

// subscribe subscribes a host to the events of a path.
func subscribe(t *testing.T, host *lab.Host, path string) *subscriber {
	t.Helper()
	s := &subscriber{}
	ln, err := host.Listen(t.Context(), "tcp", at(host.Addr, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.events = append(s.events, string(body))
	})}
	go func() { _ = server.Serve(ln) }() // until it is closed
	t.Cleanup(func() { _ = server.Close() })
	conn, err := host.Dial(t.Context(), "tcp", "192.168.1.1:49000")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "SUBSCRIBE %s HTTP/1.1\r\nHost: 192.168.1.1:49000\r\nCALLBACK: <http://%s:%s/>\r\nNT: upnp:event\r\nTIMEOUT: Second-1800\r\n\r\n", path, host.Addr, port)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("subscribe: %v, %v", resp, err)
	}
	defer resp.Body.Close()
	lab.Eventually(t, within, "the first event", func() error {
		if len(s.seen()) == 0 {
			return os.ErrDeadlineExceeded
		}
		return nil
	})
	return s
}

// The WAN gets another address. Within two seconds GetExternalIPAddress tells it, and one event that has it was sent.
func TestWANAddressChangeIsOneEvent(t *testing.T) {
	t.Parallel()
	home, _ := newHome(t, usual(), lab.DaemonOptions{})
	s := subscribe(t, home.LAN1, "/evt/IPConn")
	before := len(s.seen())
	begin := time.Now()
	home.Router.Run(t, "sh", "-c", "ip addr del "+home.WAN.String()+"/24 dev wan0; ip addr add 81.2.69.77/24 dev wan0; ip route replace default via "+home.Gateway.String()+" dev wan0")
	ctx, cancel := context.WithDeadline(t.Context(), begin.Add(20*time.Second))
	defer cancel()
	for ctx.Err() == nil && element(mustSOAP(t, home.LAN1, wanIP1, "GetExternalIPAddress", nil), "NewExternalIPAddress") != "81.2.69.77" {
		time.Sleep(20 * time.Millisecond)
	}
	told := time.Since(begin)
	evented := func() (n int) {
		for _, e := range s.seen()[before:] {
			if element(e, "ExternalIPAddress") == "81.2.69.77" {
				n++
			}
		}
		return n
	}
	lab.Eventually(t, within, "the event", func() error {
		if evented() == 0 {
			return os.ErrDeadlineExceeded
		}
		return nil
	})
	t.Logf("told after %s, by an event after %s", told, time.Since(begin))
	time.Sleep(time.Second) // for events that should not come
	if n := len(s.seen()) - before; n != 1 || evented() != 1 {
		t.Errorf("%d events, %d of them with the new address: %q", n, evented(), s.seen()[before:])
	}
}
