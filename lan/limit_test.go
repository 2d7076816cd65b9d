package lan_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/lan"
)

// arrivals is a listener at which connections have arrived, and no more will.
type arrivals struct {
	net.Listener
	waiting []*arrival
}

func (a *arrivals) Accept() (net.Conn, error) {
	if len(a.waiting) == 0 {
		return nil, net.ErrClosed
	}
	next := a.waiting[0]
	a.waiting = a.waiting[1:]
	return next, nil
}

// arrival is a connection of which nothing matters but where it comes from and whether it was closed.
type arrival struct {
	net.Conn
	from   net.Addr
	closed bool
}

func (a *arrival) RemoteAddr() net.Addr { return a.from }

func (a *arrival) Close() error {
	a.closed = true
	return nil
}

// accept lets hosts connect, in this order, and returns the connections that were admitted. All others must have been
// closed, and only they.
func accept(t *testing.T, limiter *lan.Limiter, hosts ...string) (admitted []net.Conn) {
	t.Helper()
	var all []*arrival
	for _, host := range hosts {
		var from net.Addr = &net.UnixAddr{Net: "unix"}
		if host != "socket" {
			from = net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(host), 40000))
		}
		all = append(all, &arrival{from: from})
	}
	ln := limiter.Limit(&arrivals{waiting: all})
	for {
		conn, err := ln.Accept()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				t.Errorf("accept: %v", err)
			}
			break
		}
		admitted = append(admitted, conn)
	}
	open := 0
	for _, a := range all {
		if !a.closed {
			open++
		}
	}
	if open != len(admitted) {
		t.Errorf("%d connections are open, %d were admitted", open, len(admitted))
	}
	return admitted
}

func origins(conns []net.Conn) (list []string) {
	for _, c := range conns {
		if tcp, ok := c.RemoteAddr().(*net.TCPAddr); ok {
			list = append(list, tcp.AddrPort().Addr().String())
		} else {
			list = append(list, "socket")
		}
	}
	return list
}

func times(n int, host string) []string { return strings.Fields(strings.Repeat(host+" ", n)) }

func TestLimiterAdmits(t *testing.T) {
	tests := []struct {
		name        string
		hosts, want []string
	}{
		{"as many of one host as it may", times(5, "192.168.1.10"), times(2, "192.168.1.10")},
		{"another host when one is full", append(times(3, "192.168.1.10"), "192.168.1.11"), append(times(2, "192.168.1.10"), "192.168.1.11")},
		{
			"not more than all together",
			[]string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"},
			[]string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"},
		},
		{
			"an IPv4 host once, however its address is written",
			[]string{"10.0.0.1", "::ffff:10.0.0.1", "10.0.0.1"},
			[]string{"10.0.0.1", "::ffff:10.0.0.1"},
		},
		{
			"a /64 as one host",
			[]string{"2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1"},
			[]string{"2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"},
		},
		{
			"link-local addresses without regard to the zone",
			[]string{"fe80::1%lan0", "fe80::2%lan1", "fe80::3"},
			[]string{"fe80::1%lan0", "fe80::2%lan1"},
		},
		{"the router itself as one host", append(times(3, "socket"), "10.0.0.1"), []string{"socket", "socket", "10.0.0.1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			limiter := lan.NewLimiter(lan.Limits{Name: "test", Total: 5, PerHost: 2}, slog.New(slog.DiscardHandler))
			if diff := cmp.Diff(tt.want, origins(accept(t, limiter, tt.hosts...))); diff != "" {
				t.Errorf("admitted (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLimiterWithoutPlaces(t *testing.T) {
	limiter := lan.NewLimiter(lan.Limits{}, slog.New(slog.DiscardHandler))
	if got := accept(t, limiter, "10.0.0.1"); len(got) != 0 {
		t.Errorf("%d connections were admitted, want none", len(got))
	}
}

// Each call of accept is another listener.
func TestLimiterCountsOverAllListeners(t *testing.T) {
	limiter := lan.NewLimiter(lan.Limits{Name: "test", Total: 3, PerHost: 2}, slog.New(slog.DiscardHandler))
	for _, tt := range []struct {
		host string
		want int
	}{{"192.168.1.10", 2}, {"192.168.1.10", 0}, {"192.168.2.10", 1}, {"192.168.3.10", 0}} {
		if got := accept(t, limiter, times(2, tt.host)...); len(got) != tt.want {
			t.Errorf("%s: %d connections were admitted, want %d", tt.host, len(got), tt.want)
		}
	}
}

// Connections that a server accepts itself count together with those of a listener.
func TestLimiterOfOtherServers(t *testing.T) {
	limiter := lan.NewLimiter(lan.Limits{Name: "test", Total: 4, PerHost: 2}, slog.New(slog.DiscardHandler))
	host := netip.MustParseAddr("10.0.0.1")
	if !limiter.Admit(host) || !limiter.Admit(netip.MustParseAddr("::ffff:10.0.0.1")) || limiter.Admit(host) {
		t.Error("not two connections were admitted")
	}
	if got := accept(t, limiter, "10.0.0.1", "10.0.0.2"); len(got) != 1 {
		t.Errorf("a listener admitted %d connections, want that of the other host", len(got))
	}
	limiter.Release(host)
	if got := accept(t, limiter, times(2, "10.0.0.1")...); len(got) != 1 {
		t.Errorf("a listener admitted %d connections for one that has ended", len(got))
	}
}

func TestLimiterGivesPlacesBackOnce(t *testing.T) {
	limiter := lan.NewLimiter(lan.Limits{Name: "test", Total: 4, PerHost: 2}, slog.New(slog.DiscardHandler))
	open := accept(t, limiter, times(2, "10.0.0.1")...)
	for range 2 {
		if err := open[0].Close(); err != nil {
			t.Error(err)
		}
	}
	if got := accept(t, limiter, times(3, "10.0.0.1")...); len(got) != 1 {
		t.Errorf("%d connections were admitted for one that was closed", len(got))
	}
}

func TestLimiterLogsOnceUntilItHasRelaxed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var journal bytes.Buffer
		limiter := lan.NewLimiter(lan.Limits{Name: "UPnP", Total: 8, PerHost: 4}, slog.New(slog.NewTextHandler(&journal, nil)))
		hangUp := func(conns []net.Conn) {
			for _, c := range conns {
				_ = c.Close()
			}
		}
		logged := func(when string, want int) {
			t.Helper()
			if got := strings.Count(journal.String(), "too many connections"); got != want {
				t.Fatalf("%s: %d lines were logged, want %d:\n%s", when, got, want, &journal)
			}
		}
		open := accept(t, limiter, times(4, "10.0.0.1")...)
		logged("below the limit", 0)
		accept(t, limiter, times(100, "10.0.0.1")...)
		logged("beyond it", 1)
		if line := journal.String(); !strings.Contains(line, "server=UPnP client=10.0.0.1 refused=1 of_client=4 total=4") {
			t.Errorf("logged %s", line)
		}

		time.Sleep(time.Hour)
		accept(t, limiter, "10.0.0.1")
		logged("an hour later", 1)
		hangUp(open[:1])
		open = append(open[1:], accept(t, limiter, times(2, "10.0.0.1")...)...)
		logged("after a moment just below it", 1)

		hangUp(open[:2])
		open = append(open[2:], accept(t, limiter, times(3, "10.0.0.1")...)...)
		logged("after it has relaxed", 2)
		if line := journal.String(); !strings.Contains(line, "refused=102") {
			t.Errorf("the second line does not count what was refused since the first:\n%s", line)
		}

		for range 100 {
			hangUp(open)
			open = accept(t, limiter, times(5, "10.0.0.1")...)
		}
		logged("again and again within a minute", 2)
		time.Sleep(time.Minute)
		accept(t, limiter, "10.0.0.1")
		logged("after that minute", 3)
	})
}

// pair returns both ends of a connection through a limited listener, of which there may be one.
func pair(t *testing.T, network, addr string) (server, client net.Conn) {
	t.Helper()
	var config net.ListenConfig
	beneath, err := config.Listen(t.Context(), network, addr)
	if err != nil {
		t.Fatal(err)
	}
	ln := lan.NewLimiter(lan.Limits{Name: "test", Total: 1, PerHost: 1}, slog.New(slog.DiscardHandler)).Limit(beneath)
	t.Cleanup(func() { _ = ln.Close() })
	client, err = (&net.Dialer{}).DialContext(t.Context(), network, ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	server, err = ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	for _, c := range []net.Conn{server, client} {
		if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
	}

	// One more is closed at once, while Accept waits for the next.
	accepting := make(chan error, 1)
	go func() {
		_, err := ln.Accept()
		accepting <- err
	}()
	extra, err := (&net.Dialer{}).DialContext(t.Context(), network, ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = extra.Close() }()
	if err := extra.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := extra.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("one connection too many: %v, want its end", err)
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-accepting; !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept: %v, want that of the closed listener", err)
	}
	return server, client
}

func TestLimitedConnCanCloseOneDirection(t *testing.T) {
	server, client := pair(t, "tcp", "127.0.0.1:0")
	half, ok := server.(interface{ CloseWrite() error })
	if !ok {
		t.Fatalf("%T has no CloseWrite", server)
	}
	if err := half.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the client reads %v, want the end", err)
	}
	if _, err := io.WriteString(client, "late"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 4)
	if _, err := io.ReadFull(server, got); err != nil || string(got) != "late" {
		t.Errorf("the server reads %q, %v", got, err)
	}

	limiter := lan.NewLimiter(lan.Limits{Total: 1, PerHost: 1}, slog.New(slog.DiscardHandler))
	whole := accept(t, limiter, "10.0.0.1")[0]
	if err := whole.(interface{ CloseWrite() error }).CloseWrite(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a connection that cannot be closed in one direction: %v", err)
	}
}

func TestLimitedConnShowsWhatIsBeneath(t *testing.T) {
	server, _ := pair(t, "unix", filepath.Join(t.TempDir(), "socket"))
	wrapper, ok := server.(interface{ NetConn() net.Conn })
	if !ok {
		t.Fatalf("%T has no NetConn", server)
	}
	if _, ok := wrapper.NetConn().(*net.UnixConn); !ok {
		t.Errorf("beneath is %T", wrapper.NetConn())
	}
}

// In a LAN all hosts share a /64. A device counts with all its addresses, and its neighbours do not.
func TestDevicesInOneSubnetOfIPv6(t *testing.T) {
	devices := map[string]string{
		"2001:db8::10": "02:00:00:00:00:10", "2001:db8::ffff": "02:00:00:00:00:10", "fe80::10%br0": "02:00:00:00:00:10",
		"2001:db8::11": "02:00:00:00:00:11",
	}
	limiter := lan.NewLimiter(lan.Limits{Name: "test", Total: 100, PerHost: 2, Device: func(addr netip.Addr) string {
		return devices[addr.String()]
	}}, slog.New(slog.DiscardHandler))
	admit := func(addr string, want bool) {
		t.Helper()
		if got := limiter.Admit(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s is admitted: %t", addr, got)
		}
	}
	admit("2001:db8::10", true)
	admit("2001:db8::ffff", true)
	admit("fe80::10%br0", false)
	admit("2001:db8::11", true)
	// Whatever becomes known meanwhile, what was counted is taken back.
	devices["2001:db8::10"] = "02:00:00:00:00:99"
	limiter.Release(netip.MustParseAddr("2001:db8::10"))
	admit("fe80::10%br0", true)
	admit("2001:db8::ffff", false)
	// Unknown ones share what is left for their subnet.
	admit("2001:db8::12", true)
	admit("2001:db8::13", true)
	admit("2001:db8::14", false)
	admit("192.168.1.10", true)
}
