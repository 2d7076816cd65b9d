package wan_test

import (
	"errors"
	"fmt"
	"net"
	"testing"

	"github.com/portreeve/portreeve/wan"
)

func TestNextHop(t *testing.T) {
	router(t)
	for _, ipv6 := range []bool{false, true} {
		if hop, _, err := wan.NextHop(ipv6); !errors.Is(err, wan.ErrNoRouter) {
			t.Errorf("without a route: %s, %v", hop, err)
		}
	}
	run(t, "ip route add default via 198.51.100.2 dev wan0",
		"ip addr add 2001:db8:1:1::10/64 dev wan1 nodad", "ip -6 route add default via fe80::1 dev wan1")
	wan1, err := net.InterfaceByName("wan1")
	if err != nil {
		t.Fatal(err)
	}
	for ipv6, want := range map[bool]string{
		false: "198.51.100.2 from 198.51.100.1", true: fmt.Sprintf("fe80::1%%%d from 2001:db8:1:1::10", wan1.Index),
	} {
		hop, own, err := wan.NextHop(ipv6)
		if got := fmt.Sprintf("%s from %s", hop, own); err != nil || got != want {
			t.Errorf("next hop %s, %v; want %s", got, err, want)
		}
	}
}
