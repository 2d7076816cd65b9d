package e2e_test

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/pcp"
	"github.com/portreeve/portreeve/test/lab"
)

// pcpClient is a client on a LAN host, at one of its addresses, of one of the router's.
func pcpClient(t *testing.T, host *lab.Host, local, router netip.Addr) *pcp.Client {
	t.Helper()
	dialer := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(at(local, 0))}
	var conn net.Conn
	err := host.Do(func() (err error) {
		conn, err = dialer.DialContext(t.Context(), "udp", at(router, pcp.Port).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	often := pcp.Retransmission{Initial: time.Second, Max: 2 * time.Second, Count: 15} // the machine may be busy
	return pcp.NewClient(pcp.ClientConfig{Conn: conn, PCP: often, PMP: often})
}

// pcpClient4 and pcpClient6 are clients at a host's usual addresses.
func pcpClient4(t *testing.T, home *lab.Home, host *lab.Host) *pcp.Client {
	t.Helper()
	return pcpClient(t, host, host.Addr, home.Router.Addr)
}

func pcpClient6(t *testing.T, home *lab.Home, host *lab.Host) *pcp.Client {
	t.Helper()
	return pcpClient(t, host, host.Addr6, home.Router.Addr6)
}

// gateway6 is the router's link-local address as a LAN host knows it, by its default route.
func gateway6(t *testing.T, home *lab.Home, host *lab.Host) netip.Addr {
	t.Helper()
	return home.Router.LinkLocal(t, "br-lan").WithZone(host.LinkLocal(t, "eth0").Zone())
}

// mapRequest asks for a mapping of an hour, with a nonce of its own. External port 0 is any.
func mapRequest(protocol lease.Protocol, internal, external uint16, options ...pcp.Option) pcp.MapRequest {
	return pcp.MapRequest{
		RequestHeader: pcp.RequestHeader{Lifetime: time.Hour}, Nonce: pcp.NewNonce(), Protocol: protocol, InternalPort: internal,
		Suggested: netip.AddrPortFrom(netip.Addr{}, external), Options: options,
	}
}

// deletion is the request that deletes what another one made.
func deletion(m pcp.MapRequest) pcp.MapRequest {
	m.Lifetime, m.Suggested, m.Options = 0, netip.AddrPort{}, nil
	return m
}

func mustMap(t *testing.T, c *pcp.Client, m pcp.MapRequest) pcp.MapResponse {
	t.Helper()
	r, err := c.Map(t.Context(), m)
	if err != nil {
		t.Fatalf("%s port %d: %v", m.Protocol, m.InternalPort, err)
	}
	return r
}

// mustRefuse is an error of the test unless a request is refused with the result. It returns for how long.
func mustRefuse(t *testing.T, c *pcp.Client, m pcp.MapRequest, want pcp.Result) time.Duration {
	t.Helper()
	r, err := c.Map(t.Context(), m)
	refused, ok := errors.AsType[*pcp.ResultError](err)
	if !ok || refused.Result != want {
		t.Fatalf("%s port %d: answer %+v, error %v, want %s", m.Protocol, m.InternalPort, r, err, want)
	}
	return refused.Lifetime
}

// familyOf is what a test does the same with both families.
type familyOf struct {
	name           string
	inside, router netip.Addr
	peers          [2]netip.Addr
	outside        netip.Addr // where peers find the host
}

func families(home *lab.Home) []familyOf {
	return []familyOf{
		{"IPv4", home.LAN1.Addr, home.Router.Addr, home.Peers, home.WAN},
		{"IPv6", home.LAN1.Addr6, home.Router.Addr6, home.Peers6, home.LAN1.Addr6},
	}
}
