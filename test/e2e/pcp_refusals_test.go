package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/pcp"
	"github.com/portreeve/portreeve/test/lab"
	"github.com/portreeve/portreeve/web"
)

// history asks the daemon for its events, the newest first.
func history(t *testing.T, d *lab.Daemon) []web.Event {
	t.Helper()
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var dialer net.Dialer
			return dialer.DialContext(ctx, "unix", d.Socket)
		},
	}}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://portreeve/api/v1/history", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var all web.History
	if err := json.NewDecoder(response.Body).Decode(&all); err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("history: %s, %v", response.Status, err)
	}
	return all.Events
}

// Who is refused learns it by the code that says why, as often as he asks. The owner has one line in the log of it, and one
// event with the reason and a count.
func TestPCPRefusalsAreToldOnce(t *testing.T) {
	t.Parallel()
	home := usual().home(t)
	withGuests(t, home)
	d := usual().start(t, home, lab.DaemonOptions{Args: []string{"--lan", "br-lan", "--lan", "guest0"}, Config: `
[limits]
mappings_per_device = 2
[[policy.rule]]
name = "no guests"
networks = ["guest0"]
action = "deny"
`})
	first, second := pcpClient4(t, home, home.LAN1), pcpClient4(t, home, home.LAN2)
	guest := pcpClient(t, home.LAN2, mustAddr("192.168.9.10"), mustAddr("192.168.9.1"))
	guest6 := pcpClient(t, home.LAN2, mustAddr("2001:db8:1:9::10"), mustAddr("2001:db8:1:9::1"))
	mustMap(t, first, mapRequest(lease.TCP, 5000, 6000))
	mustMap(t, first, mapRequest(lease.TCP, 5001, 6001))
	for _, tt := range []struct {
		name     string
		client   *pcp.Client
		request  pcp.MapRequest
		want     pcp.Result
		seconds  int // for which it is told not to ask again
		internal string
		because  string
	}{
		{"two hosts fight for one port", second, mapRequest(lease.TCP, 5002, 6000, pcp.PreferFailure{}), pcp.ResultCannotProvideExternal, 30, "192.168.1.11:5002", "tcp 6000 is held by 192.168.1.10"},
		{"a guest", guest, mapRequest(lease.UDP, 5003, 0), pcp.ResultNotAuthorized, 1800, "192.168.9.10:5003", "no guests"},
		{"a guest who insists", guest, mapRequest(lease.UDP, 5004, 6004, pcp.PreferFailure{}), pcp.ResultNotAuthorized, 1800, "192.168.9.10:5004", "no guests"},
		{"a guest over IPv6", guest6, mapRequest(lease.UDP, 5005, 0), pcp.ResultNotAuthorized, 1800, "[2001:db8:1:9::10]:5005", "no guests"},
		{"a quota is reached", first, mapRequest(lease.TCP, 5006, 6006), pcp.ResultUserExQuota, 30, "192.168.1.10:5006", "the device holds 2 of 2 mappings"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const times = 3
			for range times {
				if told := mustRefuse(t, tt.client, tt.request, tt.want); int(told.Seconds()) != tt.seconds {
					t.Errorf("it is told to wait %s, want %d s (RFC 6887, section 7.4)", told, tt.seconds)
				}
			}
			var lines []string // what the daemon writes gets here a little later than its answers
			lab.Eventually(t, within, "a line in the log", func() error {
				lines = nil
				for line := range strings.Lines(d.Log()) {
					if strings.Contains(line, "int="+tt.internal) || strings.Contains(line, fmt.Sprintf("int=%q", tt.internal)) {
						lines = append(lines, line)
					}
				}
				if len(lines) == 0 {
					return errorText("there is none")
				}
				return nil
			})
			if len(lines) != 1 || !strings.Contains(lines[0], "denied") || !strings.Contains(lines[0], tt.because) {
				t.Errorf("the log says\n%s\nwant one line of a refusal because %q", strings.Join(lines, ""), tt.because)
			}
			var events []web.Event
			for _, e := range history(t, d) {
				if e.Mapping.InternalPort == tt.request.InternalPort {
					events = append(events, e)
				}
			}
			if len(events) != 1 || events[0].Kind != lease.EventDenied || events[0].Count != times || !strings.Contains(events[0].Reason, tt.because) {
				t.Errorf("events: %+v, want one that counts %d", events, times)
			}
		})
	}
	if n := len(leases(t, d)); n != 2 {
		t.Errorf("%d leases, want the two of the first host", n)
	}
}
