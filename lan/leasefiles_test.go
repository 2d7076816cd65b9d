package lan_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/portreeve/portreeve/lan"
)

// What Kea 2.4 and 2.6 write, of both families; the last line of an address counts.
const (
	kea4 = "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context,pool_id\n" +
		"192.168.1.50,00:50:f2:12:34:56,01:00:50:f2:12:34:56,3600,1763800000,1,0,0,old-name,0,,0\n" +
		"192.168.1.51,02:00:00:00:00:51,,3600,1763800000,1,0,0,,0,{ \"comment\": \"a&#x2c b\" },0\n" +
		"192.168.1.50,00:50:f2:12:34:56,01:00:50:f2:12:34:56,3600,1763803600,1,1,1,xbox.home.arpa.,0,,0\n" +
		"192.168.1.52,02:00:00:00:00:52,,3600,17638"
	kea6 = "address,duid,valid_lifetime,expire,subnet_id,pref_lifetime,lease_type,iaid,prefix_len,fqdn_fwd,fqdn_rev,hostname,hwaddr,state,user_context,hwtype,hwaddr_source,pool_id\n" +
		"2001:db8:1::50,00:01:00:01:2a,4000,1763800000,1,3000,0,7,128,0,0,laptop,02:00:00:00:00:60,0,,1,2,0\n"
	dhcpd = "# The format of this file is documented in the dhcpd.leases(5) manual page.\nauthoring-byte-order little-endian;\n\n" +
		"lease 192.168.1.70 {\n  starts 0 2026/11/22 09:00:00;\n  binding state active;\n  hardware ethernet 02:00:00:00:00:70;\n  client-hostname \"before\";\n}\n" +
		"server-duid \"\\000\\001\\000\\001\";\n\n" +
		"lease 192.168.1.71 {\n  binding state active;\n  hardware ethernet 02:00:00:00:00:71;\n  uid \"\\001\\002\";\n}\n" +
		"lease 192.168.1.70 {\n  starts 0 2026/11/22 10:00:00;\n  ends 0 2026/11/22 11:00:00;\n  binding state active;\n  next binding state free;\n" +
		"  hardware ethernet 02:00:00:00:00:70;\n  uid \"\\001\\270'\\353B\";\n  set vendor-class-identifier = \"dhcpcd-9\";\n  client-hostname \"brother-printer\";\n}\n"
)

func TestNamesOfOtherServers(t *testing.T) {
	hosts := filepath.Dir(write(t, "odhcpd.hosts.br-lan", "# a comment\n2001:db8:1::80 tablet.lan tablet\n"))
	if err := os.WriteFile(filepath.Join(hosts, "dhcp.cfg01411c"), []byte("192.168.1.81 nas\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n := lan.NewNames(lan.NameFiles{
		Kea: []string{write(t, "kea-leases4.csv", kea4), write(t, "kea-leases6.csv", kea6)}, Dhcpd: []string{write(t, "dhcpd.leases", dhcpd)},
		Hosts: []string{hosts + "/*", "/nonexistent/[", "/nonexistent/*"},
	}, time.Now, nil)
	for _, tt := range []struct{ mac, addr, want string }{
		{"00:50:f2:12:34:56", "", "xbox.home.arpa"},
		{"", "192.168.1.50", "xbox.home.arpa"},
		{"02:00:00:00:00:51", "192.168.1.51", ""},
		{"02:00:00:00:00:52", "192.168.1.52", ""},
		{"02:00:00:00:00:60", "", "laptop"},
		{"", "2001:db8:1::50", "laptop"},
		{"02:00:00:00:00:70", "", "brother-printer"},
		{"", "192.168.1.70", "brother-printer"},
		{"02:00:00:00:00:71", "192.168.1.71", ""},
		{"", "2001:db8:1::80", "tablet.lan"},
		{"", "192.168.1.81", "nas"},
	} {
		var addrs []netip.Addr
		if tt.addr != "" {
			addrs = append(addrs, netip.MustParseAddr(tt.addr))
		}
		if got := n.Name(tt.mac, addrs...); got != tt.want {
			t.Errorf("name of %q %s = %q, want %q", tt.mac, tt.addr, got, tt.want)
		}
	}
}

// Of a table that has grown long, the end counts.
func TestNamesAtTheEndOfALongFile(t *testing.T) {
	header, _, _ := strings.Cut(kea4, "\n")
	var text strings.Builder
	text.WriteString(header + "\n")
	for i := range 40000 {
		fmt.Fprintf(&text, "192.168.1.%d,02:00:00:00:00:%02x,,3600,1763800000,1,0,0,host-%d,0,,0\n", i%200+1, i%200+1, i)
	}
	n := lan.NewNames(lan.NameFiles{Kea: []string{write(t, "kea-leases4.csv", text.String())}}, time.Now, nil)
	if got := n.Name("02:00:00:00:00:01", netip.Addr{}); got != "host-39800" {
		t.Errorf("called %q, want host-39800", got)
	}
}

func FuzzLeaseFiles(f *testing.F) {
	f.Add(kea4, dhcpd)
	f.Add(kea6, "lease {\n}\nlease 1 {")
	f.Fuzz(func(t *testing.T, kea, isc string) {
		n := lan.NewNames(lan.NameFiles{Kea: []string{write(t, "kea", kea)}, Dhcpd: []string{write(t, "dhcpd", isc)}}, time.Now, nil)
		for _, addr := range []string{"192.168.1.50", "192.168.1.70"} {
			if name := n.Name("", netip.MustParseAddr(addr)); len(name) > 64 {
				t.Errorf("called %q", name)
			}
		}
	})
}
