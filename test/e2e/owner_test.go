package e2e_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/portreeve/portreeve/test/lab"
	"github.com/portreeve/portreeve/web"
)

// What the owner sets by hand, from the command line and the file to the packets.

// macOf is the hardware address of a LAN host.
func macOf(t *testing.T, h *lab.Host) string {
	t.Helper()
	var links []struct{ Address string }
	if err := json.Unmarshal([]byte(h.Run(t, "ip", "-j", "link", "show", "dev", "eth0")), &links); err != nil || len(links) != 1 {
		t.Fatalf("links %v, %v", links, err)
	}
	return links[0].Address
}

// addresses asks the daemon who has which public address.
func addresses(t *testing.T, d *lab.Daemon) []web.PublicAddress {
	t.Helper()
	var list web.AddressList
	if err := json.Unmarshal([]byte(d.MustCLI(t, "address", "list", "-o", "json")), &list); err != nil {
		t.Fatal(err)
	}
	return list.Addresses
}

// refused expects a command to fail with an exit code and a text that has all the words.
func refused(t *testing.T, err error, code int, words ...string) {
	t.Helper()
	if exitCode(err) != code {
		t.Errorf("%v, want exit code %d", err, code)
	}
	for _, word := range words {
		if !strings.Contains(fmt.Sprint(err), word) {
			t.Errorf("%v, want one that says %q", err, word)
		}
	}
}
