package e2e_test

import (
	"strings"
	"testing"

	"github.com/portreeve/portreeve/test/lab"
)

// Each bad value of an action gets its exact code and never opens a port. The table is that of WANIPConnection:1 with
// the values that clients are known to send.
func TestBadValues(t *testing.T) {
	t.Parallel()
	home, d := newHome(t, usual(), lab.DaemonOptions{})
	// A service of the router itself.
	home.Router.Echo(t, "tcp", "0.0.0.0:9000")
	me, other := "192.168.1.10", "192.168.1.11"
	change := func(name, value string) []arg {
		args := mapping(5000, "UDP", 5000, me, "3600")
		for i := range args {
			if args[i].name == name {
				args[i].value = value
			}
		}
		return args
	}
	without := func(name string) []arg {
		var args []arg
		for _, a := range mapping(5000, "UDP", 5000, me, "3600") {
			if a.name != name {
				args = append(args, a)
			}
		}
		return args
	}
	tests := []struct {
		name, service string
		args          []arg
		want          int
	}{
		{"for another host, v1", wanIP1, change("NewInternalClient", other), 606},
		{"for another host, v2", wanIP2, change("NewInternalClient", other), 606},
		{"for the router", wanIP1, change("NewInternalClient", "192.168.1.1"), 606},
		{"for a host on the internet", wanIP1, change("NewInternalClient", "93.184.216.34"), 606},
		{"for a name", wanIP1, change("NewInternalClient", "console.lan"), 402},
		{"external port 0", wanIP1, change("NewExternalPort", "0"), 716},
		{"external port any", wanIP1, change("NewExternalPort", "*"), 716},
		{"external port negative", wanIP1, change("NewExternalPort", "-1"), 402},
		{"external port beyond 16 bits", wanIP1, change("NewExternalPort", "65616"), 402},
		{"external port no number", wanIP1, change("NewExternalPort", "http"), 402},
		{"external port empty", wanIP1, change("NewExternalPort", ""), 402},
		{"external port low, v1", wanIP1, change("NewExternalPort", "80"), 718},
		{"external port low, v2", wanIP2, change("NewExternalPort", "80"), 606},
		{"external port forbidden, v1", wanIP1, change("NewExternalPort", "3389"), 718},
		{"external port forbidden, v2", wanIP2, change("NewExternalPort", "3389"), 606},
		{"internal port 0, v1", wanIP1, change("NewInternalPort", "0"), 402},
		{"internal port 0, v2", wanIP2, change("NewInternalPort", "0"), 732},
		{"internal port beyond 16 bits", wanIP1, change("NewInternalPort", "70000"), 402},
		{"internal port no number", wanIP1, change("NewInternalPort", "x"), 402},
		{"protocol unknown, v1", wanIP1, change("NewProtocol", "ICMP"), 402},
		{"protocol unknown, v2", wanIP2, change("NewProtocol", "ICMP"), 601},
		{"protocol empty", wanIP1, change("NewProtocol", ""), 402},
		{"lifetime negative", wanIP1, change("NewLeaseDuration", "-5"), 402},
		{"lifetime no number", wanIP1, change("NewLeaseDuration", "soon"), 402},
		{"remote host a name", wanIP1, change("NewRemoteHost", "example.com"), 402},
		{"no NewExternalPort", wanIP1, without("NewExternalPort"), 402},
		{"no NewProtocol", wanIP1, without("NewProtocol"), 402},
		{"no NewInternalPort", wanIP1, without("NewInternalPort"), 402},
		{"no NewEnabled", wanIP1, without("NewEnabled"), 402},
		{"no NewLeaseDuration", wanIP1, without("NewLeaseDuration"), 402},
		{"no arguments", wanIP1, nil, 402},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, reply := soap(t, home.LAN1, tt.service, "AddPortMapping", tt.args); got != tt.want {
				t.Errorf("error %d, want %d: %s", got, tt.want, reply)
			}
		})
	}
	for service, want := range map[string]int{wanIP1: 718, wanIP2: 729} {
		args := mapping(9000, "TCP", 9000, me, "0")
		if got, _ := soap(t, home.LAN1, service, "AddPortMapping", args); got != want {
			t.Errorf("a port that the router serves, %s: %d, want %d", service, got, want)
		}
	}
	if all := leases(t, d); len(all) != 0 {
		t.Errorf("refused requests made leases: %+v", all)
	}
	if rules := usual().rules(t, home); len(rules) != 0 {
		t.Errorf("refused requests made rules:\n%s", strings.Join(rules, "\n"))
	}
	more := []struct {
		name, service, action string
		args                  []arg
		want                  int
	}{
		{"no such entry", wanIP1, "GetSpecificPortMappingEntry", which(9999, "TCP"), 714},
		{"index beyond the end", wanIP1, "GetGenericPortMappingEntry", []arg{{"NewPortMappingIndex", "0"}}, 713},
		{"index no number", wanIP1, "GetGenericPortMappingEntry", []arg{{"NewPortMappingIndex", "one"}}, 402},
		{"delete of nothing", wanIP1, "DeletePortMapping", which(9999, "TCP"), 714},
		{"no such action", wanIP1, "NoSuchAction", nil, 401},
		{"range backwards", wanIP2, "DeletePortMappingRange", []arg{{"NewStartPort", "9000"}, {"NewEndPort", "8000"}, {"NewProtocol", "TCP"}, {"NewManage", "0"}}, 733},
		{"range empty", wanIP2, "DeletePortMappingRange", []arg{{"NewStartPort", "8000"}, {"NewEndPort", "8000"}, {"NewProtocol", "TCP"}, {"NewManage", "0"}}, 730},
	}
	for _, tt := range more {
		t.Run(tt.name, func(t *testing.T) {
			if got, reply := soap(t, home.LAN1, tt.service, tt.action, tt.args); got != tt.want {
				t.Errorf("error %d, want %d: %s", got, tt.want, reply)
			}
		})
	}
}

// Values that look odd and are right.
func TestLenientValues(t *testing.T) {
	t.Parallel()
	home, d := newHome(t, usual(), lab.DaemonOptions{})
	for name, args := range map[string][]arg{
		"no internal client": mapping(5001, "UDP", 5001, "", "0"),
		"spaces":             mapping(" 5002 ", " UDP ", " 5002", " 192.168.1.10 ", " 0 "),
		"lower case":         mapping(5003, "udp", 5003, "192.168.1.10", "0"),
		"long lease":         mapping(5004, "UDP", 5004, "192.168.1.10", "4294967295"),
	} {
		if code, reply := soap(t, home.LAN1, wanIP1, "AddPortMapping", args); code != 0 {
			t.Errorf("%s: error %d: %s", name, code, reply)
		}
	}
	for _, l := range leases(t, d) {
		if l.InternalAddress.String() != "192.168.1.10" || l.ExternalPort != l.InternalPort || l.Protocol != "udp" {
			t.Errorf("made a wrong mapping: %+v", l)
		}
	}
}

// Adding one's own mapping again renews it: one lease, one rule. Another host is told of the conflict and changes nothing.
func TestConflictAndRenewal(t *testing.T) {
	t.Parallel()
	inAll(t, func(t *testing.T, f flavour) {
		home, d := newHome(t, f, lab.DaemonOptions{})
		home.LAN1.Echo(t, "udp", "192.168.1.10:3074")
		mine := mapping(3074, "UDP", 3074, "192.168.1.10", "600")
		for range 3 {
			mustSOAP(t, home.LAN1, wanIP1, "AddPortMapping", mine)
		}
		if code, _ := soap(t, home.LAN2, wanIP1, "AddPortMapping", mapping(3074, "UDP", 3074, "192.168.1.11", "600")); code != 718 {
			t.Errorf("the second host got %d, want 718", code)
		}
		l := leaseAt(t, d, "udp", 3074)
		if l.Renewals != 2 || l.RemainingSeconds < 590 || l.InternalAddress != home.LAN1.Addr {
			t.Errorf("after two renewals and a conflict: %+v", l)
		}
		if n := f.count(t, home, "udp", 3074); n != 1 {
			t.Errorf("%d rules for one mapping", n)
		}
		lab.Probe{Network: "udp", From: home.Internet, To: at(home.WAN, 3074)}.MustReach(t)
		// Another internal port moves the mapping.
		home.LAN1.Echo(t, "udp", "192.168.1.10:3076")
		mustSOAP(t, home.LAN1, wanIP1, "AddPortMapping", mapping(3074, "UDP", 3076, "192.168.1.10", "600"))
		if got := leaseAt(t, d, "udp", 3074); got.ID != l.ID || got.InternalPort != 3076 || f.count(t, home, "udp", 3074) != 1 {
			t.Errorf("moved to %+v", got)
		}
	})
}
