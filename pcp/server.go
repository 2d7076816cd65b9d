package pcp

import (
	"context"
	"log/slog"
	"maps"
	"math"
	"net/netip"
	"sync"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// Leases is what the server asks of a [lease.Manager].
type Leases interface {
	Open(ctx context.Context, r lease.Request) (lease.Lease, error)
	Try(ctx context.Context, r lease.Request) (lease.Lease, lease.Trace, error)
	CloseID(ctx context.Context, a lease.Actor, id lease.ID) (lease.Lease, error)
	CloseInternal(ctx context.Context, a lease.Actor, p lease.Protocol, port uint16) ([]lease.Lease, error)
	Find(by lease.Origin, p lease.Protocol, internal netip.AddrPort) (lease.Lease, bool)
	Snapshot() *lease.Snapshot
	Epoch() time.Duration
	Now() time.Time
}

// Outside knows what the router is called on the other side.
type Outside interface {
	// ExternalAddr returns the IPv4 address of the WAN on which the mappings of a LAN host are made, as it is, also if it is
	// a private one; an invalid address while there is none. The name of the WAN is empty where it is the same for all
	// hosts, on whichever lines they have their mappings. It must not block. The host may be the router itself on
	// one of its LANs, and a link-local address has its zone.
	ExternalAddr(host netip.Addr) (addr netip.Addr, wan string)
}

// Versions says which of the two protocols a server speaks.
type Versions uint8

// The choices.
const (
	OnlyPMP Versions = iota
	OnlyPCP
	PCPAndPMP
)

func (v Versions) pcp() bool { return v != OnlyPMP }
func (v Versions) pmp() bool { return v != OnlyPCP }

// Nonces says what becomes of a client that renews a mapping with another nonce than it was made with.
type Nonces uint8

const (
	// SameHost lets the host that has made an IPv4 mapping keep it up with any nonce, if it still has the same address and
	// the same MAC address: some clients draw a new nonce for each packet. They can change or delete nothing by that, and
	// pinholes are not concerned.
	SameHost Nonces = iota
	// Strict refuses it, as RFC 6887, section 11.3, has it.
	Strict
)

// Config is what a [Server] is made of. Leases and Outside must be given.
type Config struct {
	Leases   Leases
	Outside  Outside
	Versions Versions
	Nonces   Nonces

	// ThirdParty says that the policy lets clients ask for other hosts. If not, they are told that this server has no
	// such option (RFC 6887, section 13.1). Another address of one's own is no third party.
	ThirdParty bool

	// Device returns the MAC address of a LAN host, empty when unknown. Nil means always unknown.
	Device func(addr netip.Addr) string

	// Flow returns from which port of the router the packets go out that a host sends to a peer now; false if it sends
	// none. Nil means that nobody knows.
	Flow func(ctx context.Context, p lease.Protocol, internal, peer netip.AddrPort) (uint16, bool)

	// Changed returns a channel that is closed when the address outside may be another one. Nil means that nobody tells;
	// it is then noticed with the next request.
	Changed func() <-chan struct{}

	// LAN returns the LAN of a host, or of one of the router's own addresses, as it is now; a link-local one has its zone.
	// Without a name it is unknown, as for all hosts if LAN is nil. LANsChanged is to it what Changed is to the address
	// outside.
	LAN         func(host netip.Addr) lease.LAN
	LANsChanged func() <-chan struct{}

	// Lines are what an earlier server has told its clients, as it was given to KeepLines, which gets all lines when one of
	// them has changed, before anybody is told. Without them an address that has changed over a restart
	// is no news to clients of PCP.
	Lines     map[string]Line
	KeepLines func(map[string]Line)

	// Heard is told of each host that asks, whatever is answered. It must not block. Nil: nobody wants to know.
	Heard func(host netip.Addr)

	Logger *slog.Logger // nil discards
}

// Server answers the requests of LAN hosts. One server can serve any number of sockets.
type Server struct {
	cfg Config
	log *slog.Logger

	mu    sync.Mutex
	lines map[string]Line // by the name of the WAN, or see [Server.prefixesOf]
}

// Line is what was seen of a WAN, or of the prefixes of a LAN.
type Line struct {
	Addr  netip.Addr    // the last one
	Since time.Duration // the age of the leases when it became that
}

// NewServer returns a server that does nothing until [Server.Serve] gives it a socket.
func NewServer(c Config) *Server {
	if c.Device == nil {
		c.Device = func(netip.Addr) string { return "" }
	}
	if c.Flow == nil {
		c.Flow = func(context.Context, lease.Protocol, netip.AddrPort, netip.AddrPort) (uint16, bool) { return 0, false }
	}
	if c.Changed == nil {
		c.Changed = func() <-chan struct{} { return nil }
	}
	if c.LAN == nil {
		c.LAN = func(netip.Addr) lease.LAN { return lease.LAN{} }
	}
	if c.LANsChanged == nil {
		c.LANsChanged = func() <-chan struct{} { return nil }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Heard == nil {
		c.Heard = func(netip.Addr) {}
	}
	if c.KeepLines == nil {
		c.KeepLines = func(map[string]Line) {}
	}
	s := &Server{cfg: c, log: c.Logger, lines: map[string]Line{}}
	for wan, l := range c.Lines {
		l.Since = min(l.Since, c.Leases.Epoch()) // the leases may have been lost
		s.lines[wan] = l
	}
	return s
}

// handle returns the answer to a packet from src, nil for none. It returns when the answer is true: a granted mapping
// is stored and in the kernel.
func (s *Server) handle(ctx context.Context, src netip.AddrPort, packet []byte) []byte {
	if len(packet) < 2 || packet[1]&responseBit != 0 {
		return nil
	}
	client := src.Addr().Unmap() // of a link-local one the zone stays, without which nobody knows who it is
	s.cfg.Heard(client)
	switch version := packet[0]; {
	case version == versionPCP && s.cfg.Versions.pcp():
		return s.handlePCP(ctx, client, packet)
	case version == versionPMP && s.cfg.Versions.pmp() && client.Is4(): // which knows nothing of IPv6
		return s.handlePMP(ctx, client, packet)
	default:
		return s.otherVersion(client, packet)
	}
}

// otherVersion answers a request of a version that is not spoken with the one that is. Where both are it is PCP, to
// which all but one version are nearer (RFC 6887, section 9). One that speaks NAT-PMP alone says so in the way of RFC 6886,
// section 3.5.
func (s *Server) otherVersion(client netip.Addr, packet []byte) []byte {
	if s.cfg.Versions.pcp() {
		return s.refuse(client, packet, because(ResultUnsuppVersion, "version %d", packet[0]))
	}
	if len(packet) > MaxMessage || !client.Is4() {
		return nil
	}
	return s.encode(client, PMPUnsupportedVersionResponse{Epoch: s.pmpEpoch()})
}

func (s *Server) encode(client netip.Addr, m Message) []byte {
	reply, err := Marshal(m)
	if err != nil {
		s.log.Error("answer cannot be sent", "client", client, "err", err)
		return nil
	}
	return reply
}

// externalAddr returns the IPv4 address outside for a host, invalid if there is none. It notes when it is another one.
func (s *Server) externalAddr(host netip.Addr) netip.Addr {
	addr, _ := s.lineOf(host)
	return addr
}

// lineOf returns also how old the leases were when the address became what it is.
func (s *Server) lineOf(host netip.Addr) (netip.Addr, time.Duration) {
	addr, wan := s.cfg.Outside.ExternalAddr(host)
	age := s.cfg.Leases.Epoch()
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.lines[wan]
	if addr = addr.Unmap(); !addr.Is4() || addr.IsUnspecified() {
		return netip.Addr{}, last.Since
	}
	if last.Addr != addr {
		if last.Addr.IsValid() {
			last.Since = age
		}
		last.Addr = addr
		s.lines[wan] = last
		s.cfg.KeepLines(maps.Clone(s.lines))
	}
	return addr, last.Since
}

// pcpEpoch returns the age of what a client of PCP knows: since the leases were lost last, and since the address outside
// is what it is. Announcements of PCP tell no address, so this is how clients learn that it has changed (RFC 6887,
// section 8.5).
func (s *Server) pcpEpoch(client netip.Addr) time.Duration {
	return seconds32(s.cfg.Leases.Epoch() - s.born(client))
}

// born returns how old the leases were when a client had to begin anew.
func (s *Server) born(client netip.Addr) time.Duration {
	_, born := s.lineOf(client)
	if client.Is6() {
		born = max(born, s.prefixesOf(s.cfg.LAN(client)))
	}
	return born
}

// pmpEpoch returns the age of the leases. Clients of NAT-PMP are told the address itself.
func (s *Server) pmpEpoch() time.Duration { return seconds32(s.cfg.Leases.Epoch()) }

// seconds32 returns a time as 32 bits of seconds can tell it: after 136 years it starts again.
func seconds32(d time.Duration) time.Duration {
	const turn = (math.MaxUint32 + 1) * time.Second
	return max(0, d) % turn
}

// remaining is the lifetime to tell of a lease that was asked for: what is left of it. The moment that has passed since it
// was granted is not worth a second. What the owner has set by hand has no end; the client may ask about it again
// whenever it wanted to.
func (s *Server) remaining(l lease.Lease, asked time.Duration) time.Duration {
	if l.Rule != "" {
		return min(max(asked, minLifetime), maxLifetime)
	}
	const step = time.Second
	return (l.Remaining(s.cfg.Leases.Now()) + step - 1) / step * step
}

// What is told of a mapping that the policy of leases has no say in (RFC 6887, section 15).
const (
	minLifetime = 120 * time.Second
	maxLifetime = 24 * time.Hour
)
