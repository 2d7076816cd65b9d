package lease_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/lease"
)

// contest is a port, tcp 5000, that two want: who is there first, and what is answered to whoever comes second.
type contest struct {
	*scene
	serves atomic.Bool // the router itself serves the port
}

// public is an address of ours beside that of the WAN.
var public = netip.MustParseAddr("203.0.113.20")

func newContest(t *testing.T) *contest {
	c := &contest{}
	c.scene = newScene(t, func(cfg *lease.Config) {
		cfg.Policy.Pool = []netip.Addr{public}
		cfg.Listeners = func(context.Context) (lease.Listeners, error) {
			if !c.serves.Load() {
				return nil, nil
			}
			return lease.Listeners{{Protocol: lease.TCP, Number: 5000}: {}}, nil
		}
	})
	return c
}

// come lets somebody ask for the port, or for all, on behalf of a host, and returns what is answered.
func (c *contest) come(who string, host netip.Addr) string {
	r := tcp(5000, host)
	r.Name = fmt.Sprintf("%s of %s", strings.Fields(who)[0], host)
	if strings.HasSuffix(who, "there") {
		r.Public = public
	}
	o := lease.RuleOptions{By: lease.OriginCLI, TakeOver: strings.HasSuffix(who, "taking over")}
	switch strings.Fields(who)[0] {
	case "router":
		c.serves.Store(true)
		time.Sleep(10 * time.Second) // its ports are asked for again meanwhile
		return "it serves the port"
	case "lease":
		request := ask(host, lease.TCP, 5000, 5000)
		if strings.HasSuffix(who, "any port") {
			request = portControl(host, lease.TCP, 5000, 5000)
		}
		l, err := c.Open(context.Background(), request)
		return answered(l.String(), err)
	case "pool":
		l, err := c.Open(context.Background(), lease.Request{
			Mapping: lease.Mapping{Internal: netip.AddrPortFrom(host, 0)}, Origin: lease.OriginPCP, Client: host,
			Key: lease.ByInternal, Choice: lease.Nearest, Lifetime: time.Hour,
		})
		return answered(l.String(), err)
	case "dmz":
		r.Kind, r.Protocols, r.Ports = lease.RuleDMZ, nil, lease.PortRange{}
	case "address":
		r.Kind, r.Protocols, r.Ports, r.Public = lease.RuleAddress, nil, lease.PortRange{}, public
	case "forward":
		r.FromRouter = strings.HasSuffix(who, "from router")
	}
	_, err := c.PutRule(context.Background(), r, o)
	return answered("done", err)
}

func answered(text string, err error) string {
	if err != nil {
		return err.Error()
	}
	return text
}

// Must show: each pair of own service, forward, lease, DMZ host and 1:1 address for one port, with what is answered to whoever
// comes second, and what stands then. docs/rules.md has it as a table; firewall/conformance sends the packets.
func TestWhoComesSecond(t *testing.T) {
	const (
		forward = "tcp 5000 -> 192.168.1.10:5000"
		dmz     = "all -> 192.168.1.10"
		address = "all 203.0.113.20 -> 192.168.1.10"
	)
	for _, tt := range []struct {
		first, second string
		answer        string
		stands        []string
	}{
		{"router", "forward", "port in use by the router: tcp 5000 is served by the router itself: end that, choose another port, or let the rule take it from the router", nil},
		{"router", "forward from router", "done", []string{"tcp 5000 -> 192.168.1.11:5000"}},
		{"router", "lease", "port in use by the router: tcp 5000", nil},
		{"router", "lease any port", "tcp 5001 -> 192.168.1.11:5000", []string{"tcp 5001 -> 192.168.1.11:5000"}},
		{"router", "dmz", "done", []string{"all -> 192.168.1.11", "but tcp 5000"}},
		{"router", "address", "done", []string{"all 203.0.113.20 -> 192.168.1.11"}},

		{"forward", "router", "it serves the port", []string{forward}},
		{"forward", "forward", `conflict with another mapping: forward "forward of 192.168.1.10" is in the way (tcp 5000 -> 192.168.1.10 port 5000), whether it is in force now or not: change or disable one of the two`, []string{forward}},
		{"forward", "lease", "conflict with another mapping: tcp 5000 is held by 192.168.1.10", []string{forward}},
		{"forward", "lease any port", "tcp 5001 -> 192.168.1.11:5000", []string{forward, "tcp 5001 -> 192.168.1.11:5000"}},
		{"forward", "dmz", "done", []string{forward, "all -> 192.168.1.11"}},
		{"forward", "address", "done", []string{forward, "all 203.0.113.20 -> 192.168.1.11"}},

		{"lease", "router", "it serves the port", []string{forward}},
		{"lease", "forward", "conflict with another mapping: tcp 5000 -> 192.168.1.10:5000 is held by 192.168.1.10: take it over, or choose another port", []string{forward}},
		{"lease", "forward taking over", "done", []string{"tcp 5000 -> 192.168.1.11:5000"}},
		{"lease", "lease", "conflict with another mapping: tcp 5000 is held by 192.168.1.10", []string{forward}},
		{"lease", "lease any port", "tcp 5001 -> 192.168.1.11:5000", []string{forward, "tcp 5001 -> 192.168.1.11:5000"}},
		{"lease", "dmz", "done", []string{forward, "all -> 192.168.1.11"}},
		{"lease", "address", "done", []string{forward, "all 203.0.113.20 -> 192.168.1.11"}},

		{"dmz", "router", "it serves the port", []string{dmz, "but tcp 5000"}},
		{"dmz", "forward", "done", []string{dmz, "tcp 5000 -> 192.168.1.11:5000"}},
		{"dmz", "lease", "tcp 5000 -> 192.168.1.11:5000", []string{dmz, "tcp 5000 -> 192.168.1.11:5000"}},
		{"dmz", "dmz", `conflict with another mapping: dmz "dmz of 192.168.1.10" is in the way (dmz 192.168.1.10), whether it is in force now or not: change or disable one of the two`, []string{dmz}},
		{"dmz", "address", "done", []string{dmz, "all 203.0.113.20 -> 192.168.1.11"}},

		{"address", "router", "it serves the port", []string{address}},
		{"address", "forward", "done", []string{address, "tcp 5000 -> 192.168.1.11:5000"}},
		{"address", "forward there", "done", []string{address, "tcp 203.0.113.20:5000 -> 192.168.1.11:5000"}},
		{"address", "lease", "tcp 5000 -> 192.168.1.11:5000", []string{address, "tcp 5000 -> 192.168.1.11:5000"}},
		{"address", "dmz", "done", []string{address, "all -> 192.168.1.11"}},
		{"address", "address", `conflict with another mapping: address "address of 192.168.1.10" is in the way (address 203.0.113.20 for 192.168.1.10), whether it is in force now or not: change or disable one of the two`, []string{address}},
		{"address", "pool", "no mapping available: the 1 addresses of the pool are given away", []string{address}},
		{"pool", "address", "conflict with another mapping: all 203.0.113.20 -> 192.168.1.10 is held by 192.168.1.10: take it over, or choose another port", []string{address}},
		{"pool", "address taking over", "done", []string{"all 203.0.113.20 -> 192.168.1.11"}},
	} {
		bubble(t, tt.first+", then "+tt.second, func(t *testing.T) {
			c := newContest(t)
			if first := c.come(tt.first, console); strings.Contains(first, "conflict") || strings.Contains(first, "refused") {
				t.Fatalf("the first is answered %s", first)
			}
			if got := c.come(tt.second, second); got != tt.answer {
				t.Errorf("answered\n%s\nwant\n%s", got, tt.answer)
			}
			stands := c.kernel()
			for _, p := range c.firewall.NAT().Reserved {
				stands = append(stands, "but "+p.String())
			}
			slices.Sort(stands)
			want := slices.Sorted(slices.Values(tt.stands))
			if d := cmp.Diff(want, stands); d != "" {
				t.Errorf("stands (-want +got):\n%s", d)
			}
		})
	}
}
