package lan

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"github.com/portreeve/portreeve/kernel"
)

// How a [Resolver] asks: seldom, few at a time, and without patience.
const (
	mdnsPort    = 5353
	askAtOnce   = 4
	askEach     = 250 * time.Millisecond // pause of one who asks
	askWaits    = 700 * time.Millisecond // for the answer to each of two questions
	maxAnswers  = 64                     // packets that are looked at while one answer is waited for
	maxWaiting  = 64                     // machines that are to be asked
	maxResolved = 1024                   // machines of which something is remembered

	// What a machine says of how long its name holds is believed within these bounds.
	shortestName = 15 * time.Minute
	longestName  = 2 * time.Hour

	// One that does not answer is asked again after a time that doubles.
	firstSilence   = time.Minute
	longestSilence = time.Hour
)

// Resolver asks machines of the LAN what they are called, by multicast DNS. It asks those only that somebody wants to see, and
// believes of a machine only what comes from its own address on its LAN. Its methods may be used from several goroutines.
type Resolver struct {
	lans func() *Snapshot
	now  func() time.Time
	log  *slog.Logger

	wanted chan netip.Addr // to be asked
	mu     sync.Mutex
	known  map[netip.Addr]*resolved
}

// resolved is what is known of a machine by one of its addresses.
type resolved struct {
	mac     string // of the machine that has the address; empty: unknown
	name    string // empty: it does not say
	until   time.Time
	used    time.Time // when somebody last wanted to see it
	silence time.Duration
	asking  bool // or about to
}

// NewResolver returns one for the LANs of a watcher. Now has a monotonic reading; log may be nil. It asks nobody before
// [Resolver.Run].
func NewResolver(w *Watcher, now func() time.Time, log *slog.Logger) *Resolver {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Resolver{lans: w.Snapshot, now: now, log: log, wanted: make(chan netip.Addr, maxWaiting), known: map[netip.Addr]*resolved{}}
}

// Name returns what a machine says that it is called, "" when that is not known, or not yet: it never waits. The first question
// about a machine has it asked, by the first of its addresses that is on a LAN and has not been silent. What it returns is
// bounded and printable, and not to be believed.
func (r *Resolver) Name(mac string, addrs ...netip.Addr) string {
	lans, now := r.lans(), r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, addr := range addrs {
		addr = addr.Unmap()
		ifc, ok := lans.holds(addr)
		if !ok || ifc.has(addr) {
			continue
		}
		k := r.about(addr, mac, now)
		if k == nil {
			return ""
		}
		if mac != "" && k.mac != mac {
			return "" // it is being found out who is there
		}
		k.used = now
		if !k.asking && !now.Before(k.until) {
			select {
			case r.wanted <- addr:
				k.asking = true
			default: // the next time that somebody wants to see it
			}
		}
		if k.name != "" || k.asking {
			return k.name
		}
	}
	return ""
}

// about returns what is known of an address, made anew if it is that of another machine now; nil if no more can be remembered.
func (r *Resolver) about(addr netip.Addr, mac string, now time.Time) *resolved {
	k := r.known[addr]
	if k != nil && (k.mac == mac || mac == "" || k.asking) {
		return k
	}
	if k == nil && len(r.known) >= maxResolved && !r.forgetOne() {
		return nil
	}
	k = &resolved{mac: mac, until: now}
	r.known[addr] = k
	return k
}

// forgetOne forgets what nobody has wanted to see for the longest time.
func (r *Resolver) forgetOne() bool {
	var oldest netip.Addr
	for addr, k := range r.known {
		if !k.asking && (!oldest.IsValid() || k.used.Before(r.known[oldest].used)) {
			oldest = addr
		}
	}
	delete(r.known, oldest)
	return oldest.IsValid()
}

// Run asks until ctx is cancelled, and returns nil then.
func (r *Resolver) Run(ctx context.Context) error {
	var tasks sync.WaitGroup
	for range askAtOnce {
		tasks.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case addr := <-r.wanted:
					r.resolve(ctx, addr)
				}
				if !kernel.Pause(ctx, askEach) {
					return
				}
			}
		})
	}
	tasks.Wait()
	return nil
}

// resolve asks a machine and remembers what came of it.
func (r *Resolver) resolve(ctx context.Context, addr netip.Addr) {
	name, ttl, err := r.ask(ctx, addr)
	if err != nil {
		r.log.Debug("cannot ask a machine for its name", "client", addr, "err", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.known[addr] // one that is asked is not forgotten
	k.asking, k.name = false, name
	if name == "" {
		k.silence = min(max(firstSilence, 2*k.silence), longestSilence)
		k.until = r.now().Add(k.silence)
		return
	}
	k.silence = 0
	k.until = r.now().Add(min(max(ttl, shortestName), longestName))
}

// ask asks a machine alone, which most answer (RFC 6762, section 5.5), and then everybody, for some listen to nothing else. Only
// its own answer counts. No name and no error means that it was silent.
func (r *Resolver) ask(ctx context.Context, addr netip.Addr) (name string, ttl time.Duration, err error) {
	ifc, ok := r.lans().holds(addr)
	if !ok {
		return "", 0, nil // the LAN has gone
	}
	q, err := nameQuestion(addr)
	if err != nil {
		return "", 0, err
	}
	id := uint16(rand.Uint32()) // who can answer from the machine's address has no need to guess
	query, err := mdnsQuery(id, q)
	if err != nil {
		return "", 0, err
	}
	any4or6, group, option := netip.IPv4Unspecified(), netip.AddrFrom4([4]byte{224, 0, 0, 251}), hops4
	if addr.Is6() {
		any4or6, group, option = netip.IPv6Unspecified(), netip.MustParseAddr("ff02::fb"), hops6
	}
	conn, err := listenPacket(ctx, ifc, netip.AddrPortFrom(any4or6, 0), bindToDevice, option)
	if err != nil {
		return "", 0, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // ends the reading
	defer stop()
	var faults error
	for _, to := range []netip.Addr{addr, group} {
		target := withZone(ifc, netip.AddrPortFrom(to.WithZone(""), mdnsPort))
		if to == group && to.Is6() {
			target = netip.AddrPortFrom(to.WithZone(ifc.Name), mdnsPort)
		}
		if _, err := conn.WriteToUDPAddrPort(query, target); err != nil {
			faults = errors.Join(faults, err)
			continue
		}
		if name, ttl, err = r.await(conn, addr, id, q); name != "" {
			return name, ttl, nil
		}
		faults = errors.Join(faults, err)
	}
	return "", 0, faults
}

// await reads until the machine has said its name, or has had time enough to.
func (r *Resolver) await(conn *net.UDPConn, addr netip.Addr, id uint16, q dnsmessage.Question) (name string, ttl time.Duration, err error) {
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		return "", 0, err
	}
	enough := time.AfterFunc(askWaits, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer enough.Stop()
	var buf [maxMDNS]byte
	for range maxAnswers {
		n, from, err := conn.ReadFromUDPAddrPort(buf[:])
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				err = nil
			}
			return "", 0, err
		}
		if from.Port() != mdnsPort || from.Addr().Unmap().WithZone("") != addr.WithZone("") {
			continue
		}
		if name, ttl, ok := mdnsName(buf[:n], id, q); ok {
			return name, ttl, nil
		}
	}
	return "", 0, nil
}

// hops4 and hops6 have packets leave as the RFC wants those of multicast DNS (section 11), and not come back to us.
func hops4(fd int, _ Interface) error {
	return tried("set up multicast", errors.Join(
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TTL, 255), unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, 255),
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, 0)))
}

func hops6(fd int, _ Interface) error {
	return tried("set up multicast", errors.Join(
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, 255), unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255),
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP, 0)))
}

// has tells whether an address is the router's own.
func (i Interface) has(addr netip.Addr) bool {
	return slices.ContainsFunc(i.Of(IPv4AndIPv6), func(p netip.Prefix) bool { return p.Addr() == addr.WithZone("") })
}
