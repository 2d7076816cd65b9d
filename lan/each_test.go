package lan

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// board is a service that writes down what runs.
type board struct {
	families Families
	mu       sync.Mutex
	running  []string
	fail     map[string]error // what a service returns instead of serving
	unready  map[string]bool  // services that never get ready
	linger   time.Duration    // how long they take to end
	started  int
}

func (b *board) serve(ctx context.Context, ifc Interface, addr netip.Addr, ready func()) error {
	name := fmt.Sprintf("%s/%d %s", ifc.Name, ifc.Index, addr)
	b.mu.Lock()
	b.started++
	fail := b.fail[addr.String()]
	if fail == nil {
		b.running = append(b.running, name)
	}
	b.mu.Unlock()
	if fail != nil {
		return fail
	}
	if !b.unready[addr.String()] {
		ready()
	}
	<-ctx.Done()
	time.Sleep(b.linger)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.running = slices.DeleteFunc(b.running, func(s string) bool { return s == name })
	return nil
}

// names returns what runs, once nothing is left to be done.
func (b *board) names() string {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	slices.Sort(b.running)
	return strings.Join(b.running, ", ")
}

func (b *board) repair(addr string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.fail, addr)
}

// scene is a watcher whose kernel is the test, and the runner on it.
type scene struct {
	*board
	watcher *Watcher
	cancel  context.CancelFunc
	ended   chan error
	ready   chan struct{}
}

func newScene(t *testing.T, b *board, links ...link) *scene {
	t.Helper()
	w := &Watcher{config: Config{Names: []string{"lan0", "lan1"}, Log: slog.New(slog.DiscardHandler)}, probation: newProbation()}
	w.current.Store(&Snapshot{changed: make(chan struct{})})
	w.update(links, nil, false)
	ctx, cancel := context.WithCancel(t.Context())
	s := &scene{board: b, watcher: w, cancel: cancel, ended: make(chan error, 1), ready: make(chan struct{})}
	go func() { s.ended <- w.EachAddr(ctx, b.families, b.serve, func() { close(s.ready) }) }()
	return s
}

func (s *scene) kernelHas(links ...link) { s.watcher.update(links, nil, false) }

func (s *scene) end(t *testing.T) {
	t.Helper()
	s.cancel()
	if err := <-s.ended; err != nil {
		t.Errorf("ended with %v", err)
	}
	if left := s.names(); left != "" {
		t.Errorf("%s still runs", left)
	}
}

func (s *scene) isReady() bool {
	synctest.Wait()
	return isClosed(s.ready)
}

func lan0(index int, texts ...string) link {
	return link{name: "lan0", index: index, up: true, prefixes: prefixes(texts...)}
}

func TestServicesFollowTheLANs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lan1 := link{name: "lan1", index: 4, up: true, prefixes: prefixes("10.0.0.1/8")}
		s := newScene(t, &board{linger: time.Second}, lan0(3, "192.168.1.1/24"))
		defer s.end(t)
		dual := lan0(9, "192.168.2.1/16")
		dual.prefixes6 = prefixes("2001:db8:1:1::1/64", "fe80::1/64")
		steps := []struct {
			name  string
			links []link
			want  string
		}{
			{"at start", []link{lan0(3, "192.168.1.1/24")}, "lan0/3 192.168.1.1"},
			{"an address more", []link{lan0(3, "192.168.1.1/24", "192.168.2.1/24")}, "lan0/3 192.168.1.1, lan0/3 192.168.2.1"},
			{"an interface more", []link{lan0(3, "192.168.1.1/24", "192.168.2.1/24"), lan1}, "lan0/3 192.168.1.1, lan0/3 192.168.2.1, lan1/4 10.0.0.1"},
			{"an address less", []link{lan0(3, "192.168.2.1/24"), lan1}, "lan0/3 192.168.2.1, lan1/4 10.0.0.1"},
			{"another prefix length", []link{lan0(3, "192.168.2.1/16"), lan1}, "lan0/3 192.168.2.1, lan1/4 10.0.0.1"},
			{"made anew", []link{lan0(9, "192.168.2.1/16"), lan1}, "lan0/9 192.168.2.1, lan1/4 10.0.0.1"},
			{"IPv6, which is not wanted", []link{dual, lan1}, "lan0/9 192.168.2.1, lan1/4 10.0.0.1"},
			{"nothing", nil, ""},
			{"back again", []link{lan0(9, "192.168.2.1/16"), lan1}, "lan0/9 192.168.2.1, lan1/4 10.0.0.1"},
		}
		for _, step := range steps {
			s.kernelHas(step.links...)
			synctest.Wait()
			time.Sleep(2 * s.linger)
			if diff := cmp.Diff(step.want, s.names()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", step.name, diff)
			}
		}
	})
}

// Whoever listens to IPv6 too has a service for each address, and begins again when other hosts may ask it.
func TestServicesFollowIPv6(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		with := func(texts ...string) link {
			l := lan0(3, "192.168.1.1/24")
			l.prefixes6 = prefixes(texts...)
			return l
		}
		s := newScene(t, &board{families: IPv4AndIPv6}, with("fe80::1/64"))
		defer s.end(t)
		steps := []struct {
			name   string
			link   link
			want   string
			starts int
		}{
			{"at start", with("fe80::1/64"), "lan0/3 192.168.1.1, lan0/3 fe80::1", 2},
			{"a subnet more", with("2001:db8:1:1::1/64", "fe80::1/64"), "lan0/3 192.168.1.1, lan0/3 2001:db8:1:1::1, lan0/3 fe80::1", 2},
			{"an address more in it", with("2001:db8:1:1::1/64", "2001:db8:1:1::2/64", "fe80::1/64"), "lan0/3 192.168.1.1, lan0/3 2001:db8:1:1::1, lan0/3 2001:db8:1:1::2, lan0/3 fe80::1", 1},
			{"another subnet", with("2001:db8:2:2::1/64", "fe80::1/64"), "lan0/3 192.168.1.1, lan0/3 2001:db8:2:2::1, lan0/3 fe80::1", 2},
			{"no IPv6", with(), "lan0/3 192.168.1.1", 0},
		}
		before := 0
		for _, step := range steps {
			s.kernelHas(step.link)
			if diff := cmp.Diff(step.want, s.names()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", step.name, diff)
			}
			if got := s.started - before; got != step.starts {
				t.Errorf("%s: %d services were started, want %d", step.name, got, step.starts)
			}
			before = s.started
		}
	})
}

func TestNoServiceStartsBesideAnEndingOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, &board{linger: time.Minute}, lan0(3, "192.168.1.1/24"))
		defer s.end(t)
		s.names()
		s.kernelHas(lan0(4, "192.168.1.1/24"))
		if diff := cmp.Diff("lan0/3 192.168.1.1", s.names()); diff != "" {
			t.Error("while the old one ends (-want +got):\n" + diff)
		}
		time.Sleep(time.Minute)
		if diff := cmp.Diff("lan0/4 192.168.1.1", s.names()); diff != "" {
			t.Error("afterwards (-want +got):\n" + diff)
		}
	})
}

func TestReadyWaitsForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &board{unready: map[string]bool{"192.168.2.1": true}}
		s := newScene(t, b, lan0(3, "192.168.1.1/24", "192.168.2.1/24"))
		defer s.end(t)
		if s.isReady() {
			t.Error("ready before all are")
		}
		s.kernelHas(lan0(3, "192.168.1.1/24"))
		if !s.isReady() {
			t.Error("not ready although the address that is not has gone")
		}
	})
}

func TestReadyWithoutAnyLAN(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, &board{})
		defer s.end(t)
		if !s.isReady() {
			t.Error("not ready")
		}
	})
}

func TestFirstFailureIsReturned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		taken := errors.New("port taken")
		b := &board{fail: map[string]error{"192.168.2.1": taken}, linger: time.Second}
		s := newScene(t, b, lan0(3, "192.168.1.1/24", "192.168.2.1/24"))
		defer s.cancel()
		if err := <-s.ended; !errors.Is(err, taken) {
			t.Errorf("error %v, want %v", err, taken)
		}
		if left := s.names(); left != "" {
			t.Errorf("%s still runs", left)
		}
		if s.isReady() {
			t.Error("ready although it failed")
		}
	})
}

func TestAddressThatVanishesAtStartIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &board{fail: map[string]error{"192.168.1.1": fmt.Errorf("listen: %w", syscall.EADDRNOTAVAIL)}}
		s := newScene(t, b, lan0(3, "192.168.1.1/24"))
		defer s.end(t)
		if s.isReady() {
			t.Error("ready")
		}
		b.repair("192.168.1.1")
		time.Sleep(firstDelay)
		if !s.isReady() || s.names() != "lan0/3 192.168.1.1" {
			t.Errorf("after a second %q runs", s.names())
		}
	})
}

func TestLaterFailuresAreTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &board{fail: map[string]error{"192.168.2.1": errors.New("port taken")}}
		s := newScene(t, b, lan0(3, "192.168.1.1/24"))
		defer s.end(t)
		if !s.isReady() {
			t.Fatal("not ready")
		}
		s.kernelHas(lan0(3, "192.168.1.1/24", "192.168.2.1/24"))
		time.Sleep(time.Hour)
		// One that serves, and the other one after 1, 2, 4, 8 and 16 s and then twice a minute.
		if s.names(); s.started < 120 || s.started > 130 {
			t.Errorf("%d starts within an hour, want about 125", s.started)
		}
		b.repair("192.168.2.1")
		time.Sleep(maxDelay)
		if diff := cmp.Diff("lan0/3 192.168.1.1, lan0/3 192.168.2.1", s.names()); diff != "" {
			t.Error("repaired (-want +got):\n" + diff)
		}
	})
}

func TestServiceThatEndsByItselfIsStartedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newScene(t, &board{}, lan0(3, "192.168.1.1/24"))
		defer w.end(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		starts := 0
		err := w.watcher.EachInterface(ctx, OnlyIPv4, func(_ context.Context, _ Interface, ready func()) error {
			starts++
			ready()
			return nil
		}, func() {})
		// It was ready each time, so the delay stays the first one.
		if want := int(time.Minute / firstDelay); err != nil || starts < want || starts > want+1 {
			t.Errorf("%d starts within a minute (%v), want about %d", starts, err, want)
		}
	})
}

func TestInterfaceServiceIsRestartedWhenAddressesChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, &board{}, lan0(3, "192.168.1.1/24"))
		defer s.end(t)
		ctx, cancel := context.WithCancel(t.Context())
		var log []string
		ended := make(chan error, 1)
		go func() {
			ended <- s.watcher.EachInterface(ctx, OnlyIPv4, func(ctx context.Context, ifc Interface, ready func()) error {
				ready()
				log = append(log, fmt.Sprint("start ", ifc.Prefixes))
				<-ctx.Done()
				log = append(log, fmt.Sprint("end ", ifc.Prefixes))
				return nil
			}, func() {})
		}()
		synctest.Wait()
		s.kernelHas(lan0(3, "192.168.1.1/24", "192.168.2.1/24"))
		synctest.Wait()
		// IPv6 comes and goes by itself and is nothing to them.
		s.kernelHas(link{name: "lan0", index: 3, up: true, prefixes: prefixes("192.168.1.1/24", "192.168.2.1/24"), prefixes6: prefixes("fd00::1/64")})
		synctest.Wait()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		want := []string{
			"start [192.168.1.1/24]", "end [192.168.1.1/24]",
			"start [192.168.1.1/24 192.168.2.1/24]", "end [192.168.1.1/24 192.168.2.1/24]",
		}
		if diff := cmp.Diff(want, log); diff != "" {
			t.Error("calls (-want +got):\n" + diff)
		}
	})
}
