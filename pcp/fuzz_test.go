package pcp_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/pcp"
)

// What can be read can be written, and is the same when it is read again. Nothing that was read changes when the
// packet's memory is used for the next packet, and nothing is read beyond its end.
func FuzzParse(f *testing.F) {
	for _, wire := range []string{
		"0000", "000200001f901f9000001c20", "0003aabbcc", "02010000", "00800000000003e8cb007105",
		"00820000000003e81f901f9100001c20", "00000001000003e8", "00830005aabb", "0081", "",
		mapTCP8080, mapped8080, mapTCP8080 + "02 00 00 00", mapTCP8080 + "01 00 00 10" + wanAddr,
		mapTCP8080 + "03 00 00 14 00 80 00 00" + wanAddr + "03 00 00 14" + strings.Repeat("00", 20),
		mapTCP8080 + "80 00 00 06 6d 79 20 61 70 70 00 00 82 00 00 05 00 40 1f 90 01 00 00 00",
		mapTCP8080 + "63 00 00 04 01 02 03 04 c8 00 00 03 01 02 03 00", mapTCP8080 + "80 00 00 28 61 62 63 64",
		"02 02" + mapTCP8080[len("02 01"):] + "01 bb 00 00" + wanAddr, "02 82" + mapped8080[len("02 81"):] + "01 bb 00 00" + wanAddr,
		"02 00 00 00 00 00 00 00" + fromClient, "02 05 00 00 00 00 00 00" + fromClient, "03 81 00 01 00 00 07 08" + epochIs1000,
		"02 81 00 03 00 00 07 08" + epochIs1000, "01 00",
	} {
		f.Add(octets(f, wire))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		again(t, b, pcp.ParseRequest)
		again(t, b, pcp.ParseResponse)
	})
}

// again parses octets and what becomes of them, with one of the two functions.
func again[M pcp.Message](t *testing.T, b []byte, parse func([]byte) (M, error)) {
	t.Helper()
	// The octets stand in front of others that do not belong to them.
	memory := append(bytes.Clone(b), bytes.Repeat([]byte{0xa5}, 64)...)
	m, err := parse(memory[:len(b)])
	if err != nil {
		malformed, ok := errors.AsType[*pcp.RequestError](err)
		if ok && malformed.Result != pcp.ResultMalformedRequest && malformed.Result != pcp.ResultMalformedOption {
			t.Errorf("%x: %v", b, err)
		}
		return
	}
	for i := range memory {
		memory[i] = ^memory[i]
	}
	wire := marshal(t, m)
	second, err := parse(wire)
	if diff := cmp.Diff(any(m), any(second), sameValues); err != nil || diff != "" {
		t.Errorf("%x is read as %+v and written as %x (-first +second):\n%s%v", b, m, wire, diff, err)
	}
}

// What can be written can be read, and is the same.
func FuzzAppend(f *testing.F) {
	for seed := range uint64(64) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := maker{rand.New(rand.NewPCG(seed, 0))}
		request := r.request()
		if got, err := pcp.ParseRequest(marshal(t, request)); err != nil || !cmp.Equal(any(request), any(got), sameValues, orNone()) {
			t.Errorf("request %+v is read as %+v, error %v", request, got, err)
		}
		response := r.response()
		if got, err := pcp.ParseResponse(marshal(t, response)); err != nil || !cmp.Equal(any(response), any(got), sameValues, orNone()) {
			t.Errorf("response %+v is read as %+v, error %v", response, got, err)
		}
		prefix := r.octets(20)
		whole, err := pcp.Append(bytes.Clone(prefix), request)
		if err != nil || !bytes.Equal(whole, append(prefix, marshal(t, request)...)) {
			t.Errorf("%x is not %x and the request, error %v", whole, prefix, err)
		}
	})
}

// maker makes valid messages at random.
type maker struct{ *rand.Rand }

func (r maker) request() pcp.Request {
	h := pcp.RequestHeader{Lifetime: r.seconds(), Client: r.addr()}
	switch r.IntN(8) {
	case 0:
		return pcp.AnnounceRequest{h, r.options(pcp.OpcodeAnnounce)}
	case 1, 2:
		return pcp.MapRequest{h, r.nonce(), lease.Protocol(r.IntN(256)), r.port(), r.addrPort(), r.options(pcp.OpcodeMap)}
	case 3:
		return pcp.PeerRequest{h, r.nonce(), lease.Protocol(r.IntN(256)), r.port(), r.addrPort(), r.addrPort(), r.options(pcp.OpcodePeer)}
	case 4:
		return pcp.UnknownRequest{h, pcp.Opcode(3 + r.IntN(125)), r.octets(4 * r.IntN(270))}
	case 5:
		return pcp.OtherVersion{Version: uint8(3 + r.IntN(253)), Opcode: uint8(r.IntN(128))}
	case 6:
		return pcp.PMPMapRequest{r.pmpProtocol(), r.port(), r.port(), r.seconds()}
	default:
		return pcp.PMPUnknownRequest{Opcode: uint8(3 + r.IntN(125)), Rest: r.octets(r.IntN(40))}
	}
}

func (r maker) response() pcp.Response {
	h := pcp.ResponseHeader{Lifetime: r.seconds(), Epoch: r.seconds()}
	failed := h
	failed.Result = pcp.Result(2 + r.IntN(254))
	switch r.IntN(10) {
	case 0:
		return pcp.AnnounceResponse{h, r.options(pcp.OpcodeAnnounce)}
	case 1:
		return pcp.MapResponse{h, r.nonce(), lease.Protocol(r.IntN(256)), r.port(), r.addrPort(), r.options(pcp.OpcodeMap)}
	case 2:
		return pcp.MapResponse{failed, r.nonce(), lease.Protocol(r.IntN(256)), r.port(), r.addrPort(), nil}
	case 3:
		return pcp.PeerResponse{h, r.nonce(), lease.Protocol(r.IntN(256)), r.port(), r.addrPort(), r.addrPort(), r.options(pcp.OpcodePeer)}
	case 4:
		return pcp.UnknownResponse{failed, pcp.Opcode(1 + r.IntN(127)), r.octets(4 * r.IntN(9))}
	case 5:
		return pcp.UnsupportedVersionResponse{uint8(1 + r.IntN(255)), pcp.Opcode(r.IntN(128)), h.Lifetime, h.Epoch}
	case 6:
		return pcp.PMPAddressResponse{pcp.PMPResult(2 + r.IntN(9)), h.Epoch, netip.AddrFrom4([4]byte(r.octets(4)))}
	case 7:
		return pcp.PMPMapResponse{r.pmpProtocol(), pcp.PMPResult(r.IntN(9)), h.Epoch, r.port(), r.port(), h.Lifetime}
	case 8:
		return pcp.PMPUnsupportedVersionResponse{h.Epoch}
	default:
		return pcp.PMPUnsupportedOpcodeResponse{uint8(3 + r.IntN(125)), r.octets(r.IntN(40))}
	}
}

// options returns options that may stand together, in any order.
func (r maker) options(opcode pcp.Opcode) []pcp.Option {
	var options []pcp.Option
	add := func(o pcp.Option) {
		if r.IntN(2) == 0 {
			options = append(options, o)
		}
	}
	if opcode != pcp.OpcodeAnnounce {
		add(pcp.ThirdParty{r.addr()})
		add(pcp.Description{string(r.octets(r.IntN(300)))})
	}
	if opcode == pcp.OpcodeMap {
		add(pcp.PreferFailure{})
		add(pcp.Filter{})
		for range r.IntN(5) {
			addr := r.addr()
			add(pcp.Filter{netip.PrefixFrom(addr, 1+r.IntN(addr.BitLen())), r.port()})
		}
		add(pcp.PortSet{uint16(1 + r.IntN(65535)), r.port(), r.IntN(2) == 0})
	}
	add(pcp.UnknownOption{pcp.OptionCode(131 + r.IntN(125)), r.octets(r.IntN(100))})
	add(pcp.UnknownOption{pcp.OptionCode(4 + r.IntN(124)), r.octets(r.IntN(100))})
	r.Shuffle(len(options), func(i, j int) { options[i], options[j] = options[j], options[i] })
	return options
}

func (r maker) seconds() time.Duration { return time.Duration(r.Uint32()) * time.Second }

func (r maker) port() uint16 { return uint16(r.IntN(65536)) }

func (r maker) nonce() lease.Nonce { return lease.Nonce(r.octets(12)) }

func (r maker) addr() netip.Addr {
	switch r.IntN(4) {
	case 0:
		return netip.IPv4Unspecified()
	case 1:
		return netip.IPv6Unspecified()
	case 2:
		return netip.AddrFrom4([4]byte(r.octets(4)))
	default:
		return netip.AddrFrom16([16]byte(append([]byte{0x20}, r.octets(15)...)))
	}
}

func (r maker) addrPort() netip.AddrPort { return netip.AddrPortFrom(r.addr(), r.port()) }

func (r maker) pmpProtocol() lease.Protocol {
	if r.IntN(2) == 0 {
		return lease.TCP
	}
	return lease.UDP
}

func (r maker) octets(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}
