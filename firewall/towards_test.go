package firewall

import (
	"net/netip"
	"testing"

	"github.com/portreeve/portreeve/lease"
)

func TestPortTowards(t *testing.T) {
	ep := netip.MustParseAddrPort
	host, peer, wan := ep("192.168.1.10:4000"), ep("93.184.216.34:9000"), ep("81.2.69.10:4111")
	host6, peer6 := ep("[2001:db8:1:1::10]:4000"), ep("[2001:db8:a::34]:9000")
	insert(t,
		flow{protocol: lease.UDP, source: host, asked: peer, server: peer, returnedTo: wan},
		flow{protocol: lease.TCP, source: peer, asked: ep("81.2.69.10:8080"), server: host, returnedTo: peer},
		flow{protocol: lease.UDP, source: host6, asked: peer6, server: peer6, returnedTo: host6},
	)
	tests := map[string]struct {
		protocol       lease.Protocol
		internal, peer netip.AddrPort
		want           uint16
	}{
		"translated":               {lease.UDP, host, peer, 4111},
		"begun by the peer":        {lease.TCP, host, peer, 8080},
		"not translated":           {lease.UDP, host6, peer6, 4000},
		"another port of the peer": {lease.UDP, host, ep("93.184.216.34:9001"), 0},
		"another port of the host": {lease.UDP, ep("192.168.1.10:4001"), peer, 0},
		"another peer":             {lease.UDP, host, ep("151.101.1.69:9000"), 0},
		"another protocol":         {lease.TCP, host6, peer6, 0},
		"one that is not tracked":  {lease.Protocol(47), host, peer, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := PortTowards(tt.protocol, tt.internal, tt.peer)
			if err != nil || got != tt.want {
				t.Errorf("port %d, error %v; want %d", got, err, tt.want)
			}
		})
	}
}
