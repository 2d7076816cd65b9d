package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/portreeve/portreeve/test/lab"
)

// crowd is many computers on the LAN at which the page is open: addresses of one host, each with a browser's connections.
type crowd struct {
	home   *lab.Home
	cookie *http.Cookie

	streams  atomic.Int64 // that were opened
	refused  atomic.Int64 // because there were too many
	pages    atomic.Int64
	messages atomic.Int64 // of all streams
	states   atomic.Int64
	bytes    atomic.Int64
}

// at is the address of a computer.
func (c *crowd) at(n int) netip.Addr { return netip.AddrFrom4([4]byte{192, 168, 1, byte(100 + n)}) }

// dial connects from one of the addresses. Whoever does not read has a small buffer, so that it is full soon.
func (c *crowd) dial(ctx context.Context, from netip.Addr, deaf bool) (conn net.Conn, err error) {
	err = c.home.LAN2.Do(func() error {
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
		conn, err = d.DialContext(ctx, "tcp4", strings.TrimPrefix(ui, "http://"))
		return err
	})
	if tcp, ok := conn.(*net.TCPConn); ok && deaf {
		err = tcp.SetReadBuffer(4096)
	}
	return conn, err
}

// get begins a request, as a browser that is signed in does.
func (c *crowd) get(ctx context.Context, client *http.Client, path string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, ui+path, nil)
	if err != nil {
		return nil, err
	}
	r.AddCookie(c.cookie)
	return client.Do(r)
}

// browse is a browser: it loads a page with all that belongs to it, and listens; if it is refused it asks for the page anew.
func (c *crowd) browse(ctx context.Context, n int) error {
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return c.dial(ctx, c.at(n), false)
	}}}
	defer client.CloseIdleConnections()
	page := []string{"/", "/leases", "/devices", "/exposure", "/activity"}[n%5]
	load := func() error {
		a, err := c.get(ctx, client, page)
		if err != nil {
			return err
		}
		defer a.Body.Close()
		if _, err := io.Copy(io.Discard, a.Body); err != nil || a.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s, %w", page, a.Status, err)
		}
		c.pages.Add(1)
		return nil
	}
	mode := "parts"
	if page == "/leases" {
		mode = "rows"
	}
	for ctx.Err() == nil {
		if err := load(); err != nil {
			return err
		}
		a, err := c.get(ctx, client, "/live?page="+mode)
		if err != nil {
			return err
		}
		if a.StatusCode == http.StatusServiceUnavailable && a.Header.Get("Retry-After") != "" {
			c.refused.Add(1)
			_ = a.Body.Close() // of a refusal, which was understood
			select {
			case <-ctx.Done():
			case <-time.After(5 * time.Second): // as the script of the page does
			}
			continue
		}
		if a.StatusCode != http.StatusOK {
			return fmt.Errorf("the stream: %s", a.Status)
		}
		c.streams.Add(1)
		err = c.listen(a.Body)
		_ = a.Body.Close() // it has ended
		if ctx.Err() == nil {
			return fmt.Errorf("the stream ended: %w", err)
		}
	}
	return nil
}

// listen counts what a stream says.
func (c *crowd) listen(body io.Reader) error {
	text := make([]byte, 64<<10)
	for {
		n, err := body.Read(text)
		c.bytes.Add(int64(n))
		c.messages.Add(int64(bytes.Count(text[:n], []byte("event: "))))
		c.states.Add(int64(bytes.Count(text[:n], []byte("event: status"))))
		if err != nil {
			return err
		}
	}
}

// ignore opens a stream of all that there is, and reads nothing of it.
func (c *crowd) ignore(ctx context.Context, n int) (net.Conn, error) {
	conn, err := c.dial(ctx, c.at(n), true)
	if err != nil {
		return nil, err
	}
	_, err = fmt.Fprintf(conn, "GET /api/v1/events HTTP/1.1\r\nHost: 192.168.1.1\r\nCookie: %s\r\n\r\n", c.cookie)
	return conn, err
}

// churn is the requests of four clients: each closes what it has opened first and opens something else, a hundred changes a
// second all together, and every answer has to be right.
func churn(ctx context.Context, t *testing.T, home *lab.Home, each int, done *atomic.Int64) {
	var clients sync.WaitGroup
	for c := range 4 {
		clients.Go(func() {
			tick := time.NewTicker(40 * time.Millisecond)
			defer tick.Stop()
			first, next := 10000*(c+1), 10000*(c+1)+each
			for n := 0; ctx.Err() == nil; n++ {
				<-tick.C
				action, args := "DeletePortMapping", which(first, "UDP")
				if n%2 == 1 {
					action, args = "AddPortMapping", mapping(next, "UDP", next, home.LAN1.Addr.String(), "3600")
				}
				code, _, err := call(ctx, home.LAN1, "192.168.1.1", wanIP1, action, args)
				if ctx.Err() != nil {
					return
				}
				if err != nil || code != 0 {
					t.Errorf("%s %v: error %d, %v", action, args[1], code, err)
					return
				}
				if done.Add(1); n%2 == 1 {
					first, next = first+1, next+1
				}
			}
		})
	}
	clients.Wait()
}

// 1,000 leases, 100 changes a second, 50 browsers that look at them and four that do not read what they have asked for: the
// daemon's memory is bounded, no client is harmed, and whoever reads nothing is dropped. In a real browser the pages can be
// used all the while.
func TestFiftyBrowsersWhileEverythingChanges(t *testing.T) {
	t.Parallel()
	const leasesEach = 250
	home, d := newHome(t, flavours()[2], lab.DaemonOptions{Config: "[limits]\nmappings_per_device = 2000\n"})
	o := newOwner(t, d, home.LAN2)
	var setup sync.WaitGroup
	for c := range 4 {
		setup.Go(func() {
			for n := range leasesEach {
				port := 10000*(c+1) + n
				if code, _, err := call(t.Context(), home.LAN1, "192.168.1.1", wanIP1, "AddPortMapping", mapping(port, "UDP", port, "192.168.1.10", "3600")); err != nil || code != 0 {
					t.Errorf("port %d: error %d, %v", port, code, err)
					return
				}
			}
		})
	}
	setup.Wait()
	home.LAN1.Echo(t, "udp", "192.168.1.10:3074")
	mustSOAP(t, home.LAN1, wanIP1, "AddPortMapping", mapping(3074, "UDP", 3074, "192.168.1.10", "3600"))
	before := memory(t, d)

	crowd := &crowd{home: home, cookie: o.cookie()}
	for n := range 56 {
		home.LAN2.Run(t, "ip", "addr", "add", crowd.at(n).String()+"/24", "dev", "eth0")
	}
	ctx, end := context.WithCancel(t.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer end()
	var changes atomic.Int64
	begin := time.Now()
	all.Go(func() { churn(ctx, t, home, leasesEach, &changes) })
	connected := func() string { // those who read nothing
		t.Helper()
		return home.Router.Run(t, "ss", "-tnH", "state", "established", "sport", "=", ":8351", "dst", crowd.at(52).String()+"/30")
	}
	for n := range 4 {
		conn, err := crowd.ignore(ctx, 52+n) // of which 192.168.1.152/30 is the network
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
	}
	if n := strings.Count(connected(), "\n"); n != 4 {
		t.Errorf("%d of 4 who read nothing are connected", n)
	}
	for n := range 50 {
		all.Go(func() {
			select { // people do not open their pages in one moment
			case <-ctx.Done():
				return
			case <-time.After(time.Duration(n) * 200 * time.Millisecond):
			}
			if err := crowd.browse(ctx, n); err != nil && ctx.Err() == nil {
				t.Errorf("browser %d: %v", n, err)
			}
		})
	}

	browser := startChromium(t, home.LAN2)
	tabs := []tab{{t, browser, 0}, {t, browser, 1}, {t, browser, 2}}
	tabs[0].open("/login")
	tabs[0].fill("#password", ownerPassword)
	tabs[0].press("button[type=submit]", "#verdict")
	tabs[1].open("/leases")
	tabs[2].open("/exposure")
	for _, b := range tabs {
		b.wait("#live:not([hidden])")
	}
	// The list follows, and has no more rows than a page should have.
	newest := tabs[1].do("eval", "", `document.querySelector("#rows tr").id`)
	tabs[1].gone("#" + newest + ":first-child")
	if !tabs[1].true(`document.querySelectorAll("#rows tr").length === 200`) {
		t.Error("the page of leases has not 200 rows")
	}
	// The owner looks for one lease among them and closes it.
	probe := lab.Probe{Network: "udp", From: home.Internet, Local: at(home.Peers[0], 40000), To: at(home.WAN, 3074)}
	probe.MustReach(t)
	tabs[1].fill("#q", "3074")
	tabs[1].press("form.filter button", `#rows tr [data-close] button`)
	tabs[1].click(`#rows tr [data-close] button`)
	home.MustForget(t, "udp", 3074)
	probe.MustNotReach(t)
	tabs[0].click(`.side a[href="/devices"]`)
	tabs[0].wait("#table")

	lab.Eventually(t, 4*within, "who does not read is dropped", func() error {
		if out := connected(); out != "" {
			return errors.New(out)
		}
		return nil
	})
	lab.Eventually(t, 4*within, "enough has changed", func() error {
		if n := changes.Load(); n < 1000 {
			return fmt.Errorf("%d changes so far", n)
		}
		return nil
	})
	took, after := time.Since(begin), memory(t, d)
	end()
	all.Wait()

	t.Logf("%d changes in %s (%.0f a second); %d streams, %d times refused, %d pages; %d messages and %d kB in %d states; %d MB before, %d MB after",
		changes.Load(), took.Round(time.Second), float64(changes.Load())/took.Seconds(), crowd.streams.Load(), crowd.refused.Load(), crowd.pages.Load(),
		crowd.messages.Load(), crowd.bytes.Load()/1024, crowd.states.Load(), before, after)
	if n := crowd.streams.Load(); n == 0 || n > 32 || crowd.refused.Load() == 0 {
		t.Errorf("%d streams were opened and %d refused: want at most 32, and that others are told so", n, crowd.refused.Load())
	}
	// A stream tells at most four states a second, however much changes.
	if most := crowd.streams.Load() * (int64(took/(250*time.Millisecond)) + 2); crowd.states.Load() > most {
		t.Errorf("%d states were sent, at most %d should be", crowd.states.Load(), most)
	}
	if after > before+128 {
		t.Errorf("the daemon has %d MB now and had %d MB", after, before)
	}
	if files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", d.PID())); err != nil || len(files) > 250 {
		t.Errorf("the daemon has %d files open, %v", len(files), err)
	}
	if s := status(t, d); len(s.Problems) > 0 {
		t.Errorf("problems: %+v", s.Problems)
	}
}
