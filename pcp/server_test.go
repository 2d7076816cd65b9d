package pcp

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
)

var (
	client = netip.MustParseAddrPort("192.168.1.10:40000")
	other  = netip.MustParseAddrPort("192.168.1.11:40000")
	wanIP  = netip.MustParseAddr("203.0.113.5")
	home   = lease.Topology{
		WANs: []lease.WAN{{Name: "wan0", Addrs: []netip.Addr{wanIP}}},
		LANs: []lease.LAN{{Name: "lan0", Prefixes: []netip.Prefix{netip.MustParsePrefix("192.168.1.1/24")}}},
	}
)

type outside netip.Addr

func (o outside) ExternalAddr(netip.Addr) (netip.Addr, string) { return netip.Addr(o), "" }

// setting is a server with a real manager behind it.
type setting struct {
	*Server
	manager *lease.Manager
	fake    *firewall.Fake
	store   *failingStore
}

// failingStore is a store whose disk can fail.
type failingStore struct {
	*lease.MemoryStore
	err error
}

func (s *failingStore) Commit(ctx context.Context, b lease.Batch) error {
	if s.err != nil {
		return s.err
	}
	return s.MemoryStore.Commit(ctx, b)
}

// newSetting starts a manager whose epoch is 1000 seconds old. In a synctest bubble no time passes by itself.
func newSetting(t testing.TB, change func(c *lease.Config)) *setting {
	t.Helper()
	s := &setting{fake: firewall.NewFake(), store: &failingStore{MemoryStore: lease.NewMemoryStore()}}
	boot := time.Now()
	clock := func() (lease.Instant, error) {
		now := time.Now()
		return lease.Instant{Time: now, BootID: "boot", Boot: now.Sub(boot)}, nil
	}
	now, err := clock()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.store.Commit(t.Context(), lease.Batch{Now: now, Epoch: 1000 * time.Second}); err != nil {
		t.Fatal(err)
	}
	config := lease.Config{Store: s.store, Firewall: s.fake, Policy: lease.DefaultPolicy(), Topology: home, Clock: clock}
	if change != nil {
		change(&config)
	}
	if s.manager, err = lease.New(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.manager.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	<-s.manager.Ready()
	s.Server = NewServer(Config{Leases: s.manager, Outside: outside(wanIP)})
	return s
}

// newPCP is the same with a server that speaks PCP and NAT-PMP.
func newPCP(t testing.TB, change func(c *lease.Config), changes ...func(c *Config)) *setting {
	t.Helper()
	s := newSetting(t, change)
	c := s.cfg
	c.Versions = PCPAndPMP
	for _, change := range changes {
		change(&c)
	}
	s.Server = NewServer(c)
	return s
}

// ask sends a request given in hexadecimal and returns the reply likewise, empty for none.
func (s *setting) ask(t testing.TB, src netip.AddrPort, request string) string {
	t.Helper()
	packet, err := hex.DecodeString(strings.ReplaceAll(request, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(s.handle(t.Context(), src, packet))
}

func (s *setting) mustReply(t testing.TB, src netip.AddrPort, request, want string) {
	t.Helper()
	if got := s.ask(t, src, request); got != strings.ReplaceAll(want, " ", "") {
		t.Errorf("request %s from %s\n got %s\nwant %s", request, src.Addr(), got, want)
	}
}

// leases describes what is in force.
func (s *setting) leases() (all []string) {
	for _, l := range s.manager.Snapshot().Leases {
		all = append(all, l.String())
	}
	return all
}

func (s *setting) mustHave(t testing.TB, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, s.leases()); diff != "" {
		t.Errorf("leases (-want +got):\n%s", diff)
	}
}

// The vectors: client 192.168.1.10, WAN 203.0.113.5, epoch 1000, nothing mapped.
func TestVectors(t *testing.T) {
	for _, tt := range []struct {
		name, request, want string
		policy              func(c *lease.Config)
		outside             netip.Addr
	}{
		{name: "N1 external address", request: "00 00", want: "00 80 00 00 00 00 03 e8 cb 00 71 05"},
		{
			name: "N2 map TCP 8080", request: "00 02 00 00 1f 90 1f 90 00 00 1c 20",
			want: "00 82 00 00 00 00 03 e8 1f 90 1f 90 00 00 1c 20",
		},
		{
			name: "N3 map UDP 5000, external 0", request: "00 01 00 00 13 88 00 00 00 00 0e 10",
			want: "00 81 00 00 00 00 03 e8 13 88 13 88 00 00 0e 10",
		},
		{
			name: "N4 delete TCP 8080", request: "00 02 00 00 1f 90 00 00 00 00 00 00",
			want: "00 82 00 00 00 00 03 e8 1f 90 00 00 00 00 00 00",
		},
		{
			name: "N5 delete all UDP of this client", request: "00 01 00 00 00 00 00 00 00 00 00 00",
			want: "00 81 00 00 00 00 03 e8 00 00 00 00 00 00 00 00",
		},
		{
			name: "N6 delete with non-zero suggested port", request: "00 02 00 00 1f 90 ff ff 00 00 00 00",
			want: "00 82 00 00 00 00 03 e8 1f 90 00 00 00 00 00 00",
		},
		{name: "N7 unknown opcode 3", request: "00 03 00 00", want: "00 83 00 05"},
		{name: "N8 opcode of a response", request: "00 82 00 00 00 00 00 00", want: ""},
		{name: "N9 runt", request: "00", want: ""},
		{name: "N10 truncated map", request: "00 02 00 00 1f 90 1f 90", want: ""},
		{name: "N11 version 1, NAT-PMP only", request: "01 00", want: "00 80 00 01 00 00 03 e8"},
		{
			name: "N12 mapping refused by policy", request: "00 02 00 00 00 16 00 16 00 00 0e 10",
			want:   "00 82 00 02 00 00 03 e8 00 16 00 00 00 00 00 00",
			policy: func(c *lease.Config) { c.Topology.LANs = nil },
		},
		{name: "N13 no WAN address", request: "00 00", want: "00 80 00 03 00 00 03 e8 00 00 00 00", outside: netip.IPv4Unspecified()},

		{name: "P23 PCP, unknown opcode 5", request: "02 05" + strings.Repeat("00", 22), want: "00 80 00 01 00 00 03 e8"},
		{name: "P24 version 3", request: "03 01" + strings.Repeat("00", 58), want: "00 80 00 01 00 00 03 e8"},
		{name: "P25 PCP with R bit", request: "02 81" + strings.Repeat("00", 22), want: ""},

		{name: "unknown opcode with a body", request: "00 7f aa bb cc dd ee", want: "00 ff 00 05 cc dd ee"},
		{name: "unknown opcode and nothing else", request: "00 03", want: "00 83 00 05"},
		{name: "empty packet", request: "", want: ""},
		{name: "runt of PCP", request: "02", want: ""},
		{name: "longer than any message", request: "00 00" + strings.Repeat("00", 1099), want: ""},
		{name: "address request with octets behind it", request: "00 00 aa bb cc", want: "00 80 00 00 00 00 03 e8 cb 00 71 05"},
		{
			name: "internal port 0 with a lifetime", request: "00 01 00 00 00 00 1f 90 00 00 1c 20",
			want: "00 81 00 02 00 00 03 e8 00 00 00 00 00 00 00 00",
		},
		{
			name: "map without a WAN address", request: "00 01 00 00 13 88 00 00 00 00 0e 10", outside: netip.IPv6LinkLocalAllNodes(),
			want: "00 81 00 03 00 00 03 e8 13 88 00 00 00 00 00 00",
		},
		{
			name: "private WAN address, as it is", request: "00 00", outside: netip.MustParseAddr("::ffff:10.1.2.3"),
			want: "00 80 00 00 00 00 03 e8 0a 01 02 03",
		},
		{
			name: "a client that counts milliseconds: 3,600,000 s become a day", request: "00 01 00 00 13 88 13 88 00 36 ee 80",
			want: "00 81 00 00 00 00 03 e8 13 88 13 88 00 01 51 80",
		},
		{
			name: "the longest lifetime", request: "00 01 00 00 13 88 13 88 ff ff ff ff",
			want: "00 81 00 00 00 00 03 e8 13 88 13 88 00 01 51 80",
		},
		{
			name: "one second is not raised", request: "00 01 00 00 13 88 13 88 00 00 00 01",
			want: "00 81 00 00 00 00 03 e8 13 88 13 88 00 00 00 01",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSetting(t, tt.policy)
				if tt.outside.IsValid() {
					s.cfg.Outside = outside(tt.outside)
				}
				s.mustReply(t, client, tt.request, tt.want)
			})
		})
	}
}

const (
	mapTCP8080    = "00 02 00 00 1f 90 1f 90 00 00 1c 20"
	mapUDP8080    = "00 01 00 00 1f 90 1f 90 00 00 1c 20"
	deleteTCP8080 = "00 02 00 00 1f 90 00 00 00 00 00 00"
	deleteAllTCP  = "00 02 00 00 00 00 00 00 00 00 00 00"
)

func TestMapAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSetting(t, nil)
		s.mustReply(t, client, mapTCP8080, "00 82 00 00 00 00 03 e8 1f 90 1f 90 00 00 1c 20")
		time.Sleep(time.Hour)
		// The port that was assigned, whatever is suggested now, and a new lifetime.
		s.mustReply(t, client, "00 02 00 00 1f 90 27 10 00 00 0e 10", "00 82 00 00 00 00 11 f8 1f 90 1f 90 00 00 0e 10")
		s.mustHave(t, "tcp 8080 -> 192.168.1.10:8080")
		time.Sleep(time.Hour + time.Second)
		s.mustHave(t)
	})
}

func TestAnotherClientGetsAnotherPort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSetting(t, nil)
		s.mustReply(t, client, mapTCP8080, "00 82 00 00 00 00 03 e8 1f 90 1f 90 00 00 1c 20")
		s.mustReply(t, other, mapTCP8080, "00 82 00 00 00 00 03 e8 1f 90 1f 91 00 00 1c 20")
		// UDP 8080 is kept for the client that has TCP 8080.
		s.mustReply(t, other, mapUDP8080, "00 81 00 00 00 00 03 e8 1f 90 1f 91 00 00 1c 20")
		s.mustReply(t, client, mapUDP8080, "00 81 00 00 00 00 03 e8 1f 90 1f 90 00 00 1c 20")
		s.mustHave(t, "tcp 8080 -> 192.168.1.10:8080", "tcp 8081 -> 192.168.1.11:8080", "udp 8081 -> 192.168.1.11:8080", "udp 8080 -> 192.168.1.10:8080")
	})
}

func TestDelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSetting(t, nil)
		s.ask(t, client, mapTCP8080)
		s.ask(t, client, mapUDP8080)
		s.ask(t, client, "00 02 00 00 13 88 00 00 00 00 1c 20")
		s.ask(t, other, mapTCP8080)

		s.mustReply(t, client, deleteTCP8080, "00 82 00 00 00 00 03 e8 1f 90 00 00 00 00 00 00")
		s.mustReply(t, client, deleteTCP8080, "00 82 00 00 00 00 03 e8 1f 90 00 00 00 00 00 00")
		s.mustHave(t, "udp 8080 -> 192.168.1.10:8080", "tcp 5000 -> 192.168.1.10:5000", "tcp 8081 -> 192.168.1.11:8080")

		s.ask(t, client, mapTCP8080)
		s.mustReply(t, client, deleteAllTCP, "00 82 00 00 00 00 03 e8 00 00 00 00 00 00 00 00")
		s.mustHave(t, "udp 8080 -> 192.168.1.10:8080", "tcp 8081 -> 192.168.1.11:8080")

		// Without a WAN there is still something to delete.
		s.cfg.Outside = outside{}
		s.mustReply(t, other, deleteAllTCP, "00 82 00 00 00 00 03 e8 00 00 00 00 00 00 00 00")
		s.mustHave(t, "udp 8080 -> 192.168.1.10:8080")
	})
}

func TestMappingOfAnotherProtocol(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSetting(t, nil)
		_, err := s.manager.Open(t.Context(), lease.Request{
			Mapping: lease.Mapping{
				Protocol: lease.TCP, External: netip.AddrPortFrom(netip.Addr{}, 9000), Internal: netip.AddrPortFrom(client.Addr(), 8080),
			},
			Origin: lease.OriginUPnP, Client: client.Addr(), Key: lease.ByExternal, Choice: lease.Exact, Permanent: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		// Its port is told, and a lifetime that is not longer than what was asked for.
		s.mustReply(t, client, mapTCP8080, "00 82 00 00 00 00 03 e8 1f 90 23 28 00 00 1c 20")
		s.mustHave(t, "tcp 9000 -> 192.168.1.10:8080")
		s.mustReply(t, client, deleteAllTCP, "00 82 00 00 00 00 03 e8 00 00 00 00 00 00 00 00")
		s.mustHave(t, "tcp 9000 -> 192.168.1.10:8080")
	})
}

func TestFailuresBehindTheServer(t *testing.T) {
	const outOfResources = "00 82 00 04 00 00 03 e8 1f 90 00 00 00 00 00 00"
	synctest.Test(t, func(t *testing.T) {
		s := newSetting(t, nil)
		s.store.err = errors.New("the disk is full")
		s.mustReply(t, client, mapTCP8080, outOfResources)
		s.mustHave(t)
		s.store.err = nil
		s.fake.SetFail(func(string) error { return errors.New("the kernel refuses") })
		s.mustReply(t, client, mapTCP8080, outOfResources)
		s.mustHave(t)
		s.fake.SetFail(nil)
		s.mustReply(t, client, mapTCP8080, "00 82 00 00 00 00 03 e8 1f 90 1f 90 00 00 1c 20")
	})
	synctest.Test(t, func(t *testing.T) {
		s := newSetting(t, func(c *lease.Config) { c.Policy.MappingsPerDevice = 1 })
		s.ask(t, client, mapUDP8080)
		s.mustReply(t, client, mapTCP8080, outOfResources)
	})
	synctest.Test(t, func(t *testing.T) {
		s := newSetting(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		packet, err := hex.DecodeString(strings.ReplaceAll(mapTCP8080, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		s.fake.SetFail(func(string) error { time.Sleep(time.Minute); return nil })
		if got := hex.EncodeToString(s.handle(ctx, client, packet)); got != strings.ReplaceAll(outOfResources, " ", "") {
			t.Errorf("request given up: reply %s", got)
		}
	})
}

func TestEpochGoesOnAndTurnsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSetting(t, nil)
		time.Sleep(90 * time.Second)
		s.mustReply(t, client, "00 00", "00 80 00 00 00 00 04 42 cb 00 71 05")
	})
	synctest.Test(t, func(t *testing.T) {
		s := newSetting(t, func(c *lease.Config) {
			now, err := c.Clock()
			if err != nil {
				t.Fatal(err)
			}
			const age = (1<<32 - 2) * time.Second
			if err := c.Store.Commit(t.Context(), lease.Batch{Now: now, Epoch: age}); err != nil {
				t.Fatal(err)
			}
		})
		s.mustReply(t, client, "00 00", "00 80 00 00 ff ff ff fe cb 00 71 05")
		time.Sleep(3 * time.Second)
		s.mustReply(t, client, "00 00", "00 80 00 00 00 00 00 01 cb 00 71 05")
	})
}

func TestResultOfEachError(t *testing.T) {
	want := map[error]PMPResult{
		lease.ErrInvalid:       PMPRefused,
		lease.ErrProtocol:      PMPUnsupportedOpcode,
		lease.ErrNotAuthorized: PMPRefused,
		lease.ErrThirdParty:    PMPRefused,
		lease.ErrPort:          PMPRefused,
		lease.ErrReserved:      PMPRefused,
		lease.ErrConflict:      PMPOutOfResources,
		lease.ErrQuota:         PMPOutOfResources,
		lease.ErrFull:          PMPOutOfResources,
		lease.ErrNonce:         PMPRefused,
		lease.ErrNotFound:      PMPRefused,
		lease.ErrUnavailable:   PMPOutOfResources,
		lease.ErrWaiting:       PMPOutOfResources,
		lease.ErrPaused:        PMPOutOfResources,
		lease.ErrStopping:      PMPOutOfResources,
	}
	for _, sentinel := range lease.Errors() {
		result, ok := want[sentinel]
		if !ok {
			t.Errorf("no row for %q", sentinel)
			continue
		}
		if got := pmpResult(fmt.Errorf("%w: udp 22", sentinel)); got != result {
			t.Errorf("%q: %s, want %s", sentinel, got, result)
		}
	}
	if got := pmpResult(nil); got != PMPSuccess {
		t.Errorf("no error: %s", got)
	}
	if got := pmpResult(errors.New("unheard of")); got != PMPOutOfResources {
		t.Errorf("an unknown error: %s", got)
	}
}

func TestLimiterForgetsRatherThanGrows(t *testing.T) {
	l := newLimiter()
	addr := netip.MustParseAddr("10.0.0.0")
	for range 3 * sourceTable {
		addr = addr.Next()
		if !l.allow(addr) {
			t.Fatalf("the first request of %s is refused", addr)
		}
		if len(l.sources) > sourceTable {
			t.Fatalf("%d addresses are remembered, allowed are %d", len(l.sources), sourceTable)
		}
	}
	allowed := 0
	for range 10 * sourceBurst {
		if l.allow(client.Addr()) {
			allowed++
		}
	}
	if allowed < sourceBurst || allowed > 2*sourceBurst {
		t.Errorf("%d requests at once are allowed, want about %d", allowed, sourceBurst)
	}
}

// The owner learns who asks, by either protocol and whatever is answered.
func TestRequestsAreHeard(t *testing.T) {
	s := newSetting(t, nil)
	var heard []netip.Addr
	server := NewServer(Config{Leases: s.manager, Outside: outside(wanIP), Versions: OnlyPMP, Heard: func(host netip.Addr) { heard = append(heard, host) }})
	server.handle(t.Context(), client, []byte{0, 0})
	server.handle(t.Context(), other, []byte{2, 0})
	server.handle(t.Context(), other, []byte{0, 128}) // an answer
	if !slices.Equal(heard, []netip.Addr{client.Addr(), other.Addr()}) {
		t.Errorf("heard %v, want %v and %v", heard, client.Addr(), other.Addr())
	}
}
