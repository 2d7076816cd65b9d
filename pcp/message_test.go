package pcp_test

import (
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/pcp"
	"github.com/portreeve/portreeve/test/netns"
)

func TestMain(m *testing.M) { netns.Main(m) }

var byAddr = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

// octets reads hexadecimal text; spaces are for the reader.
func octets(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const epoch1000 = 1000 * time.Second

func TestRequests(t *testing.T) {
	for _, tt := range []struct {
		name string
		wire string
		want pcp.Request
	}{
		{"external address", "0000", pcp.PMPAddressRequest{}},
		{
			"map TCP 8080 for two hours", "0002 0000 1f90 1f90 00001c20",
			pcp.PMPMapRequest{Protocol: lease.TCP, InternalPort: 8080, ExternalPort: 8080, Lifetime: 2 * time.Hour},
		},
		{
			"map UDP 5000 to any port", "0001 0000 1388 0000 00000e10",
			pcp.PMPMapRequest{Protocol: lease.UDP, InternalPort: 5000, Lifetime: time.Hour},
		},
		{
			"the longest lifetime", "0001 0000 1388 0000 ffffffff",
			pcp.PMPMapRequest{Protocol: lease.UDP, InternalPort: 5000, Lifetime: 4294967295 * time.Second},
		},
		{"delete all UDP", "0001 0000 0000 0000 00000000", pcp.PMPMapRequest{Protocol: lease.UDP}},
		{"unknown opcode", "0003 0000", pcp.PMPUnknownRequest{Opcode: 3, Rest: []byte{0, 0}}},
		{"a version between", "0101", pcp.OtherVersion{Version: 1, Opcode: 1}},
		{"a version nobody knows", "ff7f", pcp.OtherVersion{Version: 255, Opcode: 127}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := pcp.ParseRequest(octets(t, tt.wire))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("parsed (-want +got):\n%s", diff)
			}
			mustMarshal(t, tt.want, tt.wire)
		})
	}
}

func mustMarshal(t *testing.T, m pcp.Message, wire string) {
	t.Helper()
	b, err := pcp.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.ReplaceAll(wire, " ", ""), hex.EncodeToString(b)); diff != "" {
		t.Errorf("marshalled (-want +got):\n%s", diff)
	}
}

func TestResponses(t *testing.T) {
	for _, tt := range []struct {
		name string
		wire string
		want pcp.Response
	}{
		{
			"external address", "0080 0000 000003e8 cb007105",
			pcp.PMPAddressResponse{Epoch: epoch1000, Addr: netip.MustParseAddr("203.0.113.5")},
		},
		{
			"no external address", "0080 0003 000003e8 00000000",
			pcp.PMPAddressResponse{Result: pcp.PMPNetworkFailure, Epoch: epoch1000},
		},
		{
			"mapped", "0082 0000 000003e8 1f90 1f91 00001c20",
			pcp.PMPMapResponse{Protocol: lease.TCP, Epoch: epoch1000, InternalPort: 8080, ExternalPort: 8081, Lifetime: 2 * time.Hour},
		},
		{
			"refused", "0081 0002 000003e8 1f90 0000 00000000",
			pcp.PMPMapResponse{Protocol: lease.UDP, Result: pcp.PMPRefused, Epoch: epoch1000, InternalPort: 8080},
		},
		{"unsupported version", "0080 0001 000003e8", pcp.PMPUnsupportedVersionResponse{Epoch: epoch1000}},
		{"unsupported opcode", "0083 0005 aabb", pcp.PMPUnsupportedOpcodeResponse{Opcode: 3, Rest: []byte{0xaa, 0xbb}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := pcp.ParseResponse(octets(t, tt.wire))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, byAddr); diff != "" {
				t.Errorf("parsed (-want +got):\n%s", diff)
			}
			mustMarshal(t, tt.want, tt.wire)
		})
	}
	for name, wire := range map[string]string{"without the bit of a response": "0000 0001 000003e8", "with the opcode of the request": "0081 0001 000003e8"} {
		got, err := pcp.ParseResponse(octets(t, wire))
		if want := (pcp.PMPUnsupportedVersionResponse{Epoch: epoch1000}); err != nil || got != want {
			t.Errorf("unsupported version %s: got %v, %v, want %v", name, got, err, want)
		}
	}
}

func TestWhatIsNotAMessage(t *testing.T) {
	for _, tt := range []struct {
		name  string
		wire  string
		parse func([]byte) error
		want  error
	}{
		{"empty request", "", parseRequest, pcp.ErrShort},
		{"one octet", "00", parseRequest, pcp.ErrShort},
		{"map request cut short", "0002 0000 1f90 1f90", parseRequest, pcp.ErrShort},
		{"map request without its last octet", "0002 0000 1f90 1f90 000000", parseRequest, pcp.ErrShort},
		{"a response of NAT-PMP", "0082 0000", parseRequest, pcp.ErrNotForUs},
		{"a response of PCP", "0281 0000", parseRequest, pcp.ErrNotForUs},
		{"response cut short", "0080 00", parseResponse, pcp.ErrShort},
		{"address response cut short", "0080 0000 000003e8 cb0071", parseResponse, pcp.ErrShort},
		{"map response cut short", "0081 0000 000003e8 1f90 1f90 000000", parseResponse, pcp.ErrShort},
		{"a request", "0001 0000 1388 0000 00000e10", parseResponse, pcp.ErrNotForUs},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.parse(octets(t, tt.wire)); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
	for name, wire := range map[string]string{
		"another version":                  "0380 0000" + strings.Repeat("00", 20),
		"an unknown opcode with a success": "0083 0000 000003e8",
	} {
		if err := parseResponse(octets(t, wire)); err == nil {
			t.Errorf("%s: accepted as a response", name)
		}
	}
}

func parseRequest(b []byte) error {
	_, err := pcp.ParseRequest(b)
	return err
}

func parseResponse(b []byte) error {
	_, err := pcp.ParseResponse(b)
	return err
}

func TestMarshalRefusesWhatTheWireCannotHold(t *testing.T) {
	for _, tt := range []struct {
		name string
		m    pcp.Message
		want string
	}{
		{"a protocol without an opcode", pcp.PMPMapRequest{Protocol: 132}, "protocol sctp"},
		{"the answer to it", pcp.PMPMapResponse{Protocol: 132}, "protocol sctp"},
		{"a lifetime of 137 years", pcp.PMPMapRequest{Protocol: lease.TCP, Lifetime: 1 << 32 * time.Second}, "lifetime"},
		{"a negative lifetime", pcp.PMPMapResponse{Protocol: lease.TCP, Lifetime: -time.Second}, "lifetime"},
		{"a negative epoch", pcp.PMPAddressResponse{Epoch: -1}, "epoch"},
		{"an epoch before the map response", pcp.PMPMapResponse{Protocol: lease.TCP, Epoch: -1}, "epoch"},
		{"an IPv6 address", pcp.PMPAddressResponse{Addr: netip.MustParseAddr("2001:db8::1")}, "only IPv4"},
		{"a known opcode as unknown", pcp.PMPUnknownRequest{Opcode: 2}, "opcode 2"},
		{"a response as a request", pcp.PMPUnknownRequest{Opcode: 128}, "opcode 128"},
		{"a known opcode as unsupported", pcp.PMPUnsupportedOpcodeResponse{Opcode: 1}, "opcode 1"},
		{"NAT-PMP as another version", pcp.OtherVersion{}, "version 0"},
		{"a response of another version", pcp.OtherVersion{Version: 3, Opcode: 128}, "opcode 128"},
		{"PCP as another version", pcp.OtherVersion{Version: 2}, "version 2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, err := pcp.Marshal(tt.m)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %x, error %v; want an error about %q", b, err, tt.want)
			}
		})
	}
}

func marshal(t testing.TB, m pcp.Message) []byte {
	t.Helper()
	b, err := pcp.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
