package igd_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/huin/goupnp"
	"github.com/huin/goupnp/dcps/internetgateway1"
	"github.com/huin/goupnp/dcps/internetgateway2"
	"github.com/huin/goupnp/soap"

	"github.com/portreeve/portreeve/igd"
)

// wantFault checks that a call of goupnp failed with that code.
func wantFault(t *testing.T, what string, err error, want int) {
	t.Helper()
	var fault *soap.SOAPFaultError
	if !errors.As(err, &fault) || fault.Detail.UPnPError.Errorcode != want {
		t.Errorf("%s: %v, want fault %d", what, err, want)
	}
}

// wantResult checks that a call of goupnp gave these results.
func wantResult(t *testing.T, what string, err error, want, got []any) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", what, err)
	} else if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// description fetches the device as goupnp does it after a search.
func description(t *testing.T, address string) (*goupnp.RootDevice, *url.URL) {
	t.Helper()
	location, err := url.Parse("http://" + address + igd.DescriptionPath)
	if err != nil {
		t.Fatal(err)
	}
	root, err := goupnp.DeviceByURLCtx(t.Context(), location)
	if err != nil {
		t.Fatal(err)
	}
	return root, location
}

// one takes the only client out of a list.
func one[T any](t *testing.T, list []T, err error) T {
	t.Helper()
	if err != nil || len(list) != 1 {
		t.Fatalf("%d clients, error %v, want one", len(list), err)
	}
	return list[0]
}

func TestGoupnpConnection(t *testing.T) {
	r := newRouter(t, loopback())
	root, location := description(t, serve(t, r))
	clients, err := internetgateway1.NewWANIPConnection1ClientsFromRootDevice(root, location)
	c := one(t, clients, err)
	ctx := t.Context()

	address, err := c.GetExternalIPAddressCtx(ctx)
	wantResult(t, "GetExternalIPAddress", err, []any{"203.0.113.5"}, []any{address})
	kind, possible, err := c.GetConnectionTypeInfoCtx(ctx)
	wantResult(t, "GetConnectionTypeInfo", err, []any{"IP_Routed", "IP_Routed"}, []any{kind, possible})
	status, lastError, uptime, err := c.GetStatusInfoCtx(ctx)
	wantResult(t, "GetStatusInfo", err, []any{"Connected", "ERROR_NONE", true}, []any{status, lastError, uptime >= 90})
	rsip, nat, err := c.GetNATRSIPStatusCtx(ctx)
	wantResult(t, "GetNATRSIPStatus", err, []any{false, true}, []any{rsip, nat})
	wantResult(t, "RequestConnection", c.RequestConnectionCtx(ctx), nil, nil)
	wantResult(t, "SetConnectionType", c.SetConnectionTypeCtx(ctx, "IP_Routed"), nil, nil)
	wantFault(t, "SetConnectionType", c.SetConnectionTypeCtx(ctx, "IP_Bridged"), 501)
	wantFault(t, "ForceTermination", c.ForceTerminationCtx(ctx), 606)
	wantFault(t, "RequestTermination", c.RequestTerminationCtx(ctx), 602)
	wantFault(t, "SetIdleDisconnectTime", c.SetIdleDisconnectTimeCtx(ctx, 1), 602)

	const text = `caffè & <"games">`
	err = c.AddPortMappingCtx(ctx, "", 3074, "UDP", 3074, localHost, true, text, 3600)
	wantResult(t, "AddPortMapping", err, nil, nil)
	port, host, enabled, said, left, err := c.GetSpecificPortMappingEntryCtx(ctx, "", 3074, "UDP")
	wantResult(t, "GetSpecificPortMappingEntry", err, []any{uint16(3074), localHost, true, text, true},
		[]any{port, host, enabled, said, left > 3590 && left <= 3600})
	remote, external, proto, port, host, enabled, said, _, err := c.GetGenericPortMappingEntryCtx(ctx, 0)
	wantResult(t, "GetGenericPortMappingEntry", err, []any{"", uint16(3074), "UDP", uint16(3074), localHost, true, text},
		[]any{remote, external, proto, port, host, enabled, said})
	_, _, _, _, _, _, _, _, err = c.GetGenericPortMappingEntryCtx(ctx, 1)
	wantFault(t, "GetGenericPortMappingEntry", err, 713)
	wantResult(t, "DeletePortMapping", c.DeletePortMappingCtx(ctx, "", 3074, "UDP"), nil, nil)
	wantFault(t, "DeletePortMapping", c.DeletePortMappingCtx(ctx, "", 3074, "UDP"), 714)
}

// A client of version 2 that has taken the service for its own.
func TestGoupnpVersion2(t *testing.T) {
	r := newRouter(t, loopback())
	root, location := description(t, serve(t, r))
	found := root.Device.FindService(wipc1)
	if len(found) != 1 {
		t.Fatalf("%d services of the type, want one", len(found))
	}
	ctx := t.Context()
	c := internetgateway2.WANIPConnection2{ServiceClient: goupnp.ServiceClient{
		SOAPClient: found[0].NewSOAPClient(), RootDevice: root, Location: location, Service: found[0],
	}}
	reserved, err := c.AddAnyPortMappingCtx(ctx, "", 80, "TCP", 8080, localHost, true, "a]]>b", 0)
	wantResult(t, "AddAnyPortMapping", err, []any{uint16(8080)}, []any{reserved})
	listing, err := c.GetListOfPortMappingsCtx(ctx, 0, 65535, "TCP", true, 0)
	wantResult(t, "GetListOfPortMappings", err, []any{true},
		[]any{strings.Contains(listing, "<p:NewDescription>a]]&gt;b</p:NewDescription>")})
	wantResult(t, "DeletePortMappingRange", c.DeletePortMappingRangeCtx(ctx, 8000, 9000, "TCP", false), nil, nil)
	wantFault(t, "DeletePortMappingRange", c.DeletePortMappingRangeCtx(ctx, 8000, 9000, "TCP", false), 730)
	wantFault(t, "SetConnectionType", c.SetConnectionTypeCtx(ctx, "IP_Bridged"), 731)
}

func TestGoupnpOtherServices(t *testing.T) {
	r := newRouter(t, loopback())
	root, location := description(t, serve(t, r))
	ctx := t.Context()
	commons, err := internetgateway1.NewWANCommonInterfaceConfig1ClientsFromRootDevice(root, location)
	common := one(t, commons, err)
	access, up, down, link, err := common.GetCommonLinkPropertiesCtx(ctx)
	wantResult(t, "GetCommonLinkProperties", err, []any{"Cable", uint32(20_000_000), uint32(4294967295), "Up"}, []any{access, up, down, link})
	bytesSent, err := common.GetTotalBytesSentCtx(ctx)
	wantResult(t, "GetTotalBytesSent", err, []any{uint64(7)}, []any{bytesSent})
	bytesReceived, err := common.GetTotalBytesReceivedCtx(ctx)
	wantResult(t, "GetTotalBytesReceived", err, []any{uint64(2)}, []any{bytesReceived})
	packetsSent, err := common.GetTotalPacketsSentCtx(ctx)
	wantResult(t, "GetTotalPacketsSent", err, []any{uint32(3)}, []any{packetsSent})
	packetsReceived, err := common.GetTotalPacketsReceivedCtx(ctx)
	wantResult(t, "GetTotalPacketsReceived", err, []any{uint32(4)}, []any{packetsReceived})
	_, err = common.GetMaximumActiveConnectionsCtx(ctx)
	wantFault(t, "GetMaximumActiveConnections", err, 602)

	forwardings, err := internetgateway1.NewLayer3Forwarding1ClientsFromRootDevice(root, location)
	forwarding := one(t, forwardings, err)
	service, err := forwarding.GetDefaultConnectionServiceCtx(ctx)
	wantResult(t, "GetDefaultConnectionService", err, []any{true}, []any{strings.HasSuffix(service, ",urn:upnp-org:serviceId:WANIPConn1")})
	wantResult(t, "SetDefaultConnectionService", forwarding.SetDefaultConnectionServiceCtx(ctx, service), nil, nil)
	wantFault(t, "SetDefaultConnectionService", forwarding.SetDefaultConnectionServiceCtx(ctx, "uuid:1,x"), 720)
}
