package conformance

import (
	"strings"
	"testing"

	"github.com/portreeve/portreeve/test/lab"
)

func TestCheck(t *testing.T) {
	inIptables(t, func(t *testing.T, s subject, home *lab.Home) {
		found := func(want ...string) {
			t.Helper()
			problems := s.Check(t.Context())
			if len(problems) != len(want) {
				t.Errorf("problems %+v, want %d", problems, len(want))
				return
			}
			for i, p := range problems {
				if !strings.Contains(p.What, want[i]) || p.Do == "" {
					t.Errorf("problem %+v, want %q and what to do", p, want[i])
				}
			}
		}
		before := home.Save(t)
		found()
		s.sync(t, console(t))
		found()
		if err := s.Cleanup(t.Context()); err != nil {
			t.Fatal(err)
		}
		if home.Save(t) != before {
			t.Error("Check has changed rules")
		}

		if err := home.Router.Sysctl("net/ipv4/ip_forward", "0"); err != nil {
			t.Fatal(err)
		}
		found("does not forward")
		if err := home.Router.Sysctl("net/ipv4/ip_forward", "1"); err != nil {
			t.Fatal(err)
		}
		established := []string{"FORWARD", "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "ACCEPT"}
		home.Router.Run(t, "iptables", append([]string{"-D"}, established...)...)
		found("accepts no established connections")
		home.Router.Run(t, "iptables", "-P", "FORWARD", "ACCEPT")
		found()
		home.Router.Run(t, "iptables", "-A", "FORWARD", "-j", "REJECT")
		found("accepts no established connections")
		home.Router.Run(t, "iptables", append([]string{"-I"}, established...)...)
		found()

		other := map[string]string{"iptables (nf_tables)": "iptables-legacy", "iptables (legacy)": "iptables-nft"}[s.Name()]
		home.Router.Run(t, other, "-A", "FORWARD", "-j", "DROP")
		found("there are rules in iptables")
	})
}

func TestCheckOfNftables(t *testing.T) {
	inNftables(t, func(t *testing.T, s subject, home *lab.Home) {
		found := func(want ...string) {
			t.Helper()
			problems := s.Check(t.Context())
			if len(problems) != len(want) {
				t.Errorf("problems %+v, want %d", problems, len(want))
				return
			}
			for i, p := range problems {
				if !strings.Contains(p.What, want[i]) || p.Do == "" {
					t.Errorf("problem %+v, want %q and what to do", p, want[i])
				}
			}
		}
		before := s.rules(t) + s.foreign(t)
		found()
		if after := s.rules(t) + s.foreign(t); after != before {
			t.Error("Check has changed rules")
		}
		s.sync(t, console(t))
		found()
		if err := home.Router.Sysctl("net/ipv4/ip_forward", "0"); err != nil {
			t.Fatal(err)
		}
		found("does not forward")
		if err := home.Router.Sysctl("net/ipv4/ip_forward", "1"); err != nil {
			t.Fatal(err)
		}
		home.Router.Run(t, "nft", "add table inet other")
		home.Router.Run(t, "nft", "add chain inet other strict { type filter hook forward priority 10; policy drop; }")
		found("chain strict of the table other drops packets and accepts no established connections")
		home.Router.Run(t, "nft", "add rule inet other strict ct state established,related accept")
		found()
		home.Router.Run(t, "nft", "delete table inet other")
		home.Router.Run(t, "iptables-legacy", "-P", "FORWARD", "DROP")
		found("FORWARD chain of iptables-legacy drops packets")
	})
}
