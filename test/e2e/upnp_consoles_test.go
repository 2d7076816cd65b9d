package e2e_test

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
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
