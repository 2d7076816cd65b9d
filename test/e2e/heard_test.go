package e2e_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"testing"

	"github.com/portreeve/portreeve/test/lab"
	"github.com/portreeve/portreeve/web"
)

// Who searches or asks is heard, by its address and MAC address, and whoever says nothing is not; the daemon's own check finds its
// ports and rules in order, and tells when the kernel does not forward.
func TestWhoWasHeardAndTheDaemonsCheck(t *testing.T) {
	t.Parallel()
	inAll(t, func(t *testing.T, f flavour) {
		home, d := newHome(t, f, lab.DaemonOptions{})
		hosts := func() []web.HeardHost {
			var list web.HeardList
			if err := json.Unmarshal([]byte(d.MustCLI(t, "heard", "-o", "json")), &list); err != nil {
				t.Fatal(err)
			}
			return list.Hosts
		}
		if got := hosts(); len(got) != 0 {
			t.Errorf("heard before anybody said something: %+v", got)
		}
		home.LAN1.Run(t, "upnpc", "-s")
		home.LAN2.Run(t, "natpmpc", "-a", "5000", "5000", "udp", "600")
		got := hosts()
		if len(got) != 2 || got[0].Address != home.LAN2.Addr || got[0].Requests == 0 || got[0].Searches != 0 ||
			got[1].Address != home.LAN1.Addr || got[1].Searches == 0 || got[1].Calls == 0 || got[1].MAC == "" {
			t.Errorf("heard %+v, want the second host by NAT-PMP, and the first by SSDP and UPnP", got)
		}

		o := newOwner(t, d, home.LAN1)
		subjects := func() (good, bad []string) {
			var check web.SelfCheck
			o.api(http.MethodGet, "/self-check", nil, &check)
			for _, one := range check.Findings {
				if one.OK {
					good = append(good, one.Subject)
				} else {
					bad = append(bad, one.Subject+": "+one.What)
				}
			}
			return good, bad
		}
		good, bad := subjects()
		for _, want := range []string{"firewall", "forwarding", "rules", "wan", "lan", "port"} {
			if !slices.Contains(good, want) {
				t.Errorf("in order are %q, want %s too", good, want)
			}
		}
		home.Router.Run(t, "sysctl", "-qw", "net.ipv4.ip_forward=0")
		if _, worse := subjects(); len(worse) != len(bad)+1 {
			t.Errorf("without forwarding these are wrong: %q; before: %q", worse, bad)
		}
	})
}
