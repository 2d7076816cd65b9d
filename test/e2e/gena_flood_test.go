package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"testing"

	"github.com/portreeve/portreeve/test/lab"
)

// One host has a thousand idle connections over IPv6, from several addresses, and subscribes to whatever it may without ever
// taking an event. Another one, in the same subnet, is served over both families, and its subscriber is told at once.
func TestPromise8OneHostFloodsOverIPv6(t *testing.T) {
	t.Parallel()
	home, d := newHome(t, usual(), lab.DaemonOptions{})
	before := memory(t, d)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ignoreEvents(ctx, t, home)
	kept := 0
	for i := range 1000 {
		conn, err := home.LAN2.Dial(ctx, "tcp", netip.AddrPortFrom(home.Router.Addr6, 49000).String())
		if err != nil {
			continue // a limit at work
		}
		kept++
		context.AfterFunc(ctx, func() { _ = conn.Close() })
		if i%100 == 0 {
			home.LAN2.Run(t, "ip", "addr", "add", fmt.Sprintf("2001:db8:1:1::1:%x/64", i), "dev", "eth0", "nodad")
		}
	}
	t.Logf("%d connections", kept)

	callback := at(home.LAN1.Addr6, 7000)
	events := subscribers(t, home.LAN1, callback)
	subscribe(t, home.LAN1, home.Router.Addr6, "/evt/IPConn", callback)
	nextEvent(t, events, "the first one")
	for port := range 5 {
		code, _, err := call(ctx, home.LAN1, "["+home.Router.Addr6.String()+"]", wanIP1, "AddPortMapping", mapping(20000+port, "UDP", 1000+port, "192.168.1.10", "600"))
		if code != 0 || err != nil {
			t.Errorf("over IPv6: code %d, %v", code, err)
		}
		nextEvent(t, events, "a mapping")
	}
	after := memory(t, d)
	if after > before+64 {
		t.Errorf("the daemon has %d MB now and had %d MB", after, before)
	}
}

// ignoreEvents has LAN2 subscribe until it is refused, and never take an event.
func ignoreEvents(ctx context.Context, t *testing.T, home *lab.Home) {
	t.Helper()
	callback := at(home.LAN2.Addr, 7000)
	ln, err := home.LAN2.Listen(ctx, "tcp", callback.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() }) // nobody accepts; the kernel does
	granted := 0
	for i := range 50 {
		status, _, err := gena(ctx, home.LAN2, home.Router.Addr, "SUBSCRIBE", "/evt/IPConn", map[string]string{
			"CALLBACK": fmt.Sprintf("<http://%s/%d>", callback, i), "NT": "upnp:event",
		})
		if err != nil {
			t.Fatal(err)
		}
		if status == http.StatusOK {
			granted++
		}
	}
	if granted != 16 {
		t.Errorf("%d of 50 subscriptions granted, want 16", granted)
	}
}
