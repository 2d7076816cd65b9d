package lan_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/net/ipv4"

	"github.com/portreeve/portreeve/lan"
)

// clock is one that a test puts forward.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Now()} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// resolver starts one that ends with the test.
func resolver(t *testing.T, now func() time.Time) *lan.Resolver {
	t.Helper()
	w := watch(t, lan.Config{Names: []string{"lan0"}})
	r := lan.NewResolver(w, now, nil)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return r
}

// machine is a host that is asked for its name.
type machine struct {
	t     *testing.T
	conn  *net.UDPConn
	asked chan netip.AddrPort // by whom
}

// listens opens a socket of the host and hands each question to answer, which returns what is said to it; nothing if nil.
func listens(t *testing.T, network, addr string, answer func(question []byte) []byte) *machine {
	t.Helper()
	m := &machine{t: t, asked: make(chan netip.AddrPort, 64)}
	inside(t, "host", func() error {
		conn, err := (&net.ListenConfig{}).ListenPacket(t.Context(), network, addr)
		if err == nil {
			m.conn = conn.(*net.UDPConn)
		}
		return err
	})
	var ended sync.WaitGroup
	t.Cleanup(func() {
		m.conn.Close()
		ended.Wait()
	})
	ended.Go(func() {
		var buf [1500]byte
		for {
			n, from, err := m.conn.ReadFromUDPAddrPort(buf[:])
			if err != nil {
				return
			}
			m.asked <- from
			if a := answer(buf[:n]); a != nil {
				// That it does not arrive shows in the test.
				_, _ = m.conn.WriteToUDPAddrPort(a, from)
			}
		}
	})
	return m
}

// times returns how often the machine was asked since the last time.
func (m *machine) times() (n int) {
	for {
		select {
		case <-m.asked:
			n++
		default:
			return n
		}
	}
}

// isCalled answers each question with a name.
func isCalled(t *testing.T, name string) func([]byte) []byte {
	return func(question []byte) []byte {
		var p dnsmessage.Parser
		h, err := p.Start(question)
		if err != nil {
			t.Errorf("question: %v", err)
			return nil
		}
		q, err := p.Question()
		if err != nil || q.Type != dnsmessage.TypePTR || q.Class != dnsmessage.ClassINET || h.Response {
			t.Errorf("question %v of a packet %v, %v", q, h, err)
			return nil
		}
		answer := dnsmessage.Message{
			Header: dnsmessage.Header{ID: h.ID, Response: true, Authoritative: true}, Questions: []dnsmessage.Question{q},
			Answers: []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 10},
				Body:   &dnsmessage.PTRResource{PTR: dnsmessage.MustNewName(name)},
			}},
		}
		packet, err := answer.Pack()
		if err != nil {
			t.Errorf("answer: %v", err)
		}
		return packet
	}
}

func silent([]byte) []byte { return nil }

const hostsMAC = "02:00:00:00:00:0a"

// soon waits until a name is known. Where a loaded machine has been too slow for an answer, an hour goes by.
func soon(t *testing.T, r *lan.Resolver, at *clock, want string, addr netip.Addr) {
	t.Helper()
	var got string
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if got = r.Name(hostsMAC, addr); got == want {
			return
		}
		if got == "" && r.Asking() == 0 {
			at.forward(time.Hour)
		}
	}
	t.Fatalf("name %q, want %q", got, want)
}

func TestMachinesAreAskedForTheirNames(t *testing.T) {
	home(t)
	host := netip.MustParseAddr("192.168.1.10")
	t.Run("remembered, and asked again", func(t *testing.T) {
		at := newClock()
		m := listens(t, "udp4", "192.168.1.10:5353", isCalled(t, "xbox\x1b[31m.local."))
		r := resolver(t, at.now)
		if name := r.Name(hostsMAC, host); name != "" {
			t.Errorf("called %q before it was asked", name)
		}
		soon(t, r, at, "xbox[31m", host)
		m.times()
		at.forward(14 * time.Minute)
		soon(t, r, at, "xbox[31m", netip.MustParseAddr("::ffff:192.168.1.10"))
		if n := m.times(); n != 0 {
			t.Errorf("asked %d times more before the name is old", n)
		}
		at.forward(2 * time.Minute)
		if name := r.Name(hostsMAC, host); name != "xbox[31m" {
			t.Errorf("called %q while it is asked again", name)
		}
		<-m.asked
		if name := r.Name("02:00:00:00:00:0b", netip.MustParseAddr("192.168.1.10")); name != "" && name != "xbox[31m" {
			t.Errorf("another machine is called %q", name)
		}
	})
	t.Run("another machine at the same address", func(t *testing.T) {
		at := newClock()
		r := resolver(t, at.now)
		listens(t, "udp4", "192.168.1.10:5353", isCalled(t, "xbox.local."))
		soon(t, r, at, "xbox", host)
		if name := r.Name("02:00:00:00:00:0b", host); name != "" {
			t.Errorf("it is called %q, as the one before", name)
		}
	})
	t.Run("by IPv6", func(t *testing.T) {
		run(t, "ip addr add fd00:1::1/64 dev lan0 nodad", "ip -n host addr add fd00:1::10/64 dev eth0 nodad")
		listens(t, "udp6", "[fd00:1::10]:5353", isCalled(t, "tablet.local."))
		at := newClock()
		soon(t, resolver(t, at.now), at, "tablet", netip.MustParseAddr("fd00:1::10"))
	})
	t.Run("who hears the group only", func(t *testing.T) {
		run(t, "ip -n host route add 224.0.0.0/4 dev eth0")
		var conn *ipv4.PacketConn
		inside(t, "host", func() error {
			ifc, err := net.InterfaceByName("eth0")
			if err != nil {
				return err
			}
			c, err := net.ListenMulticastUDP("udp4", ifc, &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: 5353})
			if err != nil {
				return err
			}
			conn = ipv4.NewPacketConn(c)
			return conn.SetControlMessage(ipv4.FlagDst, true)
		})
		answer := isCalled(t, "printer.local.")
		ended := make(chan struct{})
		t.Cleanup(func() {
			conn.Close()
			<-ended
		})
		go func() {
			defer close(ended)
			var buf [1500]byte
			for {
				n, about, from, err := conn.ReadFrom(buf[:])
				if err != nil {
					return
				}
				if about.Dst.IsMulticast() {
					_, _ = conn.WriteTo(answer(buf[:n]), nil, from)
				}
			}
		}()
		at := newClock()
		soon(t, resolver(t, at.now), at, "printer", host)
	})
}

func TestOnlyTheMachineItselfIsBelieved(t *testing.T) {
	home(t)
	run(t, "ip -n host addr add 192.168.1.66/24 dev eth0")
	host := netip.MustParseAddr("192.168.1.10")
	at := newClock()
	other := listens(t, "udp4", "192.168.1.66:5353", silent)
	port := listens(t, "udp4", "192.168.1.10:5354", silent)
	lie := isCalled(t, "evil.local.")
	m := listens(t, "udp4", "192.168.1.10:5353", func(question []byte) []byte {
		var from netip.AddrPort
		select {
		case from = <-other.asked:
		case <-t.Context().Done():
			return nil
		}
		for range 10 {
			_, _ = other.conn.WriteToUDPAddrPort(lie(question), from)
			_, _ = port.conn.WriteToUDPAddrPort(lie(question), from)
		}
		return []byte("\x00\x01nonsense")
	})
	r := resolver(t, at.now)
	asks := func(want int) {
		t.Helper()
		if name := r.Name(hostsMAC, host); name != "" {
			t.Errorf("called %q", name)
		}
		for n := range want {
			select {
			case from := <-m.asked:
				other.asked <- from
			case <-time.After(10 * time.Second):
				t.Fatalf("asked %d times, want %d", n, want)
			}
		}
	}
	asks(1)
	// It is known to be silent now: only after a while, which doubles, it is asked again.
	for _, wait := range []time.Duration{62 * time.Second, 122 * time.Second} {
		quiet(t, r, host)
		at.forward(wait - 10*time.Second)
		if name := r.Name(hostsMAC, host); name != "" || m.times() != 0 {
			t.Errorf("called %q, or asked again too soon", name)
		}
		at.forward(10 * time.Second)
		asks(1)
	}
	for _, addr := range []string{"192.168.1.1", "198.51.100.2", "127.0.0.1", "fe80::1", "::1"} {
		if name := r.Name("", netip.MustParseAddr(addr)); name != "" {
			t.Errorf("%s is called %q", addr, name)
		}
	}
}

// quiet waits until nobody is being asked.
func quiet(t *testing.T, r *lan.Resolver, addr netip.Addr) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); r.Asking() > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s is still asked", addr)
		}
	}
}

// However many addresses there are, what is remembered and asked is bounded, and nobody waits.
func TestResolverIsBounded(t *testing.T) {
	home(t)
	run(t, "ip addr add 10.0.0.1/16 dev lan0")
	w := watch(t, lan.Config{Names: []string{"lan0"}})
	r := lan.NewResolver(w, time.Now, nil) // which nobody runs
	var last string
	for n := range 20000 {
		addr := netip.MustParseAddr(fmt.Sprintf("10.0.%d.%d", n/200+1, n%200+1))
		last += r.Name("", addr)
	}
	if known, asking := r.Known(), r.Asking(); known > 1024 || asking > 64 || strings.TrimSpace(last) != "" {
		t.Errorf("%d are remembered, %d asked, names %q", known, asking, last)
	}
}
