package main

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	natpmp "github.com/jackpal/go-nat-pmp"
)

// computerPorts are those of a torrent client. NAT-PMP carries no description.
func computerPorts() []port { return []port{{"udp", 51413, ""}} }

// pmp is a gateway that is asked by NAT-PMP.
type pmp struct{ client *natpmp.Client }

func newPMP(router netip.Addr) pmp {
	return pmp{natpmp.NewClientWithTimeout(router.AsSlice(), retryAfter)}
}

// open cannot be interrupted, but ends within retryAfter.
func (g pmp) open(_ context.Context, p port, lifetime time.Duration) (granted time.Duration, err error) {
	got, err := g.client.AddPortMapping(p.network, int(p.number), int(p.number), int(lifetime/time.Second))
	if err != nil {
		return 0, err
	}
	if got.MappedExternalPort != p.number {
		return 0, fmt.Errorf("got port %d instead, which nobody on the internet knows", got.MappedExternalPort)
	}
	return time.Duration(got.PortMappingLifetimeInSeconds) * time.Second, nil
}
