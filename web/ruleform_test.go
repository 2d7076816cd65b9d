package web

import (
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/lease"
)

// Whatever somebody sends: it is either a rule that can be written and read again, or it is said what is wrong.
func FuzzRuleSettings(f *testing.F) {
	for _, seed := range []string{
		`{"kind":"forward","name":"nas","protocol":"both","ports":"5000-5010","to_ports":"6000","device":"02:00:00:00:00:10","when_gone":"close"}`,
		`{"kind":"dmz","to":"192.168.1.40","except":["22","8000-8100"],"until":"2126-12-24T18:00:00+01:00","schedule":["Fri-Sat 20:00-02:00"]}`,
		`{"kind":"address","device":"192.168.1.40","public":"203.0.113.7","from":["198.51.100.0/24"],"hairpin":false}`,
		`{"kind":"forward","protocol":"tcp","ports":"443","to":"2001:db8::40","ipv6":true,"from":["2001:db8::/32"],"enabled":null}`,
		`{"kind":"forward","ports":"0-70000","wan":"eth0/1","to":"fe80::1%eth0","color":1}`,
	} {
		f.Add(seed)
	}
	now := time.Date(2026, time.November, 22, 12, 0, 0, 0, time.UTC)
	read := func(t *testing.T, body string) (lease.Rule, faults) {
		var members map[string]json.RawMessage
		if json.Unmarshal([]byte(body), &members) != nil {
			return lease.Rule{}, faults{{}}
		}
		settings := newRuleSettings()
		r := &reader{faults: setMembers(members, &settings), now: now, mac: func(netip.Addr) string { return "02:00:00:00:00:20" }}
		return r.rule(settings), r.faults
	}
	f.Fuzz(func(t *testing.T, body string) {
		rule, wrong := read(t, body)
		for _, fault := range wrong {
			if len(fault.Member) > 64 || len(fault.Text) > 1024 {
				t.Errorf("a long fault: %+v", fault)
			}
		}
		if len(wrong) > 0 {
			return
		}
		text, err := json.Marshal(settingsOf(rule))
		if err != nil {
			t.Fatal(err)
		}
		again, wrong := read(t, string(text))
		if len(wrong) > 0 {
			t.Fatalf("written as %s: %+v", text, wrong)
		}
		second, err := json.Marshal(settingsOf(again))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(text), string(second)); d != "" {
			t.Errorf("read and written again (-before +after):\n%s", d)
		}
	})
}
