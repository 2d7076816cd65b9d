package pcp_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/pcp"
)

var (
	byAddrPort = cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })
	byPrefix   = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
	sameValues = cmp.Options{byAddr, byAddrPort, byPrefix}
)

// The parts of which the vectors are made: client 192.168.1.10, nonces n1 and n2, WAN address 203.0.113.5, epoch 1000.
const (
	asks7200   = "02 01 00 00 00 00 1c 20" + fromClient
	fromClient = "00 00 00 00 00 00 00 00 00 00 ff ff c0 a8 01 0a"
	n1         = "01 02 03 04 05 06 07 08 09 0a 0b 0c"
	n2         = "a1 a2 a3 a4 a5 a6 a7 a8 a9 aa ab ac"
	tcp8080    = "06 00 00 00 1f 90 1f 90"
	anyIPv4    = "00 00 00 00 00 00 00 00 00 00 ff ff 00 00 00 00"
	wanAddr    = "00 00 00 00 00 00 00 00 00 00 ff ff cb 00 71 05"
	mapTCP8080 = asks7200 + n1 + tcp8080 + anyIPv4
	says7200   = "02 81 00 00 00 00 1c 20" + epochIs1000
	mapped8080 = says7200 + n1 + tcp8080 + wanAddr

	epochIs1000 = "00 00 03 e8 00 00 00 00 00 00 00 00 00 00 00 00"
)

var (
	nonce1   = lease.Nonce{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
	nonce2   = lease.Nonce{0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xac}
	lanHost  = netip.MustParseAddr("192.168.1.10")
	lanHost6 = netip.MustParseAddr("2001:db8:1::10")
	noAddr   = netip.IPv4Unspecified()
	wanIP    = netip.MustParseAddr("203.0.113.5")
)

// want8080 is the request of most vectors.
func want8080(change func(m *pcp.MapRequest)) pcp.MapRequest {
	m := pcp.MapRequest{
		RequestHeader: pcp.RequestHeader{Lifetime: 2 * time.Hour, Client: lanHost},
		Nonce:         nonce1, Protocol: lease.TCP, InternalPort: 8080, Suggested: netip.AddrPortFrom(noAddr, 8080),
	}
	if change != nil {
		change(&m)
	}
	return m
}

func withOptions(options ...pcp.Option) pcp.MapRequest {
	return want8080(func(m *pcp.MapRequest) { m.Options = options })
}

func TestRequestsOfPCP(t *testing.T) {
	wanted := netip.AddrPortFrom(wanIP, 8080)
	for _, tt := range []struct {
		name string
		wire string
		want pcp.Request
	}{
		{"P1 ANNOUNCE", "02 00 00 00 00 00 00 00" + fromClient, pcp.AnnounceRequest{RequestHeader: pcp.RequestHeader{Client: lanHost}}},
		{"P2 MAP TCP 8080, any external IPv4", mapTCP8080, want8080(nil)},
		{
			"P3 MAP UDP, lifetime 60", "02 01 00 00 00 00 00 3c" + fromClient + n1 + "11 00 00 00 13 88 00 00" + anyIPv4,
			want8080(func(m *pcp.MapRequest) {
				m.Lifetime, m.Protocol, m.InternalPort, m.Suggested = time.Minute, lease.UDP, 5000, netip.AddrPortFrom(noAddr, 0)
			}),
		},
		{
			"P4 MAP lifetime 0xffffffff", "02 01 00 00 ff ff ff ff" + fromClient + n1 + "11 00 00 00 13 88 00 00" + anyIPv4,
			want8080(func(m *pcp.MapRequest) {
				m.Lifetime, m.Protocol, m.InternalPort, m.Suggested = 4294967295*time.Second, lease.UDP, 5000, netip.AddrPortFrom(noAddr, 0)
			}),
		},
		{
			"P5 delete", "02 01 00 00 00 00 00 00" + fromClient + n1 + "06 00 00 00 1f 90 00 00" + anyIPv4,
			want8080(func(m *pcp.MapRequest) { m.Lifetime, m.Suggested = 0, netip.AddrPortFrom(noAddr, 0) }),
		},
		{"P6 another nonce", asks7200 + n2 + tcp8080 + anyIPv4, want8080(func(m *pcp.MapRequest) { m.Nonce = nonce2 })},
		{
			"P7 another client", "02 01 00 00 00 00 1c 20 00 00 00 00 00 00 00 00 00 00 ff ff c0 a8 01 0b" + n1 + tcp8080 + anyIPv4,
			want8080(func(m *pcp.MapRequest) { m.Client = lanHost.Next() }),
		},
		{
			"P8 protocol 0 with internal port 80", asks7200 + n1 + "00 00 00 00 00 50 00 00" + anyIPv4,
			want8080(func(m *pcp.MapRequest) {
				m.Protocol, m.InternalPort, m.Suggested = 0, 80, netip.AddrPortFrom(noAddr, 0)
			}),
		},
		{
			"P9 all protocols, all ports", asks7200 + n1 + "00 00 00 00 00 00 00 00" + anyIPv4,
			want8080(func(m *pcp.MapRequest) {
				m.Protocol, m.InternalPort, m.Suggested = 0, 0, netip.AddrPortFrom(noAddr, 0)
			}),
		},
		{
			"P10 SCTP", asks7200 + n1 + "84 00 00 00 13 88 13 88" + anyIPv4,
			want8080(func(m *pcp.MapRequest) {
				m.Protocol, m.InternalPort, m.Suggested = 132, 5000, netip.AddrPortFrom(noAddr, 5000)
			}),
		},
		{
			"P11 PREFER_FAILURE", asks7200 + n1 + tcp8080 + wanAddr + "02 00 00 00",
			want8080(func(m *pcp.MapRequest) { m.Suggested, m.Options = wanted, []pcp.Option{pcp.PreferFailure{}} }),
		},
		{
			"P15 THIRD_PARTY", mapTCP8080 + "01 00 00 10 00 00 00 00 00 00 00 00 00 00 ff ff c0 a8 01 14",
			withOptions(pcp.ThirdParty{netip.MustParseAddr("192.168.1.20")}),
		},
		{
			"P17 FILTER", mapTCP8080 + "03 00 00 14 00 80 00 00 00 00 00 00 00 00 00 00 00 00 ff ff c6 33 64 07",
			withOptions(pcp.Filter{Prefix: netip.MustParsePrefix("198.51.100.7/32")}),
		},
		{"P18 unknown mandatory option", mapTCP8080 + "63 00 00 04 01 02 03 04", withOptions(pcp.UnknownOption{99, []byte{1, 2, 3, 4}})},
		{"P19 unknown optional option", mapTCP8080 + "c8 00 00 03 01 02 03 00", withOptions(pcp.UnknownOption{200, []byte{1, 2, 3}})},
		{"P20 DESCRIPTION", mapTCP8080 + "80 00 00 06 6d 79 20 61 70 70 00 00", withOptions(pcp.Description{"my app"})},
		{
			"P23 unknown opcode 5", "02 05 00 00 00 00 00 00" + fromClient,
			pcp.UnknownRequest{RequestHeader: pcp.RequestHeader{Client: lanHost}, Opcode: 5},
		},
		{
			"P26 IPv6 pinhole", "02 01 00 00 00 00 0e 10 20 01 0d b8 00 01 00 00 00 00 00 00 00 00 00 10" + n1 + tcp8080 + strings.Repeat("00", 16),
			want8080(func(m *pcp.MapRequest) {
				m.Lifetime, m.Client, m.Suggested = time.Hour, lanHost6, netip.AddrPortFrom(netip.IPv6Unspecified(), 8080)
			}),
		},
		{
			"P27 PEER", "02 02 00 00 00 00 1c 20" + fromClient + n1 + "06 00 00 00 9c 40 00 00" + anyIPv4 +
				"01 bb 00 00 00 00 00 00 00 00 00 00 00 00 ff ff c6 33 64 07",
			pcp.PeerRequest{
				RequestHeader: pcp.RequestHeader{Lifetime: 2 * time.Hour, Client: lanHost},
				Nonce:         nonce1, Protocol: lease.TCP, InternalPort: 40000, Suggested: netip.AddrPortFrom(noAddr, 0),
				Peer: netip.MustParseAddrPort("198.51.100.7:443"),
			},
		},
		{
			"no more filters", mapTCP8080 + "03 00 00 14" + strings.Repeat("00", 20),
			withOptions(pcp.Filter{}),
		},
		{
			"several filters", mapTCP8080 +
				"03 00 00 14 00 78 00 35 00 00 00 00 00 00 00 00 00 00 ff ff c6 33 64 00" +
				"03 00 00 14 00 60 01 bb 00 00 00 00 00 00 00 00 00 00 ff ff 00 00 00 00" +
				"03 00 00 14 00 20 00 00 20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 00",
			withOptions(
				pcp.Filter{netip.MustParsePrefix("198.51.100.0/24"), 53},
				pcp.Filter{netip.MustParsePrefix("0.0.0.0/0"), 443},
				pcp.Filter{netip.MustParsePrefix("2001:db8::/32"), 0},
			),
		},
		{
			"PORT_SET", mapTCP8080 + "82 00 00 05 00 40 1f 90 01 00 00 00",
			withOptions(pcp.PortSet{Size: 64, First: 8080, Parity: true}),
		},
		{
			"an option of authentication, which does not go with every opcode but is not known", mapTCP8080 + "05 00 00 00",
			withOptions(pcp.UnknownOption{OptionCode: 5}),
		},
		{
			"the longest description", asks7200 + n1 + tcp8080 + anyIPv4 + "80 00 03 f8" + strings.Repeat("61", 1016),
			withOptions(pcp.Description{strings.Repeat("a", 1016)}),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := pcp.ParseRequest(octets(t, tt.wire))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, sameValues, orNone()); diff != "" {
				t.Errorf("parsed (-want +got):\n%s", diff)
			}
			mustMarshal(t, tt.want, tt.wire)
		})
	}
}

// orNone takes no octets for no octets, whether they are nil or not.
func orNone() cmp.Option {
	return cmp.FilterValues(func(a, b []byte) bool { return len(a) == 0 && len(b) == 0 }, cmp.Ignore())
}

func TestMalformedRequestsOfPCP(t *testing.T) {
	const filter = "03 00 00 14"
	for _, tt := range []struct {
		name string
		wire string
		want pcp.Result
	}{
		{"P13 PREFER_FAILURE with length 4", mapTCP8080 + "02 00 00 04 00 00 00 00", pcp.ResultMalformedOption},
		{"P14 PREFER_FAILURE twice", mapTCP8080 + "02 00 00 00 02 00 00 00", pcp.ResultMalformedOption},
		{"P21 option longer than the packet", mapTCP8080 + "80 00 00 28 61 62 63 64", pcp.ResultMalformedOption},
		{"P22 MAP cut short", mapTCP8080[:len(asks7200+n1+tcp8080)], pcp.ResultMalformedRequest},
		{"MAP without its last four octets", strings.TrimSuffix(mapTCP8080, "00 00 00 00"), pcp.ResultMalformedRequest},
		{"PEER of the length of MAP", "02 02" + mapTCP8080[len("02 01"):], pcp.ResultMalformedRequest},
		{"a length that four does not divide", mapTCP8080 + "00", pcp.ResultMalformedRequest},
		{"1,104 octets", mapTCP8080 + "80 00 04 10" + strings.Repeat("61", 1040), pcp.ResultMalformedRequest},
		{"a description of 1,017 octets", mapTCP8080 + "80 00 03 f9" + strings.Repeat("61", 1020), pcp.ResultMalformedOption},
		{"THIRD_PARTY of four octets", mapTCP8080 + "01 00 00 04 c0 a8 01 14", pcp.ResultMalformedOption},
		{"THIRD_PARTY twice", mapTCP8080 + strings.Repeat("01 00 00 10"+wanAddr, 2), pcp.ResultMalformedOption},
		{"FILTER of 16 octets", mapTCP8080 + "03 00 00 10" + wanAddr, pcp.ResultMalformedOption},
		{"an IPv4 prefix of 24 of 128 bits", mapTCP8080 + filter + "00 18 00 00" + wanAddr, pcp.ResultMalformedOption},
		{"an IPv4 prefix of 95 of 128 bits", mapTCP8080 + filter + "00 5f 00 00" + wanAddr, pcp.ResultMalformedOption},
		{"a prefix of 129 bits", mapTCP8080 + filter + "00 81 00 00" + strings.Repeat("20", 16), pcp.ResultMalformedOption},
		{"PORT_SET of no ports", mapTCP8080 + "82 00 00 05 00 00 1f 90 00 00 00 00", pcp.ResultMalformedOption},
		{"PORT_SET of four octets", mapTCP8080 + "82 00 00 04 00 01 1f 90", pcp.ResultMalformedOption},
		{"PORT_SET twice", mapTCP8080 + strings.Repeat("82 00 00 05 00 02 1f 90 00 00 00 00", 2), pcp.ResultMalformedOption},
		{"DESCRIPTION twice", mapTCP8080 + strings.Repeat("80 00 00 00", 2), pcp.ResultMalformedOption},
		{"THIRD_PARTY with ANNOUNCE", "02 00 00 00 00 00 00 00" + fromClient + "01 00 00 10" + wanAddr, pcp.ResultMalformedRequest},
		{
			"PREFER_FAILURE with PEER", "02 02" + mapTCP8080[len("02 01"):] + "01 bb 00 00" + wanAddr + "02 00 00 00",
			pcp.ResultMalformedRequest,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := pcp.ParseRequest(octets(t, tt.wire))
			malformed, ok := errors.AsType[*pcp.RequestError](err)
			if !ok || malformed.Result != tt.want {
				t.Errorf("parsed as %+v, error %v; want %s", got, err, tt.want)
			}
		})
	}
}

func TestRequestsOfPCPWithoutAnAnswer(t *testing.T) {
	for _, tt := range []struct {
		name string
		wire string
		want error
	}{
		{"P25 R bit set", "02 81 00 00 00 00 1c 20" + fromClient, pcp.ErrNotForUs},
		{"a header cut short", "02 01 00 00 00 00 1c 20", pcp.ErrShort},
		{"no header at all", "02 01", pcp.ErrShort},
		{"less than that", "02", pcp.ErrShort},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := parseRequest(octets(t, tt.wire)); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
}

func TestResponsesOfPCP(t *testing.T) {
	granted := pcp.MapResponse{
		ResponseHeader: pcp.ResponseHeader{Lifetime: 2 * time.Hour, Epoch: epoch1000},
		Nonce:          nonce1, Protocol: lease.TCP, InternalPort: 8080, External: netip.AddrPortFrom(wanIP, 8080),
	}
	with := func(change func(m *pcp.MapResponse)) pcp.MapResponse {
		m := granted
		change(&m)
		return m
	}
	for _, tt := range []struct {
		name string
		wire string
		want pcp.Response
	}{
		{"P1 ANNOUNCE", "02 80 00 00 00 00 00 00" + epochIs1000, pcp.AnnounceResponse{ResponseHeader: pcp.ResponseHeader{Epoch: epoch1000}}},
		{"P2 MAP", mapped8080, granted},
		{
			"P5 deleted", "02 81 00 00 00 00 00 00" + epochIs1000 + n1 + "06 00 00 00 1f 90 00 00" + anyIPv4,
			with(func(m *pcp.MapResponse) { m.Lifetime, m.External = 0, netip.AddrPortFrom(noAddr, 0) }),
		},
		{
			"P6 another nonce", "02 81 00 02 00 00 0e 10" + epochIs1000 + n2 + tcp8080 + anyIPv4,
			with(func(m *pcp.MapResponse) {
				m.Result, m.Lifetime, m.Nonce = pcp.ResultNotAuthorized, time.Hour, nonce2
				m.External = netip.AddrPortFrom(noAddr, 8080)
			}),
		},
		{"P11 PREFER_FAILURE", mapped8080 + "02 00 00 00", with(func(m *pcp.MapResponse) { m.Options = []pcp.Option{pcp.PreferFailure{}} })},
		{
			"P20 DESCRIPTION", mapped8080 + "80 00 00 06 6d 79 20 61 70 70 00 00",
			with(func(m *pcp.MapResponse) { m.Options = []pcp.Option{pcp.Description{"my app"}} }),
		},
		{
			"P27 PEER", "02 82 00 00 00 00 1c 20" + epochIs1000 + n1 + "06 00 00 00 9c 40 9c 40" + wanAddr +
				"01 bb 00 00 00 00 00 00 00 00 00 00 00 00 ff ff c6 33 64 07",
			pcp.PeerResponse{
				ResponseHeader: granted.ResponseHeader, Nonce: nonce1, Protocol: lease.TCP, InternalPort: 40000,
				External: netip.AddrPortFrom(wanIP, 40000), Peer: netip.MustParseAddrPort("198.51.100.7:443"),
			},
		},
		{
			"an unknown opcode", "02 85 00 04 00 00 07 08" + epochIs1000,
			pcp.UnknownResponse{ResponseHeader: pcp.ResponseHeader{pcp.ResultUnsuppOpcode, 30 * time.Minute, epoch1000}, Opcode: 5},
		},
		{
			"an error about a MAP that was cut short", "02 81 00 03 00 00 07 08" + epochIs1000 + n1,
			pcp.UnknownResponse{
				ResponseHeader: pcp.ResponseHeader{pcp.ResultMalformedRequest, 30 * time.Minute, epoch1000},
				Opcode:         pcp.OpcodeMap, Rest: nonce1[:],
			},
		},
		{
			"another version", "03 81 00 01 00 00 07 08" + epochIs1000,
			pcp.UnsupportedVersionResponse{Version: 3, Opcode: pcp.OpcodeMap, Lifetime: 30 * time.Minute, Epoch: epoch1000},
		},
		{
			"P24 version 2", "02 81 00 01 00 00 07 08" + epochIs1000,
			pcp.UnsupportedVersionResponse{Version: 2, Opcode: pcp.OpcodeMap, Lifetime: 30 * time.Minute, Epoch: epoch1000},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := pcp.ParseResponse(octets(t, tt.wire))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, sameValues, orNone()); diff != "" {
				t.Errorf("parsed (-want +got):\n%s", diff)
			}
			mustMarshal(t, tt.want, tt.wire)
		})
	}
}

// What was wrong with a request comes back with the error, which must be readable all the same.
func TestErrorsOfPCPEchoWhateverTheyAreAbout(t *testing.T) {
	for name, options := range map[string]string{
		"an option that is too long": "80 00 00 28 61 62 63 64", "an option twice": "02 00 00 00 02 00 00 00", "not an option": "ff ff ff ff",
	} {
		got, err := pcp.ParseResponse(octets(t, "02 81 00 06 00 00 07 08"+epochIs1000+n1+tcp8080+anyIPv4+options))
		m, ok := got.(pcp.MapResponse)
		if err != nil || !ok || m.Result != pcp.ResultMalformedOption || m.Nonce != nonce1 || m.Options != nil {
			t.Errorf("%s: %+v, error %v", name, got, err)
		}
	}
}

func TestWhatIsNotAResponseOfPCP(t *testing.T) {
	for name, wire := range map[string]string{
		"a request":                  mapTCP8080,
		"a header cut short":         says7200[:len("02 81 00 00 00 00 1c 20 00 00 03 e8")],
		"MAP cut short":              says7200 + n1,
		"a length of 61":             mapped8080 + "00",
		"1,104 octets":               mapped8080 + "c8 00 04 10" + strings.Repeat("00", 1040),
		"an option cut short":        mapped8080 + "80 00 00 28",
		"another version, succeeded": "03" + mapped8080[len("02"):],
	} {
		if err := parseResponse(octets(t, wire)); err == nil {
			t.Errorf("%s is taken for a response", name)
		}
	}
}

func TestMarshalRefusesWhatPCPCannotHold(t *testing.T) {
	zoned := netip.MustParseAddr("fe80::1%eth0")
	mapped := netip.MustParseAddr("::ffff:192.0.2.1")
	for _, tt := range []struct {
		name string
		m    pcp.Message
		want string
	}{
		{"no client", pcp.AnnounceRequest{}, "client address"},
		{"a client with a zone", pcp.AnnounceRequest{RequestHeader: pcp.RequestHeader{Client: zoned}}, "zone"},
		{"a client that is mapped already", pcp.AnnounceRequest{RequestHeader: pcp.RequestHeader{Client: mapped}}, "client address"},
		{"a negative lifetime", want8080(func(m *pcp.MapRequest) { m.Lifetime = -1 }), "lifetime"},
		{"no family", want8080(func(m *pcp.MapRequest) { m.Suggested = netip.AddrPort{} }), "external address"},
		{"no peer", pcp.PeerRequest{RequestHeader: want8080(nil).RequestHeader, Suggested: netip.AddrPortFrom(noAddr, 0)}, "peer"},
		{"a known opcode as unknown", pcp.UnknownRequest{Opcode: pcp.OpcodePeer}, "PEER"},
		{"a response as an unknown request", pcp.UnknownRequest{Opcode: 128}, "128"},
		{"an odd rest", pcp.UnknownRequest{Opcode: 5, Rest: make([]byte, 3)}, "3 octets"},
		{"a filter that is none", withOptions(pcp.Filter{Port: 5}), "length must not be 0"},
		{"a filter for all of IPv6", withOptions(pcp.Filter{Prefix: netip.MustParsePrefix("::/0")}), "length must not be 0"},
		{"a description of 1,017 octets", withOptions(pcp.Description{strings.Repeat("a", 1017)}), "1017 octets"},
		{"a description twice", withOptions(pcp.Description{}, pcp.Description{}), "twice"},
		{"a known option as unknown", withOptions(pcp.UnknownOption{OptionCode: pcp.CodeFilter}), "type of its own"},
		{"an endless option", withOptions(pcp.UnknownOption{200, make([]byte, 70000)}), "70000 octets"},
		{"a message of 1,104 octets", withOptions(pcp.UnknownOption{200, make([]byte, 1040)}), "1104 octets"},
		{"no ports", withOptions(pcp.PortSet{}), "no ports"},
		{"a third party without an address", withOptions(pcp.ThirdParty{}), "THIRD_PARTY"},
		{
			"an error with options",
			pcp.AnnounceResponse{pcp.ResponseHeader{Result: pcp.ResultNoResources}, []pcp.Option{pcp.Description{}}},
			"none of its own",
		},
		{"an error that has another message", pcp.AnnounceResponse{ResponseHeader: pcp.ResponseHeader{Result: pcp.ResultUnsuppVersion}}, "UNSUPP_VERSION"},
		{"a known opcode as unknown response", pcp.UnknownResponse{Opcode: pcp.OpcodeMap}, "message of its own"},
		{"NAT-PMP as unsupported version of PCP", pcp.UnsupportedVersionResponse{}, "version 0"},
		{"a negative epoch", pcp.AnnounceResponse{ResponseHeader: pcp.ResponseHeader{Epoch: -1}}, "epoch"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, err := pcp.Marshal(tt.m)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %x, error %v; want an error about %q", b, err, tt.want)
			}
		})
	}
}

func TestErrorResponse(t *testing.T) {
	for _, tt := range []struct {
		name, request, want string
		header              pcp.ResponseHeader
	}{
		{
			"the request comes back, the client's address does not", mapTCP8080,
			"02 81 00 0c 00 00 07 08" + epochIs1000 + n1 + tcp8080 + anyIPv4,
			pcp.ResponseHeader{pcp.ResultAddressMismatch, 30 * time.Minute, epoch1000},
		},
		{
			"but its end does if nobody could read it", "02 01 00 00 00 00 1c 20" + fromClient + n1 + "06",
			"02 81 00 03 00 00 07 08 00 00 03 e8 00 00 00 00 00 00 ff ff c0 a8 01 0a" + n1 + "06 00 00 00",
			pcp.ResponseHeader{pcp.ResultMalformedRequest, 30 * time.Minute, epoch1000},
		},
		{
			"N11 two octets of another version", "01 00", "02 80 00 01 00 00 07 08" + epochIs1000,
			pcp.ResponseHeader{pcp.ResultUnsuppVersion, 30 * time.Minute, epoch1000},
		},
		{
			"too long", "02 01" + strings.Repeat("00", 1102),
			"02 81 00 03 00 00 07 08 00 00 03 e8" + strings.Repeat("00", 1088),
			pcp.ResponseHeader{pcp.ResultMalformedRequest, 30 * time.Minute, epoch1000},
		},
		{
			"after 136 years", "02 05 00 00 00 00 00 00" + fromClient, "02 85 00 04 00 00 07 08 00 00 00 01" + strings.Repeat("00", 12),
			pcp.ResponseHeader{pcp.ResultUnsuppOpcode, 30 * time.Minute, (1<<32 + 1) * time.Second},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			request := octets(t, tt.request)
			before := string(request)
			if diff := cmp.Diff(octets(t, tt.want), pcp.ErrorResponse(request, tt.header)); diff != "" {
				t.Errorf("response (-want +got):\n%s", diff)
			}
			if string(request) != before {
				t.Error("the request has changed")
			}
		})
	}
}
