package pcp

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/lease"
)

// The parts of the vectors of PCP: client 192.168.1.10, WAN 203.0.113.5, epoch 1000.
const (
	vAsk   = "02 01 00 00 00 00 1c 20" + vFrom
	vFrom  = "00 00 00 00 00 00 00 00 00 00 ff ff c0 a8 01 0a"
	vN1    = "01 02 03 04 05 06 07 08 09 0a 0b 0c"
	vN2    = "a1 a2 a3 a4 a5 a6 a7 a8 a9 aa ab ac"
	vTCP   = "06 00 00 00 1f 90 1f 90"
	vAny   = "00 00 00 00 00 00 00 00 00 00 ff ff 00 00 00 00"
	vWAN   = "00 00 00 00 00 00 00 00 00 00 ff ff cb 00 71 05"
	vSays  = "02 81 00 00 00 00 1c 20" + vEpoch
	vEpoch = "00 00 03 e8 00 00 00 00 00 00 00 00 00 00 00 00"
	vMap   = vAsk + vN1 + vTCP + vAny
	vDone  = vSays + vN1 + vTCP + vWAN
	vPeer  = "02 02 00 00 00 00 1c 20" + vFrom + vN1 + "06 00 00 00 9c 40 00 00" + vAny + "01 bb 00 00" + vFar
	vFar   = "00 00 00 00 00 00 00 00 00 00 ff ff c6 33 64 07" // 198.51.100.7

	vThird = "01 00 00 10 00 00 00 00 00 00 00 00 00 00 ff ff c0 a8 01 14" // 192.168.1.20
)

var (
	nonce1 = lease.Nonce{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
	nonce2 = lease.Nonce{0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xac}
	third  = netip.MustParseAddr("192.168.1.20")
	anyIP  = netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
)

// echo is the error that a request is answered with: itself, with another beginning.
func echo(request string, result Result, lifetime time.Duration) string {
	b, err := hex.DecodeString(strings.ReplaceAll(request, " ", ""))
	if err != nil {
		panic(err)
	}
	return hex.EncodeToString(ErrorResponse(b, ResponseHeader{result, lifetime, 1000 * time.Second}))
}

func TestVectorsOfPCP(t *testing.T) {
	const long, short = 30 * time.Minute, 30 * time.Second
	p8 := vAsk + vN1 + "00 00 00 00 00 50 00 00" + vAny
	p9 := vAsk + vN1 + "00 00 00 00 00 00 00 00" + vAny
	p10 := vAsk + vN1 + "84 00 00 00 13 88 13 88" + vAny
	p11 := vAsk + vN1 + vTCP + vWAN + "02 00 00 00"
	p7 := "02 01 00 00 00 00 1c 20 00 00 00 00 00 00 00 00 00 00 ff ff c0 a8 01 0b" + vN1 + vTCP + vAny
	for _, tt := range []struct {
		name, request, want string
		setting             func(t *testing.T, s *setting)
	}{
		{name: "P1 ANNOUNCE", request: "02 00 00 00 00 00 00 00" + vFrom, want: "02 80 00 00 00 00 00 00" + vEpoch},
		{name: "P2 MAP TCP 8080, any external IPv4", request: vMap, want: vDone},
		{
			name: "P3 MAP UDP, lifetime 60", request: "02 01 00 00 00 00 00 3c" + vFrom + vN1 + "11 00 00 00 13 88 00 00" + vAny,
			want: "02 81 00 00 00 00 00 78" + vEpoch + vN1 + "11 00 00 00 13 88 13 88" + vWAN,
		},
		{
			name: "P4 MAP lifetime 0xffffffff", request: "02 01 00 00 ff ff ff ff" + vFrom + vN1 + "11 00 00 00 13 88 00 00" + vAny,
			want: "02 81 00 00 00 01 51 80" + vEpoch + vN1 + "11 00 00 00 13 88 13 88" + vWAN,
		},
		{
			name: "P5 delete", request: "02 01 00 00 00 00 00 00" + vFrom + vN1 + "06 00 00 00 1f 90 00 00" + vAny,
			want:    "02 81 00 00 00 00 00 00" + vEpoch + vN1 + "06 00 00 00 1f 90 00 00" + vAny,
			setting: func(t *testing.T, s *setting) { s.mustReply(t, client, vMap, vDone) },
		},
		{
			name: "P5 delete what is not there", request: "02 01 00 00 00 00 00 00" + vFrom + vN1 + "06 00 00 00 1f 90 00 00" + vAny,
			want: "02 81 00 00 00 00 00 00" + vEpoch + vN1 + "06 00 00 00 1f 90 00 00" + vAny,
		},
		{
			name: "P6 renew with another nonce", request: vAsk + vN2 + vTCP + vAny,
			want:    echo(vAsk+vN2+vTCP+vAny, ResultNotAuthorized, 2*time.Hour),
			setting: func(t *testing.T, s *setting) { s.mustReply(t, client, vMap, vDone) },
		},
		{name: "P7 another address in the header", request: p7, want: echo(p7, ResultAddressMismatch, long)},
		{name: "P8 protocol 0 with internal port 80", request: p8, want: echo(p8, ResultMalformedRequest, long)},
		{name: "P9 all protocols, all ports", request: p9, want: echo(p9, ResultUnsuppProtocol, long)},
		{name: "P10 SCTP", request: p10, want: echo(p10, ResultUnsuppProtocol, long)},
		{name: "P11 PREFER_FAILURE", request: p11, want: vDone + "02 00 00 00"},
		{
			name: "P12 PREFER_FAILURE, the port is held by another host", request: p11, want: echo(p11, ResultCannotProvideExternal, short),
			setting: func(t *testing.T, s *setting) { s.open(t, other.Addr(), lease.TCP, 8080, 8080) },
		},
		{
			name: "P13 PREFER_FAILURE with length 4", request: vMap + "02 00 00 04 00 00 00 00",
			want: echo(vMap+"02 00 00 04 00 00 00 00", ResultMalformedOption, long),
		},
		{
			name: "P14 PREFER_FAILURE twice", request: vMap + "02 00 00 00 02 00 00 00",
			want: echo(vMap+"02 00 00 00 02 00 00 00", ResultMalformedOption, long),
		},
		{name: "P15 THIRD_PARTY, not enabled", request: vMap + vThird, want: echo(vMap+vThird, ResultUnsuppOption, long)},
		{
			name: "P16 THIRD_PARTY naming the sender", request: vMap + "01 00 00 10" + vFrom,
			want:    echo(vMap+"01 00 00 10"+vFrom, ResultMalformedRequest, long),
			setting: func(_ *testing.T, s *setting) { s.cfg.ThirdParty = true },
		},
		{
			name: "P17 FILTER", request: vMap + "03 00 00 14 00 80 00 00" + vFar,
			want: vDone + "03 00 00 14 00 80 00 00" + vFar,
		},
		{
			name: "P18 unknown mandatory option 99", request: vMap + "63 00 00 04 01 02 03 04",
			want: echo(vMap+"63 00 00 04 01 02 03 04", ResultUnsuppOption, long),
		},
		{name: "P19 unknown optional option 200", request: vMap + "c8 00 00 03 01 02 03 00", want: vDone},
		{name: "P20 DESCRIPTION", request: vMap + "80 00 00 06 6d 79 20 61 70 70 00 00", want: vDone + "80 00 00 06 6d 79 20 61 70 70 00 00"},
		{
			name: "P21 option longer than the packet", request: vMap + "80 00 00 28 61 62 63 64",
			want: echo(vMap+"80 00 00 28 61 62 63 64", ResultMalformedOption, long),
		},
		{name: "P22 MAP truncated", request: vAsk + vN1 + vTCP, want: echo(vAsk+vN1+vTCP, ResultMalformedRequest, long)},
		{
			name: "P23 unknown opcode 5", request: "02 05 00 00 00 00 00 00" + vFrom,
			want: echo("02 05 00 00 00 00 00 00"+vFrom, ResultUnsuppOpcode, long),
		},
		{name: "P24 version 3", request: "03" + vMap[2:], want: echo("03"+vMap[2:], ResultUnsuppVersion, long)},
		{name: "P25 R bit set", request: "02 81 00 00 00 00 1c 20" + vFrom, want: ""},
		{
			name: "P27 PEER", request: vPeer,
			want: "02 82 00 00 00 00 1c 20" + vEpoch + vN1 + "06 00 00 00 9c 40 9c 40" + vWAN + "01 bb 00 00" + vFar,
		},
		{name: "N1 NAT-PMP beside it", request: "00 00", want: "00 80 00 00 00 00 03 e8 cb 00 71 05"},
		{name: "N11 version 1, NAT-PMP and PCP", request: "01 00", want: "02 80 00 01 00 00 07 08" + vEpoch},
		{
			name: "NAT-PMP while it is switched off", request: "00 02 00 00 1f 90 1f 90 00 00 1c 20",
			want:    echo("00 02 00 00 1f 90 1f 90 00 00 1c 20", ResultUnsuppVersion, long),
			setting: func(_ *testing.T, s *setting) { s.cfg.Versions = OnlyPCP },
		},
		{name: "a header cut short", request: vAsk[:len("02 01 00 00 00 00 1c 20")], want: ""},
		{name: "two octets of PCP", request: "02 00", want: ""},
		{name: "one octet", request: "02", want: ""},
		{
			name: "no address outside", request: vMap, want: echo(vMap, ResultNetworkFailure, short),
			setting: func(_ *testing.T, s *setting) { s.cfg.Outside = outside{} },
		},
		{
			name: "a private address outside, as it is", request: vMap, want: vSays + vN1 + vTCP + "00 00 00 00 00 00 00 00 00 00 ff ff 0a 01 02 03",
			setting: func(_ *testing.T, s *setting) { s.cfg.Outside = outside(netip.MustParseAddr("10.1.2.3")) },
		},
		{
			name: "the wrong address and a malformed option: the address is told", request: p7 + "02 00 00 04 00 00 00 00",
			want: echo(p7+"02 00 00 04 00 00 00 00", ResultAddressMismatch, long),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newPCP(t, nil)
				if tt.setting != nil {
					tt.setting(t, s)
				}
				s.mustReply(t, client, tt.request, tt.want)
			})
		})
	}
}

// open makes a mapping by UPnP.
func (s *setting) open(t testing.TB, host netip.Addr, p lease.Protocol, external, internal uint16) lease.Lease {
	t.Helper()
	l, err := s.manager.Open(t.Context(), lease.Request{
		Mapping: lease.Mapping{Protocol: p, External: netip.AddrPortFrom(netip.Addr{}, external), Internal: netip.AddrPortFrom(host, internal)},
		Origin:  lease.OriginUPnP, Client: host, Key: lease.ByExternal, Choice: lease.Exact, Lifetime: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// mapRequest is for TCP 8080 of the client, to the same port outside.
func mapRequest(options ...Option) MapRequest {
	return MapRequest{
		RequestHeader: RequestHeader{Lifetime: 2 * time.Hour, Client: client.Addr()}, Nonce: nonce1, Protocol: lease.TCP, InternalPort: 8080,
		Suggested: netip.AddrPortFrom(netip.IPv4Unspecified(), 8080), Options: options,
	}
}

// exchange sends a request of the host that its header names and returns the answer.
func exchange[R Response](t testing.TB, s *setting, request Request) R {
	t.Helper()
	var from netip.Addr
	switch m := request.(type) {
	case AnnounceRequest:
		from = m.Client
	case MapRequest:
		from = m.Client
	case PeerRequest:
		from = m.Client
	default:
		from = client.Addr()
	}
	packet, err := Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	response, err := ParseResponse(s.handle(t.Context(), netip.AddrPortFrom(from, 40000), packet))
	if err != nil {
		t.Fatal(err)
	}
	answer, ok := response.(R)
	if !ok {
		t.Fatalf("answer %+v", response)
	}
	return answer
}

// refused sends a request that must be refused, and returns how long that lasts.
func (s *setting) refused(t testing.TB, request Request, want Result) time.Duration {
	t.Helper()
	var header ResponseHeader
	if _, ok := request.(PeerRequest); ok {
		header = exchange[PeerResponse](t, s, request).ResponseHeader
	} else {
		header = exchange[MapResponse](t, s, request).ResponseHeader
	}
	if header.Result != want {
		t.Errorf("%+v\nis answered %s, want %s", request, header.Result, want)
	}
	return header.Lifetime
}

// mapped sends a MAP that must be granted.
func (s *setting) mapped(t testing.TB, m MapRequest) MapResponse {
	t.Helper()
	r := exchange[MapResponse](t, s, m)
	if r.Result != ResultSuccess || r.Nonce != m.Nonce || r.Protocol != m.Protocol || r.InternalPort != m.InternalPort {
		t.Errorf("%+v\nis answered %+v", m, r)
	}
	return r
}

func with(m MapRequest, change func(m *MapRequest)) MapRequest {
	change(&m)
	return m
}

func TestRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newPCP(t, nil)
		s.mapped(t, mapRequest())
		time.Sleep(time.Hour)
		// The port that was assigned, whatever is suggested now, and a new lifetime.
		r := s.mapped(t, with(mapRequest(), func(m *MapRequest) {
			m.Suggested, m.Lifetime = netip.AddrPortFrom(netip.IPv4Unspecified(), 10000), time.Hour
		}))
		if want := netip.AddrPortFrom(wanIP, 8080); r.External != want || r.Lifetime != time.Hour || r.Epoch != 4600*time.Second {
			t.Errorf("renewed: %+v", r)
		}
		s.mustHave(t, "tcp 8080 -> 192.168.1.10:8080")
		time.Sleep(time.Hour + time.Second)
		s.mustHave(t)
	})
}

func TestNonceOfAMapping(t *testing.T) {
	hijack := with(mapRequest(), func(m *MapRequest) { m.Nonce, m.Lifetime = nonce2, 2*time.Hour })
	synctest.Test(t, func(t *testing.T) {
		s := newPCP(t, nil)
		s.mapped(t, mapRequest())
		time.Sleep(30 * time.Minute)
		if left := s.refused(t, hijack, ResultNotAuthorized); left != 90*time.Minute {
			t.Errorf("the mapping lasts %s more, told %s", 90*time.Minute, left)
		}
		if left := s.refused(t, with(hijack, func(m *MapRequest) { m.Lifetime = 0 }), ResultNotAuthorized); left != 90*time.Minute {
			t.Errorf("to delete it: told %s", left)
		}
		s.mustHave(t, "tcp 8080 -> 192.168.1.10:8080")
		time.Sleep(91 * time.Minute)
		s.mustHave(t)
		s.mapped(t, hijack)
	})

	macs := map[netip.Addr]string{client.Addr(): "02:00:00:00:00:10", other.Addr(): "02:00:00:00:00:11"}
	known := func(c *lease.Config) { c.Device = func(a netip.Addr) string { return macs[a] } }
	sameHost := func(c *Config) { c.Device = func(a netip.Addr) string { return macs[a] } }
	// A client that draws a new nonce for each packet.
	synctest.Test(t, func(t *testing.T) {
		s := newPCP(t, known, sameHost)
		s.mapped(t, mapRequest(Filter{}, Description{"first"}))
		time.Sleep(time.Hour)
		r := s.mapped(t, with(hijack, func(m *MapRequest) { m.Options = []Option{Description{"second"}} }))
		if r.External.Port() != 8080 || r.Lifetime != 2*time.Hour {
			t.Errorf("kept up with another nonce: %+v", r)
		}
		if l := s.manager.Snapshot().Leases[0]; l.Description != "first" || l.Nonce != nonce1 {
			t.Errorf("what was changed with another nonce: %+v", l)
		}
		if r := s.mapped(t, with(hijack, func(m *MapRequest) { m.Lifetime = 2 * time.Minute })); r.Lifetime != 2*time.Hour {
			t.Errorf("shortened to %s with another nonce", r.Lifetime)
		}
		s.refused(t, with(hijack, func(m *MapRequest) { m.Lifetime = 0 }), ResultNotAuthorized)
		s.refused(t, with(hijack, func(m *MapRequest) { m.Options = []Option{Filter{}} }), ResultNotAuthorized)
		s.mustHave(t, "tcp 8080 -> 192.168.1.10:8080")
		// The nonce with which it was made still is the one that counts.
		s.mapped(t, with(mapRequest(), func(m *MapRequest) { m.Lifetime = 0 }))
		s.mustHave(t)
	})
	// Another machine has got the address.
	synctest.Test(t, func(t *testing.T) {
		before, now := "02:00:00:00:00:10", "02:00:00:00:00:99"
		mac := before
		device := func(netip.Addr) string { return mac }
		s := newPCP(t, func(c *lease.Config) { c.Device = device }, func(c *Config) { c.Device = device })
		s.mapped(t, mapRequest())
		mac = now
		s.refused(t, hijack, ResultNotAuthorized)
	})
	synctest.Test(t, func(t *testing.T) {
		s := newPCP(t, known, sameHost, func(c *Config) { c.Nonces = Strict })
		s.mapped(t, mapRequest())
		s.refused(t, hijack, ResultNotAuthorized)
	})
}

func TestAnotherHostGetsAnotherPort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newPCP(t, nil)
		s.mapped(t, mapRequest())
		fromOther := with(mapRequest(), func(m *MapRequest) { m.Client, m.Nonce = other.Addr(), nonce2 })
		if r := s.mapped(t, fromOther); r.External.Port() != 8081 {
			t.Errorf("the other host gets %s", r.External)
		}
		// Each deletes its own only, even with the right nonce.
		s.mapped(t, with(fromOther, func(m *MapRequest) { m.Nonce, m.InternalPort, m.Lifetime = nonce1, 8081, 0 }))
		s.mustHave(t, "tcp 8080 -> 192.168.1.10:8080", "tcp 8081 -> 192.168.1.11:8080")
	})
}

func TestPreferFailure(t *testing.T) {
	exact := func(port uint16) MapRequest {
		return with(mapRequest(PreferFailure{}), func(m *MapRequest) {
			m.Suggested = netip.AddrPortFrom(netip.IPv4Unspecified(), port)
		})
	}
	synctest.Test(t, func(t *testing.T) {
		s := newPCP(t, func(c *lease.Config) {
			c.Listeners = func(context.Context) (lease.Listeners, error) {
				return lease.Listeners{{Protocol: lease.TCP, Number: 8443}: {}}, nil
			}
		})
		s.open(t, other.Addr(), lease.TCP, 9000, 9000)
		if left := s.refused(t, exact(9000), ResultCannotProvideExternal); left != 30*time.Second {
			t.Errorf("taken: for %s", left)
		}
		for name, port := range map[string]uint16{"forbidden": 445, "the router's own": 8443} {
			if left := s.refused(t, exact(port), ResultCannotProvideExternal); left != 30*time.Minute {
				t.Errorf("%s: for %s", name, left)
			}
		}
		s.refused(t, with(exact(8080), func(m *MapRequest) { m.Suggested = netip.MustParseAddrPort("192.0.2.1:8080") }), ResultCannotProvideExternal)
		s.refused(t, exact(0), ResultMalformedOption)
		s.refused(t, with(exact(8080), func(m *MapRequest) { m.Lifetime = 0 }), ResultMalformedOption)
		s.mustHave(t, "tcp 9000 -> 192.168.1.11:9000")
		if r := s.mapped(t, exact(8080)); r.External.Port() != 8080 {
			t.Errorf("free: %+v", r)
		}
		// Only the address matters.
		address := with(exact(0), func(m *MapRequest) { m.Suggested, m.InternalPort = netip.AddrPortFrom(wanIP, 0), 9000 })
		if r := s.mapped(t, address); r.External != netip.AddrPortFrom(wanIP, 9001) {
			t.Errorf("just this address: %+v", r)
		}
		// Another port is not what it has.
		s.refused(t, exact(8081), ResultCannotProvideExternal)
		s.mapped(t, exact(8080))
	})
}

func TestFilters(t *testing.T) {
	filter := func(prefix string, port uint16) Filter { return Filter{netip.MustParsePrefix(prefix), port} }
	synctest.Test(t, func(t *testing.T) {
		s := newPCP(t, nil)
		now := func(want ...string) {
			t.Helper()
			var got []string
			for _, l := range s.manager.Snapshot().Leases {
				for _, f := range l.Filters {
					got = append(got, fmt.Sprintf("%s %d", f.Prefix, f.Port))
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("filters (-want +got):\n%s", diff)
			}
		}
		r := s.mapped(t, mapRequest(filter("198.51.100.7/32", 0)))
		if diff := cmp.Diff([]Option{filter("198.51.100.7/32", 0)}, r.Options, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
			t.Errorf("options of the answer (-want +got):\n%s", diff)
		}
		now("198.51.100.7/32 0")
		// They are added, each once, and stay when nothing is said of them; by NAT-PMP nothing can be said.
		s.mapped(t, mapRequest(filter("198.51.100.7/32", 0), filter("192.0.2.99/24", 443)))
		s.mapped(t, mapRequest())
		s.ask(t, client, mapTCP8080)
		now("198.51.100.7/32 0", "192.0.2.0/24 443")
		// To replace them, they are taken away first.
		s.mapped(t, mapRequest(filter("203.0.113.0/24", 1), Filter{}, filter("198.51.100.8/32", 53)))
		now("198.51.100.8/32 53")
		s.mapped(t, mapRequest(Filter{}))
		now()
		s.mustHave(t, "tcp 8080 -> 192.168.1.10:8080")

		s.refused(t, mapRequest(filter("2001:db8::/64", 0)), ResultMalformedOption)
		var many []Option
		for i := range byte(lease.MaxFilters + 1) {
			many = append(many, filter(fmt.Sprintf("198.51.100.%d/32", i), 0))
		}
		s.mapped(t, mapRequest(many[:2]...))
		if left := s.refused(t, mapRequest(many[2:lease.MaxFilters]...), ResultSuccess); left != 2*time.Hour {
			t.Errorf("as many as possible: %s", left)
		}
		if left := s.refused(t, mapRequest(many...), ResultExcessiveRemotePeers); left != 30*time.Minute {
			t.Errorf("one too many: for %s", left)
		}
		if n := len(s.manager.Snapshot().Leases[0].Filters); n != lease.MaxFilters {
			t.Errorf("%d filters are left", n)
		}
	})
}

func TestThirdParty(t *testing.T) {
	allowed := func(c *lease.Config) { c.Policy.ThirdParty = []lease.Origin{lease.OriginPCP} }
	on := func(c *Config) { c.ThirdParty = true }
	request := mapRequest(ThirdParty{third})
	deleted := with(request, func(m *MapRequest) { m.Lifetime = 0 })
	synctest.Test(t, func(t *testing.T) {
		s := newPCP(t, allowed, on)
		r := s.mapped(t, request)
		if len(r.Options) != 1 || r.Options[0] != Option(ThirdParty{third}) {
			t.Errorf("options %v", r.Options)
		}
		s.mustHave(t, "tcp 8080 -> 192.168.1.20:8080")
		// Its nonce guards it against third parties as well.
		s.refused(t, with(deleted, func(m *MapRequest) { m.Nonce = nonce2 }), ResultNotAuthorized)
		s.mapped(t, deleted)
		s.mustHave(t)
		// What has no nonce is not for third parties.
		s.ask(t, netip.AddrPortFrom(third, 40000), mapTCP8080)
		s.refused(t, deleted, ResultNotAuthorized)
		s.mustHave(t, "tcp 8080 -> 192.168.1.20:8080")
	})
	synctest.Test(t, func(t *testing.T) {
		s := newPCP(t, allowed, on)
		for _, addr := range []string{"192.168.1.1", "192.168.1.255", "10.0.0.1", "224.0.0.1", "0.0.0.0"} {
			s.refused(t, mapRequest(ThirdParty{netip.MustParseAddr(addr)}), ResultNotAuthorized)
		}
		s.mustHave(t)
	})
	// Switched on for the server, but the policy says no.
	synctest.Test(t, func(t *testing.T) {
		newPCP(t, nil, on).refused(t, request, ResultNotAuthorized)
	})
	// Another address of the same device is no third party.
	synctest.Test(t, func(t *testing.T) {
		device := func(a netip.Addr) string {
			if a == client.Addr() || a == third {
				return "02:00:00:00:00:10"
			}
			return ""
		}
		s := newPCP(t, func(c *lease.Config) { c.Device = device }, func(c *Config) { c.Device = device })
		s.mapped(t, request)
		s.mustHave(t, "tcp 8080 -> 192.168.1.20:8080")
		s.refused(t, mapRequest(ThirdParty{other.Addr()}), ResultUnsuppOption)
	})
}

func TestDescription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newPCP(t, nil)
		told := func(r MapResponse) string {
			for _, o := range r.Options {
				if d, ok := o.(Description); ok {
					return d.Text
				}
			}
			return "nothing"
		}
		stored := func() string { return s.manager.Snapshot().Leases[0].Description }
		dirty := "my\x00 app\n\xff" + strings.Repeat("x", 900)
		got := told(s.mapped(t, mapRequest(Description{dirty})))
		if got != stored() || got != lease.CleanText(dirty, lease.MaxDescription) || strings.ContainsAny(got, "\x00\n") {
			t.Errorf("told %q, stored %q", got, stored())
		}
		before := stored()
		if got := told(s.mapped(t, mapRequest())); got != "nothing" || stored() != before {
			t.Errorf("nothing said of it: told %q, stored %q", got, stored())
		}
		if got := told(s.mapped(t, mapRequest(Description{"other"}))); got != "other" || stored() != "other" {
			t.Errorf("told %q, stored %q", got, stored())
		}
		if got := told(s.mapped(t, mapRequest(Description{}))); got != "" || stored() != "" {
			t.Errorf("told %q, stored %q", got, stored())
		}
	})
}

func TestPortSet(t *testing.T) {
	set := func(size uint16) MapRequest { return mapRequest(PortSet{Size: size, First: 8080}) }
	told := func(r MapResponse) PortSet {
		for _, o := range r.Options {
			if p, ok := o.(PortSet); ok {
				return p
			}
		}
		return PortSet{}
	}
	synctest.Test(t, func(t *testing.T) {
		s := newPCP(t, nil)
		if got := told(s.mapped(t, set(64))); got != (PortSet{Size: 64, First: 8080}) {
			t.Errorf("told %+v", got)
		}
		leases := s.manager.Snapshot().Leases
		if len(leases) != 1 || leases[0].PortCount() != 64 {
			t.Errorf("leases %v", leases)
		}
		if events := s.manager.Snapshot().Events(); len(events) != 1 {
			t.Errorf("events %v, want one", events)
		}
		// It is renewed and deleted as a whole, by whichever of its ports.
		within := with(set(1), func(m *MapRequest) { m.InternalPort = 8100 })
		if r := s.mapped(t, within); r.External.Port() != 8100 || told(r) != (PortSet{Size: 64, First: 8080}) {
			t.Errorf("renewed by a port of its middle: %+v", r)
		}
		s.mapped(t, mapRequest())
		if leases := s.manager.Snapshot().Leases; len(leases) != 1 || leases[0].PortCount() != 64 {
			t.Errorf("after renewals: %v", leases)
		}
		s.mapped(t, with(within, func(m *MapRequest) { m.Lifetime = 0 }))
		s.mustHave(t)
	})
	synctest.Test(t, func(t *testing.T) {
		s := newPCP(t, nil)
		s.open(t, other.Addr(), lease.TCP, 8100, 8100)
		// Elsewhere there is room for all.
		if r := s.mapped(t, set(64)); told(r).Size != 64 || r.External.Port() != 8101 {
			t.Errorf("beside another mapping: %+v", r)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		s := newPCP(t, func(c *lease.Config) { c.Policy.Ports = lease.PortSet{{First: 8000, Last: 8199}} })
		s.open(t, other.Addr(), lease.TCP, 8100, 8100)
		if r := s.mapped(t, set(128)); told(r).Size != 100 || r.External.Port() != 8000 {
			t.Errorf("where 100 are free in a row: %+v", r)
		}
		if events := s.manager.Snapshot().Events(); len(events) != 2 {
			t.Errorf("events %v, want two", events)
		}
		next := with(mapRequest(PortSet{Size: 128, First: 9000}), func(m *MapRequest) { m.InternalPort = 9000 })
		// The quota of 128 leaves 28.
		if r := s.mapped(t, next); told(r).Size != 28 {
			t.Errorf("where 28 are left: %+v", r)
		}
		s.refused(t, with(next, func(m *MapRequest) { m.InternalPort = 20000 }), ResultUserExQuota)
	})
	synctest.Test(t, func(t *testing.T) {
		s := newPCP(t, nil)
		// Inside it ends before the next mapping of the host.
		s.open(t, client.Addr(), lease.TCP, 9000, 8090)
		if r := s.mapped(t, set(64)); told(r) != (PortSet{Size: 10, First: 8080}) {
			t.Errorf("with a mapping at its tenth port: %+v", r)
		}
		// Of a single port nothing is told.
		single := with(mapRequest(PortSet{Size: 64, First: 8089}), func(m *MapRequest) {
			m.InternalPort, m.Protocol = 8089, lease.UDP
		})
		s.open(t, client.Addr(), lease.UDP, 9001, 8090)
		if r := s.mapped(t, single); len(r.Options) != 0 {
			t.Errorf("a single port: %+v", r)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		s := newPCP(t, nil)
		s.open(t, other.Addr(), lease.TCP, 8100, 8100)
		s.refused(t, mapRequest(PortSet{Size: 64, First: 8080}, PreferFailure{}), ResultCannotProvideExternal)
		if got := told(s.mapped(t, mapRequest(PortSet{Size: 20, First: 8080, Parity: true}, PreferFailure{}))); got != (PortSet{Size: 20, First: 8080, Parity: true}) {
			t.Errorf("told %+v", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		s := newPCP(t, nil)
		odd := with(mapRequest(PortSet{Size: 2, First: 8080, Parity: true}), func(m *MapRequest) {
			m.Suggested = netip.AddrPortFrom(netip.IPv4Unspecified(), 9001)
		})
		if got := told(s.mapped(t, odd)); got.Parity {
			t.Errorf("port 8080 is mapped to 9001, and told is %+v", got)
		}
	})
}

func TestDeleteAll(t *testing.T) {
	all := func(p lease.Protocol) MapRequest {
		return with(mapRequest(), func(m *MapRequest) { m.Lifetime, m.Protocol, m.InternalPort, m.Suggested = 0, p, 0, anyIP })
	}
	fill := func(t *testing.T) *setting {
		s := newPCP(t, nil)
		s.mapped(t, mapRequest())
		s.mapped(t, with(mapRequest(), func(m *MapRequest) { m.Protocol = lease.UDP }))
		s.mapped(t, with(mapRequest(), func(m *MapRequest) { m.InternalPort = 8081 }))
		s.mapped(t, with(mapRequest(), func(m *MapRequest) { m.InternalPort, m.Nonce = 8082, nonce2 }))
		s.mapped(t, with(mapRequest(), func(m *MapRequest) { m.Client = other.Addr() }))
		s.ask(t, client, "00 01 00 00 13 88 13 88 00 00 1c 20") // NAT-PMP
		return s
	}
	synctest.Test(t, func(t *testing.T) {
		s := fill(t)
		s.mapped(t, all(lease.TCP))
		s.mustHave(t, "udp 8080 -> 192.168.1.10:8080", "tcp 8079 -> 192.168.1.10:8082", "tcp 8082 -> 192.168.1.11:8080", "udp 5000 -> 192.168.1.10:5000")
		s.mapped(t, all(lease.AllProtocols))
		s.mustHave(t, "tcp 8079 -> 192.168.1.10:8082", "tcp 8082 -> 192.168.1.11:8080", "udp 5000 -> 192.168.1.10:5000")
		// What is left has another nonce.
		if left := s.refused(t, all(lease.TCP), ResultNotAuthorized); left != 2*time.Hour {
			t.Errorf("refused for %s", left)
		}
		s.mapped(t, all(lease.UDP))
	})
}

func TestMappingsOfOtherProtocols(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newPCP(t, nil)
		s.open(t, client.Addr(), lease.TCP, 9000, 8080)
		// Its port is told, and how long it will be there.
		if r := s.mapped(t, mapRequest()); r.External.Port() != 9000 || r.Lifetime != 2*time.Hour {
			t.Errorf("answer %+v", r)
		}
		s.mustHave(t, "tcp 9000 -> 192.168.1.10:8080")
		s.refused(t, with(mapRequest(), func(m *MapRequest) { m.Lifetime = 0 }), ResultNotAuthorized)
		s.mustHave(t, "tcp 9000 -> 192.168.1.10:8080")
		// For some only it is another mapping.
		if r := s.mapped(t, mapRequest(Filter{netip.MustParsePrefix("198.51.100.0/24"), 0})); r.External.Port() != 8080 {
			t.Errorf("with a filter: %+v", r)
		}
	})
	// NAT-PMP may keep up a mapping of PCP, but who speaks it does not know the nonce and cannot end it.
	synctest.Test(t, func(t *testing.T) {
		s := newPCP(t, nil)
		s.mapped(t, mapRequest(PortSet{Size: 4, First: 8080}))
		s.ask(t, client, "00 02 00 00 1f 90 1f 90 00 00 00 01")
		time.Sleep(time.Hour)
		if leases := s.manager.Snapshot().Leases; len(leases) != 1 || leases[0].PortCount() != 4 {
			t.Errorf("leases %v", leases)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		s := newPCP(t, nil)
		s.mapped(t, mapRequest())
		s.mustReply(t, client, deleteTCP8080, "00 82 00 02 00 00 03 e8 1f 90 00 00 00 00 00 00")
		s.ask(t, client, "00 02 00 00 13 88 13 88 00 00 1c 20")
		s.mustHave(t, "tcp 8080 -> 192.168.1.10:8080", "tcp 5000 -> 192.168.1.10:5000")
		s.mustReply(t, client, deleteAllTCP, "00 82 00 00 00 00 03 e8 00 00 00 00 00 00 00 00")
		s.mustHave(t, "tcp 8080 -> 192.168.1.10:8080")
	})
	// What the owner has set by hand.
	synctest.Test(t, func(t *testing.T) {
		s := newPCP(t, nil)
		_, err := s.manager.PutRule(t.Context(), lease.Rule{
			Kind: lease.RuleForward, Name: "nas", Enabled: true, Protocols: []lease.Protocol{lease.TCP},
			Ports: lease.PortRange{First: 8080, Last: 8080}, Target: lease.Target{Addr: client.Addr()},
		}, lease.RuleOptions{By: lease.OriginWeb})
		if err != nil {
			t.Fatal(err)
		}
		if r := s.mapped(t, mapRequest()); r.External.Port() != 8080 || r.Lifetime != 2*time.Hour {
			t.Errorf("answer %+v", r)
		}
		if got := s.ask(t, client, mapTCP8080); got != strings.ReplaceAll("00 82 00 00 00 00 03 e8 1f 90 1f 90 00 00 1c 20", " ", "") {
			t.Errorf("by NAT-PMP: %s", got)
		}
		s.refused(t, with(mapRequest(), func(m *MapRequest) { m.Lifetime = 0 }), ResultNotAuthorized)
	})
}

func TestPinholes(t *testing.T) {
	host := netip.MustParseAddr("2001:db8:1::10")
	v6 := func(c *lease.Config) {
		c.Topology.LANs[0].Prefixes = append(c.Topology.LANs[0].Prefixes[:1:1], netip.MustParsePrefix("2001:db8:1::1/64"), netip.MustParsePrefix("fd00:1::1/64"))
	}
	topology := func(c *lease.Config) {
		lan := c.Topology.LANs[0]
		c.Topology.LANs = []lease.LAN{lan}
		v6(c)
	}
	from := func(addr netip.Addr, options ...Option) MapRequest {
		return with(mapRequest(options...), func(m *MapRequest) {
			m.Client, m.Suggested = addr, netip.AddrPortFrom(netip.IPv6Unspecified(), 8080)
		})
	}
	synctest.Test(t, func(t *testing.T) {
		s := newPCP(t, topology)
		s.cfg.Outside = outside{} // no IPv4 is needed for it
		r := s.mapped(t, from(host))
		if r.External != netip.AddrPortFrom(host, 8080) {
			t.Errorf("P26: %+v", r)
		}
		s.mustHave(t, "tcp [2001:db8:1::10]:8080")
		// Renewed with something else suggested, it is still what it is.
		r = s.mapped(t, with(from(host), func(m *MapRequest) { m.Suggested = netip.AddrPortFrom(host, 9999) }))
		if r.External != netip.AddrPortFrom(host, 8080) {
			t.Errorf("renewed: %+v", r)
		}
		s.mapped(t, from(host, Filter{netip.MustParsePrefix("2001:db8:ffff::/48"), 443}))
		s.refused(t, from(host, Filter{netip.MustParsePrefix("192.0.2.0/24"), 443}), ResultMalformedOption)
		s.refused(t, with(from(host, PreferFailure{}), func(m *MapRequest) { m.InternalPort = 8081 }), ResultCannotProvideExternal)
		s.refused(t, with(from(host), func(m *MapRequest) { m.Nonce = nonce2 }), ResultNotAuthorized)
		// Ports that are not for anybody are not for pinholes either, whatever is preferred.
		s.refused(t, with(from(host), func(m *MapRequest) { m.InternalPort = 22 }), ResultNotAuthorized)
		s.mapped(t, with(from(host), func(m *MapRequest) { m.Lifetime = 0 }))
		s.mustHave(t)
		s.mapped(t, from(netip.MustParseAddr("fd00:1::10")))
	})
	synctest.Test(t, func(t *testing.T) {
		s := newPCP(t, topology)
		local := netip.MustParseAddr("fe80::10%lan0")
		packet, err := Marshal(from(local.WithZone("")))
		if err != nil {
			t.Fatal(err)
		}
		response, err := ParseResponse(s.handle(t.Context(), netip.AddrPortFrom(local, 40000), packet))
		if m, ok := response.(MapResponse); err != nil || !ok || m.Result != ResultNotAuthorized {
			t.Errorf("from a link-local address: %+v, error %v", response, err)
		}
		// NAT-PMP is not spoken over IPv6; the answer says what is.
		if got := s.ask(t, netip.AddrPortFrom(host, 40000), "00 00"); got != strings.ReplaceAll("02 80 00 01 00 00 07 08"+vEpoch, " ", "") {
			t.Errorf("NAT-PMP over IPv6: %s", got)
		}
		s.cfg.Versions = OnlyPMP
		if got := s.ask(t, netip.AddrPortFrom(host, 40000), "00 00"); got != "" {
			t.Errorf("NAT-PMP over IPv6, without PCP: %s", got)
		}
	})
	// Another address of the same device is its own as well.
	synctest.Test(t, func(t *testing.T) {
		temporary := netip.MustParseAddr("2001:db8:1::7777")
		device := func(a netip.Addr) string {
			if a == host || a == temporary {
				return "02:00:00:00:00:10"
			}
			return ""
		}
		s := newPCP(t, func(c *lease.Config) { topology(c); c.Device = device }, func(c *Config) { c.Device = device })
		s.mapped(t, from(host, ThirdParty{temporary}))
		s.mustHave(t, "tcp [2001:db8:1::7777]:8080")
	})
}

func TestProtocolPortsAreNeverMapped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newPCP(t, nil)
		for _, port := range []uint16{5350, 5351} {
			udp := with(mapRequest(), func(m *MapRequest) { m.Protocol, m.InternalPort = lease.UDP, port })
			s.refused(t, udp, ResultNotAuthorized)
			s.mapped(t, with(udp, func(m *MapRequest) { m.Protocol = lease.TCP }))
		}
		s.refused(t, with(mapRequest(), func(m *MapRequest) { m.InternalPort = 0 }), ResultUnsuppProtocol)
	})
}

func TestAddressOfOnesOwn(t *testing.T) {
	whole := with(mapRequest(), func(m *MapRequest) { m.Protocol, m.InternalPort, m.Suggested = 0, 0, anyIP })
	pool := []netip.Addr{netip.MustParseAddr("203.0.113.20"), netip.MustParseAddr("203.0.113.21")}
	synctest.Test(t, func(t *testing.T) {
		s := newPCP(t, func(c *lease.Config) { c.Policy.Pool = pool })
		if r := s.mapped(t, whole); r.External != netip.AddrPortFrom(pool[0], 0) || r.Lifetime != 2*time.Hour {
			t.Errorf("the first: %+v", r)
		}
		second := with(whole, func(m *MapRequest) { m.Client, m.Nonce = other.Addr(), nonce2 })
		s.refused(t, with(second, func(m *MapRequest) {
			m.Suggested, m.Options = netip.AddrPortFrom(pool[0], 0), []Option{PreferFailure{}}
		}), ResultCannotProvideExternal)
		if r := s.mapped(t, with(second, func(m *MapRequest) { m.Suggested = netip.AddrPortFrom(pool[1], 0) })); r.External.Addr() != pool[1] {
			t.Errorf("the second: %+v", r)
		}
		s.refused(t, with(whole, func(m *MapRequest) { m.Client = third }), ResultNoResources)
		s.mapped(t, with(whole, func(m *MapRequest) { m.Lifetime = 0 }))
		s.mapped(t, with(whole, func(m *MapRequest) { m.Client = third }))
	})
}

// All of one protocol is on an address of the pool too. A host has one address for all of them, and nobody else has it.
func TestAllPortsOfAProtocol(t *testing.T) {
	all := func(p lease.Protocol, host netip.Addr) MapRequest {
		return with(mapRequest(), func(m *MapRequest) {
			m.Protocol, m.InternalPort, m.Client = p, 0, host
			m.Suggested = netip.AddrPortFrom(netip.IPv4Unspecified(), 5000) // a port is nothing to it
		})
	}
	pool := []netip.Addr{netip.MustParseAddr("203.0.113.20"), netip.MustParseAddr("203.0.113.21")}
	const gre, greedy = lease.Protocol(47), 1 << 10
	synctest.Test(t, func(t *testing.T) {
		s := newPCP(t, func(c *lease.Config) { c.Policy.Pool = pool })
		for _, p := range []lease.Protocol{lease.TCP, gre, lease.AllProtocols} {
			if r := s.mapped(t, all(p, client.Addr())); r.External != netip.AddrPortFrom(pool[0], 0) || r.InternalPort != 0 {
				t.Errorf("%s: mapped to %s, want the first address of the pool", p, r.External)
			}
		}
		filtered := with(all(lease.UDP, other.Addr()), func(m *MapRequest) {
			m.Options = []Option{Filter{Prefix: netip.MustParsePrefix("198.51.100.0/24")}, PortSet{Size: greedy}}
		})
		if r := s.mapped(t, filtered); r.External.Addr() != pool[1] || len(r.Options) != 1 {
			t.Errorf("another host: %+v, want the second address, with a filter", r)
		}
		if r := s.mapped(t, all(lease.TCP, client.Addr())); r.External.Addr() != pool[0] {
			t.Errorf("renewed: %s, want the same address", r.External)
		}
		s.refused(t, all(lease.TCP, third), ResultNoResources)
		s.refused(t, with(all(lease.TCP, third), func(m *MapRequest) {
			m.Suggested, m.Options = netip.AddrPortFrom(pool[0], 0), []Option{PreferFailure{}}
		}), ResultCannotProvideExternal)
		s.mapped(t, with(all(lease.UDP, other.Addr()), func(m *MapRequest) { m.Lifetime = 0 }))
		s.mapped(t, all(lease.TCP, third))
	})
	synctest.Test(t, func(t *testing.T) {
		s := newPCP(t, nil)
		s.refused(t, all(lease.TCP, client.Addr()), ResultUnsuppProtocol) // no pool
	})
}

// What the kernel knows the ports of can be mapped.
func TestOtherProtocols(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newPCP(t, nil)
		sctp := with(mapRequest(), func(m *MapRequest) { m.Protocol = lease.SCTP })
		s.refused(t, sctp, ResultUnsuppProtocol)
		s.fake.Know(lease.SCTP)
		s.mapped(t, sctp)
		s.refused(t, with(sctp, func(m *MapRequest) { m.Protocol = lease.DCCP }), ResultUnsuppProtocol)
		s.refused(t, with(sctp, func(m *MapRequest) { m.Protocol = 47 }), ResultUnsuppProtocol)
	})
}

func TestFailuresBehindPCP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newPCP(t, nil)
		s.store.err = errors.New("the disk is full")
		if left := s.refused(t, mapRequest(), ResultNoResources); left != 30*time.Second {
			t.Errorf("for %s", left)
		}
		s.store.err = nil
		s.fake.SetFail(func(string) error { return errors.New("the kernel refuses") })
		s.refused(t, mapRequest(), ResultNoResources)
		s.mustHave(t)
		s.fake.SetFail(nil)
		s.mapped(t, mapRequest())
	})
	synctest.Test(t, func(t *testing.T) {
		s := newPCP(t, func(c *lease.Config) { c.Policy.MappingsPerDevice = 1 })
		s.mapped(t, mapRequest())
		if left := s.refused(t, with(mapRequest(), func(m *MapRequest) { m.InternalPort = 8081 }), ResultUserExQuota); left != 30*time.Second {
			t.Errorf("the quota: for %s", left)
		}
		s.mapped(t, mapRequest()) // a renewal counts for no quota
	})
	synctest.Test(t, func(t *testing.T) {
		s := newPCP(t, func(c *lease.Config) { c.Topology.LANs = nil })
		s.refused(t, mapRequest(), ResultNotAuthorized)
	})
}

func TestPCPResultOfEachError(t *testing.T) {
	want := map[error][2]Result{ // for any port, and for just this one
		lease.ErrInvalid:       {ResultMalformedRequest, ResultMalformedRequest},
		lease.ErrProtocol:      {ResultUnsuppProtocol, ResultUnsuppProtocol},
		lease.ErrNotAuthorized: {ResultNotAuthorized, ResultNotAuthorized},
		lease.ErrThirdParty:    {ResultNotAuthorized, ResultNotAuthorized},
		lease.ErrPort:          {ResultNotAuthorized, ResultCannotProvideExternal},
		lease.ErrReserved:      {ResultNotAuthorized, ResultCannotProvideExternal},
		lease.ErrConflict:      {ResultNoResources, ResultCannotProvideExternal},
		lease.ErrQuota:         {ResultUserExQuota, ResultUserExQuota},
		lease.ErrFull:          {ResultNoResources, ResultNoResources},
		lease.ErrNonce:         {ResultNotAuthorized, ResultNotAuthorized},
		lease.ErrNotFound:      {ResultNotAuthorized, ResultNotAuthorized},
		lease.ErrUnavailable:   {ResultNoResources, ResultNoResources},
		lease.ErrWaiting:       {ResultNoResources, ResultNoResources},
		lease.ErrPaused:        {ResultNoResources, ResultNoResources},
		lease.ErrStopping:      {ResultNoResources, ResultNoResources},
	}
	for _, sentinel := range lease.Errors() {
		results, ok := want[sentinel]
		if !ok {
			t.Errorf("no row for %q", sentinel)
			continue
		}
		for i, choice := range []lease.Choice{lease.Nearest, lease.Exact} {
			if got := denied(fmt.Errorf("%w: udp 22", sentinel), choice); got.result != results[i] || got.lifetime < shortError {
				t.Errorf("%q, choice %d: %s for %s, want %s", sentinel, choice, got.result, got.lifetime, results[i])
			}
		}
	}
	if got := resultOf(nil); got != ResultSuccess {
		t.Errorf("no error: %s", got)
	}
	if got := resultOf(errors.New("unheard of")); got != ResultNoResources {
		t.Errorf("an unknown error: %s", got)
	}
}

func TestEpochStartsAnewWithAnotherAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newPCP(t, nil)
		epoch := func() time.Duration {
			return exchange[AnnounceResponse](t, s, AnnounceRequest{RequestHeader: RequestHeader{Client: client.Addr()}}).Epoch
		}
		pmp := func() uint32 {
			b, err := hex.DecodeString(s.ask(t, client, "00 00"))
			if err != nil {
				t.Fatal(err)
			}
			return binary.BigEndian.Uint32(b[4:])
		}
		if got := epoch(); got != 1000*time.Second {
			t.Errorf("at first: %s", got)
		}
		time.Sleep(time.Minute)
		s.cfg.Outside = outside{} // for a moment there is none: nothing is known to have changed
		if got := epoch(); got != 1060*time.Second {
			t.Errorf("without an address: %s", got)
		}
		s.cfg.Outside = outside(wanIP)
		if got := epoch(); got != 1060*time.Second {
			t.Errorf("with the same address: %s", got)
		}
		s.cfg.Outside = outside(wanIP.Next())
		if got := epoch(); got != 0 {
			t.Errorf("with another address: %s", got)
		}
		time.Sleep(time.Minute)
		if got := epoch(); got != time.Minute {
			t.Errorf("a minute later: %s", got)
		}
		// NAT-PMP says what the address is, and nothing was lost.
		if got := pmp(); got != 1120 {
			t.Errorf("of NAT-PMP: %d", got)
		}
	})
}
