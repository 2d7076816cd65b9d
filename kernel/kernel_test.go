package kernel

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/portreeve/portreeve/test/netns"
)

func TestMain(m *testing.M) { netns.Main(m) }

var addresses = Topic{Name: "addresses", Protocol: unix.NETLINK_ROUTE, Groups: []uint{unix.RTNLGRP_IPV4_IFADDR}}

// newLink makes an interface for the duration of a test.
func newLink(t *testing.T, name string) netlink.Link {
	t.Helper()
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name + "p"}
	if err := netlink.LinkAdd(veth); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := netlink.LinkDel(veth); err != nil {
			t.Error(err)
		}
	})
	return veth
}

func addAddr(t *testing.T, to netlink.Link, n int) {
	t.Helper()
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(10, 1, byte(n>>8), byte(n)), Mask: net.CIDRMask(32, 32)}}
	if err := netlink.AddrAdd(to, addr); err != nil {
		t.Fatal(err)
	}
}

func TestHints(t *testing.T) {
	link := newLink(t, "hint0")
	ctx, cancel := context.WithCancel(t.Context())
	hints, ended := make(chan struct{}, 1), make(chan struct{})
	go func() {
		addresses.Hints(ctx, hints, slog.New(slog.DiscardHandler))
		close(ended)
	}()
	hinted := func(what string) {
		t.Helper()
		select {
		case <-hints:
		case <-time.After(10 * time.Second):
			t.Fatalf("no hint %s", what)
		}
	}
	hinted("at the beginning")
	for n := range 3 {
		addAddr(t, link, n)
		hinted("of an address")
	}
	cancel()
	<-ended
}

// Messages that are more than the socket's buffer holds are lost. That must be noticed, and must not end the listening.
func TestOverrunIsAChange(t *testing.T) {
	link := newLink(t, "flood0")
	ctx, cancel := context.WithCancel(t.Context())
	calls, proceed, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- addresses.listen(ctx, func() {
			select {
			case calls <- struct{}{}:
				<-proceed
			case <-ctx.Done():
			}
		})
	}()
	<-calls // the first one, which comes in any case; nobody reads the socket until we say so
	for n := range 3000 {
		addAddr(t, link, n)
	}
	for range 3 {
		proceed <- struct{}{}
		select {
		case <-calls:
		case err := <-ended:
			t.Fatalf("ended with %v", err)
		case <-time.After(10 * time.Second):
			t.Fatal("no change is noticed")
		}
	}
	cancel()
	proceed <- struct{}{}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
