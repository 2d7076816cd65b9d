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

// write makes a file and returns its path.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestNames(t *testing.T) {
	leases := write(t, "dhcp.leases", "1700000000 02:00:00:00:00:10 192.168.1.10 xbox 01:02:00:00:00:00:10\n"+
		"1700000000 02:00:00:00:00:11 192.168.1.11 * *\n"+
		"1700000000 02:00:00:00:00:12 192.168.1.12 bad\x1b[31m\u202ename 01\n"+
		"duid 00:01:00:01\n1700000000 12345 2001:db8::10 laptop 00:01\n"+
		"broken\n1700000000 zz 192.168.1.300 nobody x\n"+
		"1700000000 02:00:00:00:00:13 192.168.1.13 "+strings.Repeat("x", 300)+" 01\n")
	ethers := write(t, "ethers", "# comment\n02:00:00:00:00:20 nas\n02:00:00:00:00:10 other\n")
	hosts := write(t, "hosts", "127.0.0.1 localhost\n192.168.1.30 printer.lan printer # in the hall\n# 192.168.1.31 gone\n2001:db8::30 printer6\n")
	now := time.Now()
	n := lan.NewNames(lan.NameFiles{
		Leases: []string{"/nonexistent", leases}, Ethers: []string{ethers}, Hosts: []string{hosts, t.TempDir()},
	}, func() time.Time { return now }, nil)
	for _, tt := range []struct{ mac, addr, want string }{
		{"02:00:00:00:00:10", "192.168.1.99", "xbox"},
		{"", "192.168.1.10", "xbox"},
		{"02:00:00:00:00:11", "192.168.1.11", ""},
		{"02:00:00:00:00:12", "", "bad[31mname"},
		{"", "2001:db8::10", "laptop"},
		{"02:00:00:00:00:13", "", strings.Repeat("x", 64)},
		{"02:00:00:00:00:20", "", "nas"},
		{"02:00:00:00:00:99", "192.168.1.30", "printer.lan"},
		{"", "2001:db8::30", "printer6"},
		{"", "127.0.0.1", ""},
		{"", "192.168.1.31", ""},
		{"", "", ""},
	} {
		var addrs []netip.Addr
		if tt.addr != "" {
			addrs = append(addrs, netip.MustParseAddr(tt.addr))
		}
		if got := n.Name(tt.mac, addrs...); got != tt.want {
			t.Errorf("name of %q %s = %q, want %q", tt.mac, tt.addr, got, tt.want)
		}
	}
	if err := os.WriteFile(leases, []byte("1700000000 02:00:00:00:00:10 192.168.1.10 playstation 01\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	now = now.Add(4 * time.Second)
	if got := n.Name("02:00:00:00:00:10"); got != "xbox" {
		t.Errorf("the files were read again at once: %q", got)
	}
	now = now.Add(2 * time.Second)
	if got := n.Name("02:00:00:00:00:10"); got != "playstation" {
		t.Errorf("a new lease is not seen: %q", got)
	}
}

func TestNamesAreBounded(t *testing.T) {
	var text strings.Builder
	for i := range 20000 {
		fmt.Fprintf(&text, "1 02:00:00:00:%02x:%02x 10.0.%d.%d host%d x\n", i/256, i%256, i/256, i%256, i)
	}
	n := lan.NewNames(lan.NameFiles{Leases: []string{write(t, "leases", text.String())}}, time.Now, nil)
	if got := n.Name("02:00:00:00:00:01"); got != "host1" {
		t.Errorf("name = %q", got)
	}
	if got := n.Name("02:00:00:00:4e:1f"); got != "" {
		t.Errorf("name = %q, want that only 4096 are kept", got)
	}
}

func TestVendors(t *testing.T) {
	list := write(t, "oui.txt", "OUI/MA-L                Organization\n\n"+
		"00-50-F2   (hex)\t\tMICROSOFT CORP.\n0050F2     (base 16)\t\tMICROSOFT CORP.\n\t\t\t\tONE MICROSOFT WAY\n\n"+
		"00-04-4B   (hex)\t\tNVIDIA \x1b[31m\n"+
		"BC-33-29   (hex)\t\tSony")
	v := lan.NewVendors([]string{"/nonexistent", list}, nil)
	for mac, want := range map[string]string{
		"00:50:f2:12:34:56": "MICROSOFT CORP.", "00:04:4b:00:00:00": "NVIDIA [31m", "bc:33:29:0a:1b:2c": "Sony",
		"00:50:f3:12:34:56": "", "02:50:f2:12:34:56": "", "nonsense": "", "": "",
	} {
		if got := v.Vendor(mac); got != want {
			t.Errorf("vendor of %s = %q, want %q", mac, got, want)
		}
	}
	if err := os.WriteFile(list, []byte(strings.Repeat("another list\n", 50)), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := v.Vendor("00:50:f2:12:34:56"); got != "" {
		t.Errorf("from a file that was written over: %q", got)
	}
	if got := lan.NewVendors([]string{"/nonexistent"}, nil).Vendor("00:50:f2:12:34:56"); got != "" {
		t.Errorf("without a list: %q", got)
	}
}
