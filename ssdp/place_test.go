package ssdp

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func prefixes(texts ...string) (list []netip.Prefix) {
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

func TestWhichAddressesAreAnnounced(t *testing.T) {
	const link, site = " to [ff02::c]:1900", " to [ff05::c]:1900"
	tests := []struct {
		name     string
		prefixes []netip.Prefix
		want     []string
	}{
		{"IPv4", prefixes("192.168.1.1/24", "10.9.0.1/16"), []string{"192.168.1.1 to 239.255.255.250:1900"}},
		{"link-local alone", prefixes("fe80::1/64"), []string{"fe80::1" + link}},
		{"global", prefixes("2001:db8::1/64", "fe80::1/64"), []string{"fe80::1" + link, "2001:db8::1" + site}},
		{"unique local before global", prefixes("fd00::1/64", "2001:db8::1/64", "fe80::1/64"), []string{"fe80::1" + link, "2001:db8::1" + site}},
		{"unique local", prefixes("fd00::1/64", "fe80::1/64"), []string{"fe80::1" + link, "fd00::1" + site}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, voices, err := places(tt.prefixes)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, v := range voices {
				got = append(got, v.from.String()+" to "+v.group.String())
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error("announced (-want +got):\n" + diff)
			}
		})
	}
}

// Whoever asks with a link-local address is told a link-local one, everybody else the one of its own subnet
// (UDA 2.0, annex A).
func TestWhoIsAnsweredOverIPv6(t *testing.T) {
	s, err := New(config())
	if err != nil {
		t.Fatal(err)
	}
	r := responderOn(t, s, Interface{Name: "lan0", Index: 7, Prefixes: prefixes("2001:db8::1/64", "fd00::1/64", "fe80::1/64")})
	tests := []struct{ name, src, dst, location string }{
		{"link-local asks the link", "[fe80::10%lan0]:50000", "ff02::c", "http://[fe80::1]:49000/rootDesc.xml"},
		{"global asks the link", "[2001:db8::10]:50000", "ff02::c", "http://[2001:db8::1]:49000/rootDesc.xml"},
		{"global asks the site", "[2001:db8::10]:50000", "ff05::c", "http://[2001:db8::1]:49000/rootDesc.xml"},
		{"unique local asks the site", "[fd00::10]:50000", "ff05::c", "http://[fd00::1]:49000/rootDesc.xml"},
		{"link-local asks the site", "[fe80::10%lan0]:50000", "ff05::c", "http://[fe80::1]:49000/rootDesc.xml"},
		{"to our address", "[2001:db8::10]:50000", "fd00::1", "http://[2001:db8::1]:49000/rootDesc.xml"},
		{"off-link", "[2001:db8:1::10]:50000", "ff05::c", ""},
		{"to another group", "[2001:db8::10]:50000", "ff0e::c", ""},
		{"to someone else", "[2001:db8::10]:50000", "2001:db8::2", ""},
		{"our own", "[fe80::1%lan0]:50000", "ff02::c", ""},
		{"the address of any router", "[2001:db8::]:50000", "ff05::c", ""},
		{"no address", "[::]:50000", "ff02::c", ""},
		{"loopback", "[::1]:50000", "ff02::c", ""},
		{"IPv4", "192.168.1.10:50000", "ff02::c", ""},
		{"mapped IPv4", "[::ffff:192.168.1.10]:50000", "ff02::c", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := r.handle(netip.MustParseAddrPort(tt.src), netip.MustParseAddr(tt.dst), []byte(msearch("upnp:rootdevice")))
			got := ""
			if len(a.messages) == 1 {
				got = parseReply(t, a.messages[0]).Get("Location")
			}
			if got != tt.location || got != "" && got != location(a.from, "", 0) {
				t.Errorf("answered with %q from %s, want %q", got, a.from, tt.location)
			}
		})
	}
}

// The version asked for decides which description is told. What is not announced is found by those who look for it.
func TestLocationsByWhatWasAsked(t *testing.T) {
	c := config()
	c.Targets = []Target{
		{UDN: u0, Type: "upnp:rootdevice"},
		{UDN: u0, Type: urnD + "InternetGatewayDevice", Version: 2, Announced: 1},
		{UDN: u2, Type: urnS + "WANPPPConnection", Version: 1},
	}
	var asked []string
	c.Location = func(addr netip.Addr, target string, version int) string {
		asked = append(asked, target+" "+string(rune('0'+version)))
		return location(addr, target, version)
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	r := responderOn(t, s, lan())
	tests := []struct {
		st           string
		names, asked []string
	}{
		{"ssdp:all", []string{"upnp:rootdevice " + u0 + "::upnp:rootdevice", urnD + "InternetGatewayDevice:1 " + u0 + "::" + urnD + "InternetGatewayDevice:1"}, []string{"ssdp:all 0", "ssdp:all 0"}},
		{"upnp:rootdevice", []string{"upnp:rootdevice " + u0 + "::upnp:rootdevice"}, []string{"upnp:rootdevice 0"}},
		{urnD + "InternetGatewayDevice:1", []string{urnD + "InternetGatewayDevice:1 " + u0 + "::" + urnD + "InternetGatewayDevice:1"}, []string{urnD + "InternetGatewayDevice 1"}},
		{urnD + "InternetGatewayDevice:2", []string{urnD + "InternetGatewayDevice:2 " + u0 + "::" + urnD + "InternetGatewayDevice:2"}, []string{urnD + "InternetGatewayDevice 2"}},
		{urnS + "WANPPPConnection:1", []string{urnS + "WANPPPConnection:1 " + u2 + "::" + urnS + "WANPPPConnection:1"}, []string{urnS + "WANPPPConnection 1"}},
	}
	for _, tt := range tests {
		t.Run(tt.st, func(t *testing.T) {
			asked = nil
			got := names(t, r.handle(host, group4().Addr(), []byte(msearch(tt.st))))
			if diff := cmp.Diff(tt.names, got); diff != "" {
				t.Error("replies (-want +got):\n" + diff)
			}
			if diff := cmp.Diff(tt.asked, asked); diff != "" {
				t.Error("locations (-want +got):\n" + diff)
			}
		})
	}
}
