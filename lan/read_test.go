package lan

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// Events that are more than the socket's buffer holds are lost. That must be noticed, and must not end the listening.
func TestOverrunIsAChange(t *testing.T) {
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "flood0"}, PeerName: "flood1"}
	if err := netlink.LinkAdd(veth); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := netlink.LinkDel(veth); err != nil {
			t.Error(err)
		}
	}()
	ctx, cancel := context.WithCancel(t.Context())
	calls, proceed, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- listenKernel(ctx, func() {
			select {
			case calls <- struct{}{}:
				<-proceed
			case <-ctx.Done():
			}
		})
	}()
	<-calls // the first one, which comes in any case; nobody reads the socket until we say so
	for n := range 3000 {
		addr := &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(10, 1, byte(n>>8), byte(n)), Mask: net.CIDRMask(32, 32)}}
		if err := netlink.AddrAdd(veth, addr); err != nil {
			t.Fatal(err)
		}
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
