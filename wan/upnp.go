package wan

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"github.com/huin/goupnp"
	"github.com/huin/goupnp/httpu"
	"github.com/huin/goupnp/soap"
	"github.com/huin/goupnp/ssdp"

	"github.com/portreeve/portreeve/lease"
)

// UPnPGateway is another router that is asked by UPnP.
type UPnPGateway struct {
	Name    string     // what it calls itself; cleaned
	Addr    netip.Addr // where it is
	Service string     // which of its services is asked, such as "WANIPConnection:1"

	client *soap.SOAPClient
	urn    string
}

// Errors of a search for a gateway.
var (
	ErrNoUPnP         = errors.New("no UPnP gateway has answered")
	errNoUPnPServices = errors.New("it has no service for port mappings")
)

// searchFor is how long answers to a search are waited for. The devices spread theirs over most of it.
const searchFor = 1300 * time.Millisecond

// FindUPnP searches for the gateway at an IPv4 address, from one of our own on the same LAN. If it has not answered it is
// [ErrNoUPnP].
//
// It reads what the gateway says as long as that is, until ctx ends: it is for a tool that somebody waits for.
func FindUPnP(ctx context.Context, server, source netip.Addr) (*UPnPGateway, error) {
	locations, err := searchUPnP(ctx, source)
	if err != nil {
		return nil, err
	}
	err = ErrNoUPnP
	for _, location := range locations {
		addr, parseErr := netip.ParseAddr(location.Hostname())
		if parseErr != nil || addr != server {
			continue
		}
		g, openErr := openUPnP(ctx, location)
		if openErr == nil {
			g.Addr = addr
			return g, nil
		}
		err = fmt.Errorf("UPnP gateway at %s: %w", addr, openErr)
	}
	return nil, err
}

func searchUPnP(ctx context.Context, source netip.Addr) ([]*url.URL, error) {
	const target = "urn:schemas-upnp-org:device:InternetGatewayDevice:1" // one of version 2 answers to it as well
	client, err := httpu.NewHTTPUClientAddr(source.String())
	if err != nil {
		return nil, fmt.Errorf("search for a UPnP gateway: %w", err)
	}
	defer func() { _ = client.Close() }() // nothing is to be sent any more
	ctx, cancel := context.WithTimeout(ctx, searchFor)
	defer cancel()
	answers, err := ssdp.RawSearch(ctx, client, target, 2)
	if err != nil {
		return nil, fmt.Errorf("search for a UPnP gateway: %w", err)
	}
	var locations []*url.URL
	for _, a := range answers {
		if location, err := a.Location(); err == nil {
			locations = append(locations, location)
		}
	}
	return locations, nil
}

// openUPnP reads what a device says of itself and finds its service.
func openUPnP(ctx context.Context, location *url.URL) (*UPnPGateway, error) {
	root, err := goupnp.DeviceByURLCtx(ctx, location)
	if err != nil {
		return nil, err
	}
	for _, service := range []string{"WANIPConnection:2", "WANIPConnection:1", "WANPPPConnection:1"} {
		urn := "urn:schemas-upnp-org:service:" + service
		if found := root.Device.FindService(urn); len(found) > 0 {
			name := lease.CleanText(root.Device.FriendlyName, lease.MaxDescription)
			return &UPnPGateway{Name: name, Service: service, client: found[0].NewSOAPClient(), urn: urn}, nil
		}
	}
	return nil, errNoUPnPServices
}

// UPnPError is that a gateway has refused an action.
type UPnPError struct {
	Action, Text string
	Code         int
}

// Error says what was refused with which code, and what the gateway says of it.
func (e *UPnPError) Error() string {
	return fmt.Sprintf("%s is refused: %d %s", e.Action, e.Code, e.Text)
}

func (g *UPnPGateway) call(ctx context.Context, action string, in, out any) error {
	err := g.client.PerformActionCtx(ctx, g.urn, action, in, out)
	if fault, ok := errors.AsType[*soap.SOAPFaultError](err); ok {
		e := fault.Detail.UPnPError
		return &UPnPError{Action: action, Code: e.Errorcode, Text: lease.CleanText(e.ErrorDescription, lease.MaxDescription)}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", action, err)
	}
	return nil
}

// ExternalAddr asks for the address outside.
func (g *UPnPGateway) ExternalAddr(ctx context.Context) (netip.Addr, error) {
	var out struct{ NewExternalIPAddress string }
	if err := g.call(ctx, "GetExternalIPAddress", nil, &out); err != nil {
		return netip.Addr{}, err
	}
	addr, err := netip.ParseAddr(out.NewExternalIPAddress)
	if err != nil {
		return addr, fmt.Errorf("GetExternalIPAddress: the gateway says %q, which is no address", lease.CleanText(out.NewExternalIPAddress, 64))
	}
	return addr, nil
}

// Status asks whether the gateway is connected, and for how long.
func (g *UPnPGateway) Status(ctx context.Context) (status string, uptime time.Duration, err error) {
	var out struct{ NewConnectionStatus, NewUptime string }
	if err := g.call(ctx, "GetStatusInfo", nil, &out); err != nil {
		return "", 0, err
	}
	seconds, err := strconv.ParseUint(out.NewUptime, 10, 32)
	if err != nil {
		seconds = 0 // many say nonsense, and nobody needs it
	}
	return lease.CleanText(out.NewConnectionStatus, 64), time.Duration(seconds) * time.Second, nil
}

// Map asks for a mapping of the external port of TCP or UDP to the internal endpoint, with at most one filter for a single
// address. A lifetime of zero is no end.
func (g *UPnPGateway) Map(ctx context.Context, m lease.Mapping, lifetime time.Duration) error {
	return g.call(ctx, "AddPortMapping", &struct {
		NewRemoteHost, NewExternalPort, NewProtocol, NewInternalPort, NewInternalClient, NewEnabled, NewPortMappingDescription, NewLeaseDuration string
	}{
		remoteHost(m), portText(m.External), protocolText(m.Protocol), portText(m.Internal), m.Internal.Addr().String(), "1", m.Description,
		strconv.FormatInt(int64(lifetime/time.Second), 10),
	}, nil)
}

// Lifetime asks how much longer a mapping lasts; 0: for ever.
func (g *UPnPGateway) Lifetime(ctx context.Context, m lease.Mapping) (time.Duration, error) {
	var out struct{ NewLeaseDuration string }
	err := g.call(ctx, "GetSpecificPortMappingEntry", &struct{ NewRemoteHost, NewExternalPort, NewProtocol string }{
		remoteHost(m), portText(m.External), protocolText(m.Protocol),
	}, &out)
	if err != nil {
		return 0, err
	}
	seconds, err := strconv.ParseUint(out.NewLeaseDuration, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("GetSpecificPortMappingEntry: the gateway says %q, which is no lifetime", lease.CleanText(out.NewLeaseDuration, 64))
	}
	return time.Duration(seconds) * time.Second, nil
}

// Unmap deletes the mapping of an external port, with the filter with which it was made.
func (g *UPnPGateway) Unmap(ctx context.Context, m lease.Mapping) error {
	return g.call(ctx, "DeletePortMapping", &struct{ NewRemoteHost, NewExternalPort, NewProtocol string }{
		remoteHost(m), portText(m.External), protocolText(m.Protocol),
	}, nil)
}

func remoteHost(m lease.Mapping) string {
	if len(m.Filters) == 0 {
		return ""
	}
	return m.Filters[0].Prefix.Addr().String()
}

func portText(a netip.AddrPort) string { return strconv.Itoa(int(a.Port())) }

func protocolText(p lease.Protocol) string {
	if p == lease.UDP {
		return "UDP"
	}
	return "TCP"
}
