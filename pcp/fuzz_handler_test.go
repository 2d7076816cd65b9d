package pcp

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/lease"
)

// Whatever a LAN host sends: the answer is a message, not longer than the longest message or the request, and all
// mappings lead to whoever asked.
func FuzzHandle(f *testing.F) {
	for _, request := range []string{
		"", "00", "0000", strings.ReplaceAll(mapTCP8080, " ", ""), strings.ReplaceAll(deleteAllTCP, " ", ""), "0003aabbcc", "0082",
		"02010000", "0001000000000000ffffffff",
	} {
		packet, err := hex.DecodeString(request)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packet)
	}
	s := newSetting(f, nil)
	f.Fuzz(func(t *testing.T, packet []byte) {
		reply := s.handle(t.Context(), client, packet)
		if reply == nil {
			return
		}
		if len(packet) < 2 || packet[1]&responseBit != 0 || len(packet) > MaxMessage {
			t.Fatalf("%x must not be answered, but %x", packet, reply)
		}
		if len(reply) > max(pmpMapResponseLen, len(packet)+2) {
			t.Errorf("%d octets are answered with %d", len(packet), len(reply))
		}
		if _, err := ParseResponse(reply); err != nil {
			t.Errorf("%x is answered with %x: %v", packet, reply, err)
		}
		for _, l := range s.manager.Snapshot().Leases {
			if l.Client != client.Addr() || l.Internal.Addr() != client.Addr() {
				t.Errorf("%x made %s for %s", packet, l.Mapping, l.Client)
			}
		}
	})
}

// The same of PCP. What is refused, and what cannot be read, has changed nothing.
func FuzzHandlePCP(f *testing.F) {
	for _, packet := range packetsOfPCP(f) {
		f.Add(packet)
	}
	s := newGenerous(f)
	f.Fuzz(func(t *testing.T, packet []byte) { s.survives(t, packet) })
}

// Many packets that are somewhat wrong, quickly.
func TestGarbage(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	s := newGenerous(t)
	packets := packetsOfPCP(t)
	for range 20000 {
		s.survives(t, spoil(r, packets))
	}
}

// newGenerous starts a server that has more to give: addresses, and ports of other protocols.
func newGenerous(t testing.TB) *setting {
	t.Helper()
	s := newPCP(t, func(c *lease.Config) {
		c.Policy.Pool = []netip.Addr{netip.MustParseAddr("203.0.113.20"), netip.MustParseAddr("203.0.113.21")}
	})
	s.fake.Know(lease.SCTP, lease.UDPLite)
	return s
}

// spoil returns one of some packets with damage: octets replaced, the end cut off or that of another one put there.
func spoil(r *rand.Rand, packets [][]byte) []byte {
	packet := slices.Clone(packets[r.IntN(len(packets))])
	if r.IntN(4) == 0 {
		packet = append(packet, packets[r.IntN(len(packets))]...)
	}
	if r.IntN(8) == 0 {
		packet = packet[:r.IntN(len(packet)+1)]
	}
	if r.IntN(2) == 0 && len(packet) > 60 {
		packet = append(packet[:60], packets[r.IntN(len(packets))]...) // as if they were options
	}
	for range r.IntN(4) {
		if len(packet) > 0 {
			packet[r.IntN(len(packet))] = []byte{0, 1, 2, 4, 16, 20, 96, 128, 255, byte(r.Uint32())}[r.IntN(10)]
		}
	}
	return packet
}

// packetsOfPCP are packets of every kind, good and bad.
func packetsOfPCP(t testing.TB) (packets [][]byte) {
	t.Helper()
	for _, request := range []string{
		"", "00", "0000", mapTCP8080, deleteAllTCP, "02", "0200", "0100", "03010000",
		"02 00 00 00 00 00 00 00" + vFrom, "02 05 00 00 00 00 00 00" + vFrom, "02 81 00 00 00 00 00 00" + vFrom,
		vMap, vPeer, vMap + "02 00 00 00", vMap + vThird, vMap + "03 00 00 14 00 80 00 00" + vFar,
		vMap + "03 00 00 14 00 80 00 00" + vFar + "03 00 00 14" + strings.Repeat("00", 20) + "80 00 00 06 6d 79 20 61 70 70 00 00",
		vMap + "82 00 00 05 00 40 1f 90 01 00 00 00", vMap + "63 00 00 04 01 02 03 04", vMap + "c8 00 00 03 01 02 03 00",
		vMap + "80 00 00 28 61 62 63 64", vAsk + vN1 + vTCP, vAsk + vN1 + "00 00 00 00 00 00 00 00" + vAny,
		"02 01 00 00 00 00 00 00" + vFrom + vN1 + "06 00 00 00 1f 90 00 00" + vAny,
		"02 01 00 00 00 00 00 00" + vFrom + vN1 + "00 00 00 00 00 00 00 00" + vAny,
		vAsk + vN1 + "06 00 00 00 00 00 00 00" + vAny, vAsk + vN1 + "84 00 00 00 13 88 13 88" + vAny,
		vAsk + vN2 + vTCP + vAny, vMap + "80 00 04 10" + strings.Repeat("61", 1040),
	} {
		packet, err := hex.DecodeString(strings.ReplaceAll(request, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		packets = append(packets, packet)
	}
	return packets
}

// survives sends a packet of the client and looks at what it does.
func (s *setting) survives(t *testing.T, packet []byte) {
	t.Helper()
	before := s.manager.Snapshot()
	reply := s.handle(t.Context(), client, packet)
	after := s.manager.Snapshot()
	no := refused(t, packet, reply)
	if before == after {
		return // the same, so nothing has changed
	}
	if no && !cmp.Equal(describe(before.Leases), describe(after.Leases)) {
		t.Errorf("%x is refused with %x and has changed\n%v to\n%v", packet, reply, describe(before.Leases), describe(after.Leases))
	}
	for _, l := range after.Leases {
		if l.Client != client.Addr() || l.Internal.Addr() != client.Addr() {
			t.Errorf("%x made %s for %s", packet, l.Mapping, l.Client)
		}
	}
}

// refused checks a reply and tells whether it grants nothing.
func refused(t *testing.T, packet, reply []byte) bool {
	t.Helper()
	if reply == nil {
		return true
	}
	if len(packet) < 2 || packet[1]&responseBit != 0 {
		t.Fatalf("%x must not be answered, but %x", packet, reply)
	}
	if len(reply) > MaxMessage || reply[1] != packet[1]|responseBit {
		t.Errorf("%d octets are answered with %d: %x", len(packet), len(reply), reply)
	}
	if reply[0] == versionPMP {
		return reply[2] != 0 || reply[3] != 0
	}
	if len(reply) > max(headerLen, len(packet)+3) || len(reply)%4 != 0 {
		t.Errorf("%d octets are answered with %d", len(packet), len(reply))
	}
	if _, err := ParseResponse(reply); err != nil {
		t.Errorf("%x is answered with %x: %v", packet, reply, err)
	}
	return reply[3] != byte(ResultSuccess)
}

// describe tells of leases what a client could have changed.
func describe(leases []lease.Lease) (all []string) {
	for _, l := range leases {
		all = append(all, fmt.Sprintf("%s %s %d %v %q %s", l.ID, l.Mapping, l.Ports, l.Filters, l.Description, l.Expires.Round(0)))
	}
	return all
}
