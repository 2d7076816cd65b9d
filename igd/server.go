package igd

import (
	"cmp"
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/portreeve/portreeve/lease"
)

// Leases is what the package needs of [lease.Manager].
type Leases interface {
	Open(ctx context.Context, r lease.Request) (lease.Lease, error)
	CloseID(ctx context.Context, a lease.Actor, id lease.ID) (lease.Lease, error)
	CloseExternal(ctx context.Context, a lease.Actor, p lease.Protocol, ports lease.PortRange) ([]lease.Lease, error)
	FindExternal(p lease.Port) (lease.Lease, bool)
	Snapshot() *lease.Snapshot
	Now() time.Time
}

// Config is what a [Server] is made of.
type Config struct {
	// UUID is the machine's identity, the same after every restart and different on every machine. It may be a
	// secret such as the machine ID: only names derived from it are told. It must not be all zero.
	UUID [16]byte

	// Name is what clients show as the name of the router. It is cleaned and cut to 63 bytes; empty means
	// "portreeve".
	Name string

	// Version is our own version, shown as the model number; cleaned and cut to 31 bytes.
	Version string

	// Product is the value of the SERVER header, for example "Linux/6.1 UPnP/1.1 portreeve/1.0"
	// (UDA 1.1, section 1.2.2). It must be printable ASCII, and have at most 256 characters.
	Product string

	// UIPort is where the router's own pages are, on the address of each LAN; clients show a link to them.
	// 0 means that there are none. With UISecure they are served by TLS.
	UIPort   uint16
	UISecure bool

	// Versions of the device that are described.
	Versions Versions

	// Device returns the MAC address of a LAN host, empty when unknown, and Addrs the addresses by which the device with a
	// MAC address is on the LANs now. By them a host that calls over IPv6 is known to be the one with an IPv4 address. Nil
	// means that nothing is known of any.
	Device func(addr netip.Addr) string
	Addrs  func(device string) []netip.Addr

	// Present asks a LAN host whether it is there, so that its MAC address is known afterwards. Nil means that nobody is asked.
	Present func(ctx context.Context, addr netip.Addr) bool

	// Heard is told of each LAN host that reads a description or calls an action, whatever it is answered. It must not block. Nil:
	// nobody wants to know.
	Heard func(host netip.Addr)

	// Network is what events need. Without any of it, they reach those who listen where they have subscribed from.
	Network Network

	Leases  Leases  // must not be nil
	Outside Outside // must not be nil

	Logger *slog.Logger // nil discards
}

// Server is one gateway device. It may serve any number of LANs at the same time; see [Server.Serve].
type Server struct {
	leases   Leases
	outside  Outside
	log      *slog.Logger
	product  string
	identity identity
	versions Versions
	trees    [2]device // of version 1 and of version 2
	configID uint32
	hosts    hosts
	network  Network
	events   *events
	guard    *guard
	heard    func(netip.Addr)

	choice      atomic.Pointer[choice]
	conns       sync.Pool      // of *conn
	acceptOften rate.Sometimes // nobody can be accepted
}

// identity is what the device says of itself.
type identity struct {
	name, version string
	uiPort        uint16
	uiScheme      string
	root          string // UDN of the InternetGatewayDevice
	wan           string // UDN of the WANDevice
	connection    string // UDN of the WANConnectionDevice
}

// New checks the configuration and returns a server that does not serve yet. All faults of the configuration are
// reported at once.
func New(cfg Config) (*Server, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("igd: %w", err)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Heard == nil {
		cfg.Heard = func(netip.Addr) {}
	}
	s := &Server{
		leases:  cfg.Leases,
		heard:   cfg.Heard,
		outside: cfg.Outside,
		log:     cfg.Logger.With("proto", lease.OriginUPnP),
		product: cfg.Product, versions: cfg.Versions, hosts: newHosts(cfg.Device, cfg.Addrs, cfg.Present),
		identity: identity{
			name:       cmp.Or(lease.CleanText(cfg.Name, 63), "portreeve"),
			version:    lease.CleanText(cfg.Version, 31),
			uiPort:     cfg.UIPort,
			uiScheme:   map[bool]string{false: "http", true: "https"}[cfg.UISecure],
			root:       deriveUDN(cfg.UUID, "InternetGatewayDevice"),
			wan:        deriveUDN(cfg.UUID, "WANDevice"),
			connection: deriveUDN(cfg.UUID, "WANConnectionDevice"),
		},
	}
	s.guard = newGuard(s.log)
	s.network = cfg.Network.withDefaults()
	s.events = newEvents(s.network, s.leases.Now, s.log)
	s.acceptOften = rate.Sometimes{First: 1, Interval: time.Minute}
	s.trees = [2]device{s.tree(1), s.tree(2)}
	s.configID = s.computeConfigID()
	return s, nil
}

func (cfg Config) check() error {
	var faults []error
	if cfg.UUID == [16]byte{} {
		faults = append(faults, errors.New("the machine's UUID is all zero: it must be unique"))
	}
	if strings.ContainsFunc(cfg.Product, func(r rune) bool { return r < ' ' || r > '~' }) {
		faults = append(faults, fmt.Errorf("product %q must be printable ASCII", cfg.Product))
	}
	if len(cfg.Product) > maxProduct {
		faults = append(faults, fmt.Errorf("product has %d characters, at most %d are allowed", len(cfg.Product), maxProduct))
	}
	if cfg.Leases == nil || cfg.Outside == nil {
		faults = append(faults, errors.New("leases and outside must be given"))
	}
	return errors.Join(faults...)
}

// ConfigID identifies the state of the descriptions (UDA 1.1, section 1.2.2): 0 to 16777215, another one
// whenever they change.
func (s *Server) ConfigID() uint32 { return s.configID }

// deriveUDN makes a UUID of version 5 (RFC 9562, section 5.5) with the machine's identity as the name space, so
// that it stays the same for ever and does not give the identity away.
func deriveUDN(machine [16]byte, name string) string {
	sum := sha1.Sum(append(machine[:], name...))
	sum[6] = sum[6]&0x0f | 0x50
	sum[8] = sum[8]&0x3f | 0x80
	return fmt.Sprintf("uuid:%x-%x-%x-%x-%x", sum[0:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}

// computeConfigID hashes the descriptions, of the root device with all that may be in it. They are the same on every LAN but for
// the address.
func (s *Server) computeConfigID() uint32 {
	h := fnv.New32a()
	byPath, roots := s.documents(netip.IPv4Unspecified())
	for _, path := range slices.Sorted(maps.Keys(byPath)) {
		h.Write(byPath[path].body)
	}
	for version := range s.trees {
		h.Write(roots[view{version: version + 1, dialled: true}])
	}
	const freeRange = 1 << 24 // UDA 1.1, section 1.2.2: above are numbers assigned by the UPnP Forum
	return h.Sum32() % freeRange
}
