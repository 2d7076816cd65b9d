package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/portreeve/portreeve/test/lab"
)

const (
	igd1 = "urn:schemas-upnp-org:device:InternetGatewayDevice:1"
	igd2 = "urn:schemas-upnp-org:device:InternetGatewayDevice:2"
)

// ssdpGroup is where searches over IPv4 go.
func ssdpGroup() netip.AddrPort { return netip.MustParseAddrPort("239.255.255.250:1900") }

// message is an answer to a search, or an announcement.
type message struct {
	from   netip.AddrPort
	fields map[string]string
}

func parseMessage(packet []byte, from netip.AddrPort) message {
	m := message{from: netip.AddrPortFrom(from.Addr().WithZone(""), from.Port()), fields: map[string]string{}}
	lines := strings.Split(string(packet), "\r\n")
	m.fields[""] = lines[0]
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ":")
		m.fields[name] = strings.TrimSpace(value)
	}
	return m
}

// ssdpSearch sends one search from an address of a host to the group of its family, or to one address, and returns what is
// answered within a moment.
func ssdpSearch(t *testing.T, host *lab.Host, from netip.Addr, to netip.AddrPort, st string) (answers []message, err error) {
	t.Helper()
	const moment = 300 * time.Millisecond // answers come within 60 ms
	conn, err := host.ListenPacket(t.Context(), "udp", netip.AddrPortFrom(from, 0).String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	search := fmt.Sprintf("M-SEARCH * HTTP/1.1\r\nHOST: %s\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: %s\r\n\r\n", to, st)
	if _, err := conn.WriteTo([]byte(search), net.UDPAddrFromAddrPort(to)); err != nil {
		return nil, err
	}
	if err := conn.SetReadDeadline(time.Now().Add(moment)); err != nil {
		return nil, err
	}
	buffer := make([]byte, 2048)
	for {
		n, src, err := conn.ReadFrom(buffer)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return answers, nil
		}
		if err != nil {
			return answers, err
		}
		answers = append(answers, parseMessage(buffer[:n], src.(*net.UDPAddr).AddrPort()))
	}
}

// mustFind searches for the gateway until it is found at that LOCATION alone, at most 5 s.
func mustFind(t *testing.T, host *lab.Host, from netip.Addr, to netip.AddrPort, st, location string) message {
	t.Helper()
	var found message
	lab.Eventually(t, 5*time.Second, fmt.Sprintf("%s at %s finds %s", host.Name, from, location), func() error {
		answers, err := ssdpSearch(t, host, from, to, st)
		switch {
		case err != nil:
			return err
		case len(answers) != 1:
			return fmt.Errorf("%d answers", len(answers))
		case answers[0].fields["LOCATION"] != location || answers[0].fields["ST"] != st:
			return fmt.Errorf("answered with %v", answers[0].fields)
		}
		found = answers[0]
		return nil
	})
	return found
}

// zoned is a link-local address of a host, or a group, on the interface of which the other address tells the number.
func zoned(addr, like netip.Addr) netip.Addr { return addr.WithZone(like.Zone()) }

func contextWithin(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithTimeout(t.Context(), d)
}
