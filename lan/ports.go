package lan

import (
	"context"

	"github.com/portreeve/portreeve/lease"
)

// Listening asks the kernel which TCP and UDP ports the router itself serves, to anyone but itself: sockets that are bound
// to a loopback address are left out. Its cost grows with the number of sockets that listen, not with that of connections.
//
// Of UDP it returns each port that a socket without a fixed peer is bound to, since such a one takes packets from anybody;
// that is true for a moment also of a resolver's sockets while they wait for an answer.
func (w *Watcher) Listening(ctx context.Context) (lease.Listeners, error) {
	ports := make(lease.Listeners)
	for _, protocol := range []lease.Protocol{lease.TCP, lease.UDP} {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		sockets, err := waitingSockets(w.sockets, protocol)
		if err != nil {
			return nil, err
		}
		for _, s := range sockets {
			if s.local.Port() != 0 && !s.local.Addr().IsLoopback() {
				ports[lease.Port{Protocol: protocol, Number: s.local.Port()}] = struct{}{}
			}
		}
	}
	return ports, nil
}
