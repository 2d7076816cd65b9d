package ssdp

import (
	"bufio"
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAnnouncements(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
		defer cancel()
		start := time.Now()
		var sent []string
		var moments []time.Duration
		say := func(what string) func() {
			return func() { sent, moments = append(sent, what), append(moments, time.Since(start)) }
		}
		announce(ctx, nil, say("alive"), say("byebye"))
		if diff := cmp.Diff([]string{"byebye", "alive", "alive", "alive"}, sent[:4]); diff != "" {
			t.Error("start (-want +got):\n" + diff)
		}
		if moments[0] >= startDelay || moments[3] > time.Second {
			t.Errorf("start at %v, want the first within %s and all within a second", moments[:4], startDelay)
		}
		different := make(map[time.Duration]bool)
		for i := 4; i < len(sent); i++ {
			gap := moments[i] - moments[i-1]
			if sent[i] != "alive" || gap >= maxAge/2 || gap < maxAge/4 {
				t.Errorf("%s after %s, want alive before half of %s has passed", sent[i], gap, maxAge)
			}
			different[gap] = true
		}
		if len(different) < 10 {
			t.Errorf("%d different gaps in a day, want random ones", len(different))
		}
	})
}

func TestAnnouncingEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, after := range []time.Duration{0, startDelay, startDelay + repeatDelay, time.Hour} {
			ctx, cancel := context.WithTimeout(t.Context(), after)
			start := time.Now()
			announce(ctx, nil, func() {}, func() {})
			if took := time.Since(start); took != after {
				t.Errorf("cancelled after %s, returned after %s", after, took)
			}
			cancel()
		}
	})
}

func TestDelayedAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newResponder(t).handle(host, group4().Addr(), []byte(msearch("ssdp:all")))
		start := time.Now()
		var sent [][]byte
		deliver(t.Context(), a, func(message []byte) { sent = append(sent, message) })
		if diff := cmp.Diff(a.messages, sent); diff != "" {
			t.Error("order (-want +got):\n" + diff)
		}
		if took := time.Since(start); took >= maxDelay || took == 0 {
			t.Errorf("took %s, want less than %s and more than nothing", took, maxDelay)
		}
	})
}

// Clients feel the time of one answer, but if all gateways answered at the same moment some datagrams would be lost.
func TestAnswersAreQuickAndSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newResponder(t).handle(host, group4().Addr(), []byte(msearch("upnp:rootdevice")))
		var waits []time.Duration
		for range 1001 {
			start := time.Now()
			deliver(t.Context(), a, func([]byte) { waits = append(waits, time.Since(start)) })
		}
		slices.Sort(waits)
		if len(waits) != 1001 || waits[500] > 40*time.Millisecond {
			t.Errorf("%d answers, half of them after %s", len(waits), waits[500])
		}
		if waits[900]-waits[100] < maxDelay/2 {
			t.Errorf("four fifths of the answers between %s and %s", waits[100], waits[900])
		}
	})
}

func TestUnicastSearchIsAnsweredAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newResponder(t)
		a := r.handle(host, r.places[0].addr(), []byte(msearch("ssdp:all")))
		start := time.Now()
		count := 0
		deliver(t.Context(), a, func([]byte) { count++ })
		if took := time.Since(start); took != 0 || count != len(gateway()) {
			t.Errorf("%d messages in %s, want %d at once", count, took, len(gateway()))
		}
	})
}

func TestDelayedAnswersEndWithTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		deliver(ctx, answer{within: time.Hour, messages: [][]byte{{1}}}, func([]byte) { t.Error("sent after the end") })
		deliver(ctx, answer{messages: [][]byte{{1}}}, func([]byte) { t.Error("sent after the end") })
	})
}

func TestNotifyHeaders(t *testing.T) {
	id := newResponder(t).identity
	target := gateway()[0]
	tests := []struct {
		name    string
		message []byte
		want    string
	}{
		{"alive", id.alive(target, group4(), "http://192.168.1.1:49000/rootDesc.xml"), strings.Join([]string{
			"NOTIFY * HTTP/1.1",
			"HOST: 239.255.255.250:1900",
			"CACHE-CONTROL: max-age=1800",
			"LOCATION: http://192.168.1.1:49000/rootDesc.xml",
			"NT: " + urnD + "InternetGatewayDevice:2",
			"NTS: ssdp:alive",
			"SERVER: Linux/6.1 UPnP/1.1 portreeve/1.0",
			"USN: " + u0 + "::" + urnD + "InternetGatewayDevice:2",
			`OPT: "http://schemas.upnp.org/upnp/1/0/"; ns=01`,
			"01-NLS: 1000",
			"BOOTID.UPNP.ORG: 1000",
			"CONFIGID.UPNP.ORG: 42",
			"", "",
		}, "\r\n")},
		{"byebye", id.byebye(target, group4()), strings.Join([]string{
			"NOTIFY * HTTP/1.1",
			"HOST: 239.255.255.250:1900",
			"NT: " + urnD + "InternetGatewayDevice:2",
			"NTS: ssdp:byebye",
			"USN: " + u0 + "::" + urnD + "InternetGatewayDevice:2",
			`OPT: "http://schemas.upnp.org/upnp/1/0/"; ns=01`,
			"01-NLS: 1000",
			"BOOTID.UPNP.ORG: 1000",
			"CONFIGID.UPNP.ORG: 42",
			"", "",
		}, "\r\n")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, string(tt.message)); diff != "" {
				t.Error("message (-want +got):\n" + diff)
			}
			if _, err := http.ReadRequest(bufio.NewReader(strings.NewReader(string(tt.message)))); err != nil {
				t.Errorf("not a request: %v", err)
			}
		})
	}
}
