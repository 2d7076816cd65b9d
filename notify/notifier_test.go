package notify

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/lease"
)

func TestNewsOfEachKind(t *testing.T) {
	rules := func(h *house, r lease.Rule) lease.ID {
		h.Helper()
		c, err := h.manager.PutRule(h.Context(), r, lease.RuleOptions{By: lease.OriginWeb})
		h.must(err)
		return c.Rule.ID
	}
	tests := []struct {
		name string
		do   func(h *house)
		want []string // a text of each news
	}{
		{"a new device", func(h *house) { h.open(console, 3074) }, []string{`Xbox (192.168.1.50 00:50:f2:12:34:56) asks for a port for the first time: UDP 3074 ("game")`}},
		{"a device that asks again", func(h *house) {
			h.open(console, 3074)
			h.pass(time.Hour)
			h.told()
			h.open(console, 3075)
		}, nil},
		{"a device that is refused at its first request", func(h *house) {
			if _, err := h.manager.Open(h.Context(), h.request(camera, 3389)); err == nil {
				h.Error("3389 was opened")
			}
		}, []string{`192.168.1.61 bc:33:29:0a:1b:2c asks for a port for the first time: UDP 3389 ("game")`}},
		{"a low port", func(h *house) {
			h.manager.Snapshot() // the policy allows no low ports by itself
			_, err := h.manager.SetPolicy(h.Context(), lease.OwnPolicy{Ports: &lease.PortSet{{First: 1, Last: 65535}}}, lease.PolicyOptions{By: lease.OriginWeb})
			h.must(err)
			h.open(console, 500)
		}, []string{
			`Xbox (192.168.1.50 00:50:f2:12:34:56) asks for a port for the first time: UDP 500 ("game")`,
			`Xbox (192.168.1.50 00:50:f2:12:34:56) has opened UDP 500 ("game"). Ports below 1024 belong to well-known services.`,
		}},
		{"a risky service", func(h *house) { h.open(console, 5900) }, []string{
			`Xbox (192.168.1.50 00:50:f2:12:34:56) asks for a port for the first time: UDP 5900 ("game")`,
			`Xbox (192.168.1.50 00:50:f2:12:34:56) has opened UDP 5900 ("game"). This port is usually VNC, which attackers look for.`,
		}},
		{"a request that waits", func(h *house) {
			_, err := h.manager.SetDevice(h.Context(), lease.Device{MAC: cameraMAC, Name: "Camera", Access: lease.AccessAsk}, lease.DeviceOptions{By: lease.OriginWeb})
			h.must(err)
			for range 3 { // a device asks on and on
				if _, err := h.manager.Open(h.Context(), h.request(camera, 8554)); err == nil {
					h.Error("it was opened")
				}
				h.pass(20 * time.Minute)
			}
		}, []string{
			`Camera (192.168.1.61 bc:33:29:0a:1b:2c) asks for a port for the first time: UDP 8554 ("game")`,
			`Camera (192.168.1.61 bc:33:29:0a:1b:2c) asks for UDP 8554 ("game"), and waits for your answer.`,
		}},
		{"a DMZ host", func(h *house) {
			rules(h, lease.Rule{Kind: lease.RuleDMZ, Enabled: true, Target: lease.Target{Addr: camera}})
			h.pass(3*time.Hour + 59*time.Minute)
			if got := h.told(); len(got) > 0 {
				h.Errorf("too soon: %v", got)
			}
			h.pass(2 * 24 * time.Hour)
		}, []string{`192.168.1.61 gets everything that nothing else takes (DMZ host), for more than 4 hours now.`}},
		{"a DMZ host for an hour", func(h *house) {
			id := rules(h, lease.Rule{Kind: lease.RuleDMZ, Enabled: true, Target: lease.Target{Addr: camera}})
			h.pass(time.Hour)
			_, err := h.manager.RemoveRule(h.Context(), id, lease.RuleOptions{By: lease.OriginWeb})
			h.must(err)
			h.pass(24 * time.Hour)
		}, nil},
		{"another address outside, after a while without one", func(h *house) {
			h.move(Line{Name: "wan0"})
			h.pass(time.Hour)
			h.move(Line{"wan0", netip.MustParseAddr("81.2.69.77"), Public})
		}, []string{`The address outside (wan0) was 81.2.69.10 and is 81.2.69.77.`}},
		{"the same address again", func(h *house) {
			h.move(Line{Name: "wan0"})
			h.pass(time.Hour)
			h.move(Line{"wan0", netip.MustParseAddr("81.2.69.10"), Public})
		}, nil},
		{"behind the NAT of the provider, and back", func(h *house) {
			h.move(Line{"wan0", netip.MustParseAddr("100.64.3.17"), Shared})
			h.pass(time.Hour)
			h.move(Line{"wan0", netip.MustParseAddr("81.2.69.10"), Public})
		}, []string{
			`The address outside (wan0) was 81.2.69.10 and is 100.64.3.17.`,
			`wan0 has the address 100.64.3.17, which nobody on the internet can reach: the provider puts several customers behind one address. Ports that are opened are of no use from there.`,
			`The address outside (wan0) was 100.64.3.17 and is 81.2.69.10.`,
			`wan0 has the public address 81.2.69.10 again: ports that are opened can be reached from the internet.`,
		}},
		{"a flood of refusals", func(h *house) {
			for i := range 150 {
				_, _ = h.manager.Open(h.Context(), h.request(camera, uint16(137+i%3)))
			}
		}, []string{
			`192.168.1.61 bc:33:29:0a:1b:2c asks for a port for the first time: UDP 137 ("game")`,
			`192.168.1.61 bc:33:29:0a:1b:2c was refused`,
		}},
		{"a few refusals", func(h *house) {
			h.open(camera, 8554)
			h.pass(time.Hour)
			h.told()
			for range 3 {
				for range 60 {
					_, _ = h.manager.Open(h.Context(), h.request(camera, 137))
				}
				h.pass(61 * time.Minute)
			}
		}, nil},
		{"a firewall that fails for a while", func(h *house) {
			h.firewall.SetFail(func(string) error { return errDown })
			_, _ = h.manager.Open(h.Context(), h.request(console, 3074))
			h.pass(10 * time.Minute)
			h.firewall.SetFail(nil)
			h.pass(10 * time.Minute)
		}, []string{"Xbox (192.168.1.50 00:50:f2:12:34:56) asks for a port", "Trouble with the firewall: ", "The trouble with the firewall is over."}},
		{"nothing", func(*house) {}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inHouse(t, func(h *house) {
				tt.do(h)
				h.pass(time.Hour)
				var got []string
				for _, m := range h.told() {
					for _, n := range m.News {
						got = append(got, n.Text)
					}
				}
				if len(got) != len(tt.want) {
					h.Fatalf("told:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
				}
				for i, want := range tt.want {
					if !strings.HasPrefix(got[i], want) {
						h.Errorf("told %q, want %q", got[i], want)
					}
				}
			})
		})
	}
}

func TestNothingIsToldTwiceOverARestart(t *testing.T) {
	inHouse(t, func(h *house) {
		_, err := h.manager.PutRule(h.Context(), lease.Rule{Kind: lease.RuleDMZ, Enabled: true, Target: lease.Target{Addr: camera}}, lease.RuleOptions{By: lease.OriginWeb})
		h.must(err)
		h.open(console, 5900)
		h.firewall.SetFail(func(string) error { return errDown })
		_, _ = h.manager.Open(h.Context(), h.request(console, 3074))
		h.pass(5 * time.Hour)
		got := h.kinds()
		for _, want := range []Kind{NewDevice, RiskyPort, LongDMZ, Trouble} {
			if !slices.Contains(got, want) {
				h.Errorf("told %v, and not %s", got, want)
			}
		}
		for range 3 {
			h.again()
			h.pass(48 * time.Hour)
			if more := h.kinds(); len(more) > 0 {
				h.Fatalf("after a restart it tells %v", more)
			}
		}
		h.firewall.SetFail(nil)
		h.pass(time.Hour)
		if d := cmp.Diff([]Kind{Trouble}, h.kinds()); d != "" {
			h.Errorf("after the trouble (-want +got):\n%s", d)
		}
	})
}

func TestWhatHappenedWhileNobodyLookedIsTold(t *testing.T) {
	inHouse(t, func(h *house) {
		clock := h.notifier.cfg.Clock
		h.stop()
		h.open(console, 3074)
		h.move(Line{"wan0", netip.MustParseAddr("81.2.69.77"), Public})
		h.start(clock)
		h.pass(time.Minute)
		if d := cmp.Diff([]Kind{NewDevice, WANAddress}, h.kinds()); d != "" {
			h.Errorf("told (-want +got):\n%s", d)
		}
	})
}

func TestWhatWaitsOutlivesARestart(t *testing.T) {
	inHouse(t, func(h *house) {
		h.broken(errDown)
		h.open(console, 3074)
		h.pass(time.Minute)
		h.again()
		h.broken(nil)
		h.pass(time.Hour)
		if d := cmp.Diff([]Kind{NewDevice}, h.kinds()); d != "" {
			h.Errorf("told (-want +got):\n%s", d)
		}
	})
}

func TestMessagesAreFoldedAndHavePauses(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open(console, 5900)
		h.pass(10 * time.Second)
		first := h.told()
		if len(first) != 1 || len(first[0].News) != 2 || first[0].Title != "router: 2 news" || first[0].Urgency != highUrgency {
			h.Fatalf("first told %+v, want both news in one message", first)
		}
		for minute := range 8 {
			h.open(netip.MustParseAddr(fmt.Sprintf("192.168.1.%d", 100+minute)), uint16(4000+minute))
			h.pass(time.Minute)
		}
		if got := h.told(); len(got) > 0 {
			h.Fatalf("told within the pause: %+v", got)
		}
		h.pass(3 * time.Minute)
		second := h.told()
		if len(second) != 1 || len(second[0].News) != 8 {
			h.Fatalf("then told %+v, want 8 news in one message", second)
		}
		if want := strings.Count(second[0].Message, "\n"); want != 7 {
			h.Errorf("the message has %d line breaks, want 7:\n%s", want, second[0].Message)
		}
	})
}

func TestTooMuchNewsIsCounted(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open(camera, 8554)
		h.pass(time.Minute)
		h.told()
		for i := range 40 {
			h.open(netip.MustParseAddr(fmt.Sprintf("192.168.1.%d", 100+i)), uint16(4000+i))
		}
		h.move(Line{"wan0", netip.MustParseAddr("81.2.69.77"), Public})
		h.pass(time.Minute)
		if s := h.notifier.State()["home"]; s.Waiting != 41 || s.Dropped != 32 {
			h.Errorf("state %+v, want 41 waiting, of which 32 are only counted", s)
		}
		h.pass(time.Hour)
		got := h.told()
		if len(got) != 1 || len(got[0].News) != 9 || got[0].Dropped != 32 || !strings.Contains(got[0].Message, "And 32 more") || !strings.Contains(got[0].Message, "81.2.69.77") {
			h.Errorf("told %+v", got)
		}
		if s := h.notifier.State()["home"]; s.Waiting != 0 || s.Sent.IsZero() {
			h.Errorf("state %+v, want nothing waiting", s)
		}
	})
}

func TestQuietHours(t *testing.T) {
	inHouse(t, func(h *house) { // time begins at midnight UTC
		local := time.Now().Local()
		h.pass(time.Duration((26-local.Hour())%24)*time.Hour - time.Duration(local.Minute())*time.Minute) // about 2:00
		h.open(console, 3074)
		h.pass(4 * time.Hour)
		if got := h.told(); len(got) > 0 {
			h.Errorf("told at night: %+v", got)
		}
		if s := h.notifier.State()["home"]; s.Waiting != 1 || s.Next.Local().Format("15:04") != "07:00" {
			h.Errorf("state %+v, want one that is sent at 07:00", s)
		}
		h.pass(70 * time.Minute)
		if d := cmp.Diff([]Kind{NewDevice}, h.kinds()); d != "" {
			h.Errorf("told in the morning (-want +got):\n%s", d)
		}
	}, func(s *Settings) { s.QuietFrom, s.QuietTo = 22*60, 7*60 })
}

func TestRetriesWithLongerPauses(t *testing.T) {
	inHouse(t, func(h *house) {
		h.broken(errDown)
		h.open(console, 3074)
		h.pass(10 * time.Second)
		if s := h.notifier.State()["home"]; s.LastError != errDown.Error() || s.Waiting != 1 || s.Failed.IsZero() || s.Next.IsZero() {
			h.Errorf("state after a failure: %+v", s)
		}
		h.pass(24 * time.Hour)
		if h.tries < 20 || h.tries > 40 {
			h.Errorf("%d tries in a day, want one an hour after the first ones", h.tries)
		}
		h.broken(nil)
		h.pass(2 * time.Hour)
		if d := cmp.Diff([]Kind{NewDevice}, h.kinds()); d != "" {
			h.Errorf("told (-want +got):\n%s", d)
		}
		if s := h.notifier.State()["home"]; s.LastError != "" || !s.Failed.IsZero() || s.Sent.IsZero() {
			h.Errorf("state after it: %+v", s)
		}
	})
}

func TestTargetsGetWhatTheyWant(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open(console, 5900)
		h.pass(time.Hour)
		if d := cmp.Diff([]Kind{RiskyPort}, h.kinds()); d != "" {
			h.Errorf("told (-want +got):\n%s", d)
		}
	}, func(s *Settings) { s.Targets[0].News = []Kind{RiskyPort, Trouble} })
}

func TestWithoutTargetsNothingIsSentNorKept(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open(console, 5900)
		h.pass(time.Hour)
		stored, err := h.store.Records(h.Context(), kindNotify)
		h.must(err)
		if _, kept := stored[keyState]; h.tries > 0 || kept {
			h.Errorf("%d tries, state kept: %v", h.tries, kept)
		}
		// Who is there already when the first target is set is no news.
		s := h.notifier.Settings()
		s.Targets = []Target{{ID: "home", Kind: Webhook, Enabled: true, URL: "https://example.net/"}}
		_, err = h.notifier.Set(h.Context(), s, s.Version)
		h.must(err)
		h.pass(time.Hour)
		if got := h.kinds(); len(got) > 0 {
			h.Errorf("told what was before: %v", got)
		}
	}, func(s *Settings) { s.Targets = nil })
}

func TestMessagesInChinese(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open(console, 3074)
		h.pass(time.Minute)
		got := h.told()
		if len(got) != 1 || got[0].Title != "router：新设备请求端口" || got[0].Message != `Xbox (192.168.1.50 00:50:f2:12:34:56) 首次请求端口：UDP 3074 ("game")` {
			h.Errorf("told %+v", got)
		}
	}, func(s *Settings) { s.Language = "zh" })
}

func TestLanguagesSayTheSame(t *testing.T) {
	en, zh := english(), chinese()
	for key, text := range en {
		if zh[key] == "" {
			t.Errorf("no Chinese for %s: %s", key, text)
		}
		for _, name := range []string{"{who}", "{what}", "{count}", "{kind}", "{router}", "{before}", "{after}", "{wan}", "{why}", "{source}", "{reason}", "{hours}", "{service}"} {
			if strings.Contains(text, name) != strings.Contains(zh[key], name) {
				t.Errorf("%s: %s is in one of %q and %q only", key, name, text, zh[key])
			}
		}
	}
	if len(en) != len(zh) {
		t.Errorf("%d English texts, %d Chinese", len(en), len(zh))
	}
	for _, k := range Kinds() {
		if en[string(k)] == "" || en["kind."+string(k)] == "" {
			t.Errorf("%s has no text", k)
		}
	}
}

func TestSettingsThatAreNotThoseThatWereSeen(t *testing.T) {
	inHouse(t, func(h *house) {
		s := h.notifier.Settings()
		if _, err := h.notifier.Set(h.Context(), s, s.Version-1); !errors.Is(err, ErrChanged) {
			h.Errorf("got %v, want %v", err, ErrChanged)
		}
		if _, err := h.notifier.Test(h.Context(), "nobody"); !errors.Is(err, ErrNoTarget) {
			h.Errorf("got %v, want %v", err, ErrNoTarget)
		}
	})
}
