package web_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/web"
)

// evening is what can happen to port 3074 of a console, in minutes after eight in the evening of the day before.
type evening struct{ events []lease.Event }

func (e *evening) at(minute int) time.Time {
	year, month, day := time.Now().Date()
	return time.Date(year, month, day-1, 20, minute, 0, 0, time.Local)
}

func (e *evening) add(minute int, event lease.Event) {
	event.Time, event.Seq, event.Count = e.at(minute), uint64(len(e.events)+1), max(1, event.Count)
	e.events = append(e.events, event)
}

// device is news of the console's own lease.
func (e *evening) device(minute int, kind lease.EventKind, id lease.ID) {
	e.add(minute, lease.Event{Kind: kind, By: lease.OriginUPnP, Lease: e.lease(id, 0)})
}

func (e *evening) lease(id lease.ID, created int) lease.Lease {
	return lease.Lease{
		Mapping: lease.Mapping{Protocol: lease.UDP, External: netip.AddrPortFrom(netip.Addr{}, 3074), Internal: netip.AddrPortFrom(console, 3074)},
		ID:      id, Origin: lease.OriginUPnP, Client: console, Device: "00:50:f2:12:34:56", Created: e.at(created),
	}
}

// answered is a renewal of the console to which the owner's forward is the answer.
func (e *evening) answered(minute, since int) {
	l := e.lease("rule00010", since)
	l.Rule, l.Origin = "rule0001", lease.OriginWeb
	e.add(minute, lease.Event{Kind: lease.EventRenewed, By: lease.OriginUPnP, Lease: l, Count: 3})
}

// forward is news of the owner's forward of a port.
func (e *evening) forward(minute int, change lease.RuleVerb, port uint16) {
	r := lease.Rule{
		ID: "rule0001", Kind: lease.RuleForward, Name: "Game", Origin: lease.OriginWeb, Enabled: true, Protocols: []lease.Protocol{lease.UDP},
		Ports: lease.PortRange{First: port, Last: port}, Target: lease.Target{Device: "00:50:f2:12:34:56", Addr: console}, Created: e.at(0),
	}
	e.add(minute, lease.Event{
		Kind: lease.EventRule, By: lease.OriginWeb, Who: "admin", Reason: fmt.Sprintf("forward %q %s: %s", r.Name, change, r.String()),
		Rule: &lease.RuleNews{Change: change, Rule: r, InForce: change != lease.RuleRemoved},
	})
}

// home is one with this evening behind it.
func (e *evening) home(t *testing.T) *home {
	t.Helper()
	return newHomeWith(t, func(c *lease.Config) {
		c.Store = lease.NewMemoryStore()
		clock, err := lease.ReadClock()
		must(t, err)
		must(t, c.Store.Commit(t.Context(), lease.Batch{Now: clock, Events: e.events}))
	})
}

// A forward that gets another port is found by both, and the line says from what to what.
func TestAChangeOfAForwardIsFoundByBothPorts(t *testing.T) {
	var e evening
	e.forward(10, lease.RuleAdded, 3074)
	e.forward(30, lease.RuleChanged, 3075)
	b := e.home(t).owner()
	for port, want := range map[string]int{"3074": 2, "3075": 1, "3076": 0} {
		h := decode[web.History](t, b.want(http.StatusOK, b.get("/api/v1/history?port="+port)))
		if len(h.Events) != want || want > 0 && (h.Events[0].Rule.Was == nil || h.Events[0].Rule.Was.Ports != "3074") {
			t.Errorf("about port %s: %+v, want %d events, the change first", port, h.Events, want)
		}
		for _, query := range []string{"port:" + port, port} {
			page := string(b.want(http.StatusOK, b.get("/activity?q="+query)).body)
			if found := strings.Contains(page, `<b>3074</b> to <span class="tag udp">UDP</span> <b>3075</b>`); found != (want > 0) {
				t.Errorf("%s: the change is found: %t, want %t", query, found, want > 0)
			}
		}
	}
}

// What is counted up has the time of the last one, and stands where that time is.
func TestLinesOfADeviceAreInTheOrderOfTheirTime(t *testing.T) {
	var e evening
	e.device(0, lease.EventOpened, "console1")
	e.device(50, lease.EventRenewed, "console1")
	e.device(20, lease.EventClosed, "console1")
	e.device(30, lease.EventOpened, "console1")
	e.device(55, lease.EventClosed, "console1")
	b := e.home(t).owner()
	for _, path := range []string{"/devices/00:50:f2:12:34:56", "/activity"} {
		page := string(b.want(http.StatusOK, b.get(path)).body)
		var got []string
		for _, part := range strings.Split(page, `<li class="line `)[1:] {
			_, text, _ := strings.Cut(part, "<time")
			_, text, _ = strings.Cut(text, ">")
			text, _, _ = strings.Cut(text, "<")
			got = append(got, text)
		}
		if want := []string{"20:55:00", "20:50:00", "20:30:00", "20:20:00", "20:00:00"}; !slices.Equal(got, want) {
			t.Errorf("%s has the times %q, want %q", path, got, want)
		}
	}
}

func TestWhenAPortWasOpen(t *testing.T) {
	for _, tt := range []struct {
		name        string
		happens     func(*evening)
		stays, bars []string
	}{
		{
			"a device's own lease",
			func(e *evening) {
				e.device(0, lease.EventOpened, "console1")
				e.device(10, lease.EventRenewed, "console1")
				e.device(30, lease.EventClosed, "console1")
			},
			[]string{"lease udp 3074 20:00:00-20:30:00"},
			[]string{"3074 closed 20:00:00"},
		},
		{
			"the owner's forward answers the renewals of the device",
			func(e *evening) {
				e.device(0, lease.EventOpened, "console1")
				e.forward(10, lease.RuleAdded, 3074)
				e.device(10, lease.EventClosed, "console1")
				e.answered(12, 10)
				e.forward(30, lease.RuleRemoved, 3074)
				e.device(35, lease.EventOpened, "console2")
				e.device(40, lease.EventClosed, "console2")
			},
			[]string{"lease udp 3074 20:00:00-20:10:00", "forward udp 3074 20:10:00-20:30:00", "lease udp 3074 20:35:00-20:40:00"},
			[]string{"3074 closed 20:00:00", "3074 forward 20:10:00", "3074 closed 20:35:00"},
		},
		{
			"a forward is changed to another port",
			func(e *evening) {
				e.forward(10, lease.RuleAdded, 3074)
				e.answered(12, 10)
				e.forward(30, lease.RuleChanged, 3075)
				e.forward(40, lease.RuleRemoved, 3075)
			},
			[]string{"forward udp 3074 20:10:00-20:30:00", "forward udp 3075 20:30:00-20:40:00"},
			[]string{"3075 forward 20:30:00", "3074 forward 20:10:00"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var e evening
			tt.happens(&e)
			stays, bars := web.Picture(e.home(t).server)
			if !slices.Equal(stays, tt.stays) {
				t.Errorf("open was %q, want %q", stays, tt.stays)
			}
			if !slices.Equal(bars, tt.bars) {
				t.Errorf("the bars are %q, want %q", bars, tt.bars)
			}
		})
	}
}
