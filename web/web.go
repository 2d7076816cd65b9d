// Package web is what the owner of the router sees: a JSON API under /api/v1, live events, and the pages for
// setting the password, signing in and looking at the leases.
//
// The same routes are served twice. [Server.ServeLAN] is for browsers on the LAN: it knows nobody without a
// session, believes no Host header that is not this router's, and lets no other site post. [Server.ServeLocal]
// is for the command line on a Unix socket: the kernel tells who is at the other end, and root or the daemon's
// own user is the owner.
//
// The package decides nothing about mappings. It shows what [lease.Manager] has published, and asks it for what the
// owner wants: rules, addresses, leases closed.
package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// Leases is what the package needs of [lease.Manager].
type Leases interface {
	Snapshot() *lease.Snapshot
	CloseID(ctx context.Context, by lease.Actor, id lease.ID) (lease.Lease, error)
	CloseSelected(ctx context.Context, which lease.Selection, o lease.CloseOptions) ([]lease.CloseResult, error)
	Reopen(ctx context.Context, by lease.Actor, id lease.ID) (lease.Lease, error)
	AmendLease(ctx context.Context, by lease.Actor, id lease.ID, c lease.LeaseChange) (lease.Lease, error)
	Open(ctx context.Context, r lease.Request) (lease.Lease, error)
	Try(ctx context.Context, r lease.Request) (lease.Lease, lease.Trace, error)
	Find(by lease.Origin, p lease.Protocol, internal netip.AddrPort) (lease.Lease, bool)
	PutRule(ctx context.Context, r lease.Rule, o lease.RuleOptions) (lease.RuleChange, error)
	RemoveRule(ctx context.Context, id lease.ID, o lease.RuleOptions) (lease.RuleChange, error)
	SetDevice(ctx context.Context, d lease.Device, o lease.DeviceOptions) (lease.DeviceChange, error)
	ForgetDevice(ctx context.Context, mac string, o lease.DeviceOptions) (lease.DeviceChange, error)
	AnswerRequest(ctx context.Context, id lease.ID, answer lease.Answer, o lease.DeviceOptions) (lease.Waiting, error)
	Pause(ctx context.Context, o lease.PauseOptions) (lease.PauseChange, error)
	Resume(ctx context.Context, by lease.Origin) error
	SetPolicy(ctx context.Context, own lease.OwnPolicy, o lease.PolicyOptions) (lease.PolicyChange, error)
	PolicyUse(p lease.Policy) lease.PolicyUse

	// Now is the time against which leases expire; it must carry a monotonic reading, as time.Now does.
	// Sessions, rate limits and the lifetime of a setup code are measured by it as well.
	Now() time.Time
}

// Config is everything that the package needs from outside.
type Config struct {
	Leases  Leases  // required
	Records Records // required

	// Clock reads the clocks by which the ends of sessions and tokens are kept over restarts; nil: [lease.ReadClock].
	Clock func() (lease.Instant, error)

	// Facts tells what only the wiring knows. It is called for every page and every change of the state, so
	// it must not block. Required.
	Facts func() Facts

	// OwnAddrs returns the router's addresses on its LANs. A Host header with any other address is refused,
	// loopback excepted. Called for every request; it must not block. Nil: loopback only.
	OwnAddrs func() []netip.Addr

	// Names are host names by which the router may be called, besides localhost, in any case.
	Names []string

	// DeviceName returns what people call the device that holds a lease, "" when unknown. It must not block.
	// The answer is treated as hostile text. Nil: no names.
	DeviceName func(lease.Lease) string

	// Traffic asks the kernel what goes through a lease now. It may take some milliseconds and is called for one
	// lease at a time, when the owner looks at it. Nil: not known.
	Traffic func(ctx context.Context, l lease.Lease) (Traffic, error)

	// Use tells how a lease has been used so far; false if that is not known. Minutes tells of the latest minutes, the oldest
	// first. They must not block. Nil: not known.
	Use     func(id lease.ID) (Use, bool)
	Minutes func(id lease.ID) []Minute

	// Counts asks the firewall how often leases have been used. It may take some milliseconds. Nil: nobody counts.
	Counts func(ctx context.Context, all []lease.Lease) (map[lease.ID]Used, error)

	// MAC returns the hardware address of a LAN host, "" when unknown; Addrs by which addresses a device is there now, the
	// latest of IPv4 first. They must not take long. Nil: never known, never there.
	MAC   func(addr netip.Addr) string
	Addrs func(mac string) []netip.Addr

	// Settings are those of the configuration file, to be shown, and ConfigFile says which file that is.
	Settings   []Setting
	ConfigFile ConfigFile

	// Check looks whether this machine does what it should, as the command line's check does. It may take some hundred
	// milliseconds, and is called for one at a time. Nil: nothing is looked at.
	Check func(ctx context.Context) []Finding

	// Heard lists the hosts that said something to the servers in the last ten minutes, the latest first. It must not block.
	// Nil: nobody was heard.
	Heard func() []HeardHost

	// Neighbours lists who is on the LANs now; Vendor tells who has made a device, "" when unknown. They must not take
	// long. Nil: nobody, and unknown.
	Neighbours func() []Neighbour
	Vendor     func(mac string) string

	// Policy is what the configuration file says of it. What the core decides by, with what the owner sets, is in its snapshots.
	Policy lease.Policy

	// Answer tells how a protocol words what the core has answered to a kind of request: the code on the wire and its
	// name. An err of nil is success. Nil: not known, every code is 0.
	Answer func(a Action, err error) (code int, name string)

	// Notify tells the owner what happens. Nil: nobody is told, and nothing can be set.
	Notify Notify

	Logger *slog.Logger // nil: discard
}

// Server is the UI and API of one daemon. Make it with [New]; its methods may be used from several goroutines.
type Server struct {
	Config
	started time.Time
	owner   *owner
	audit   *auditLog
	streams *streams
	undos   undos
	hits    hits
	pages   *pages
	assets  *assets
	looking sync.Mutex // at the machine: only one at a time checks it
	lan     http.Handler
	local   http.Handler
}

// New prepares the server and opens no socket. When no password has been set yet it makes the first setup code
// and logs it. It fails if the configuration is incomplete or the records cannot be read.
func New(ctx context.Context, c Config) (*Server, error) {
	if c.Leases == nil || c.Records == nil || c.Facts == nil {
		return nil, errors.New("web: Leases, Records and Facts are required")
	}
	if c.OwnAddrs == nil {
		c.OwnAddrs = func() []netip.Addr { return nil }
	}
	if c.DeviceName == nil {
		c.DeviceName = func(lease.Lease) string { return "" }
	}
	if c.Traffic == nil {
		c.Traffic = func(context.Context, lease.Lease) (Traffic, error) { return Traffic{}, nil }
	}
	if c.Use == nil {
		c.Use = func(lease.ID) (Use, bool) { return Use{}, false }
	}
	if c.Counts == nil {
		c.Counts = func(context.Context, []lease.Lease) (map[lease.ID]Used, error) { return nil, nil }
	}
	if c.Minutes == nil {
		c.Minutes = func(lease.ID) []Minute { return nil }
	}
	if c.MAC == nil {
		c.MAC = func(netip.Addr) string { return "" }
	}
	if c.Addrs == nil {
		c.Addrs = func(string) []netip.Addr { return nil }
	}
	if c.Neighbours == nil {
		c.Neighbours = func() []Neighbour { return nil }
	}
	if c.Vendor == nil {
		c.Vendor = func(string) string { return "" }
	}
	if c.Answer == nil {
		c.Answer = func(Action, error) (int, string) { return 0, "" }
	}
	if c.Check == nil {
		c.Check = func(context.Context) []Finding { return nil }
	}
	if c.Heard == nil {
		c.Heard = func() []HeardHost { return nil }
	}
	if c.Clock == nil {
		c.Clock = lease.ReadClock
	}
	if c.Notify == nil {
		c.Notify = noNotify{}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{Config: c, started: c.Leases.Now(), streams: newStreams()}
	var err error
	o := newOutbox(c.Records, c.Logger)
	if s.owner, err = newOwner(ctx, c, o); err != nil {
		return nil, err
	}
	if s.audit, err = loadAudit(ctx, c.Records, o, c.Leases.Now, c.Logger); err != nil {
		return nil, fmt.Errorf("web: %w", err)
	}
	if s.assets, err = newAssets(); err != nil {
		return nil, fmt.Errorf("web: %w", err)
	}
	if s.pages, err = newPages(s.assets); err != nil {
		return nil, fmt.Errorf("web: %w", err)
	}
	s.lan = s.guard(s.lanRoutes())
	s.local = s.recovered(hardened(s.peersOnly(s.localRoutes())))
	return s, nil
}

// LAN returns the handler for browsers: host check, cross-origin protection, sessions. [Server.ServeLAN] adds
// the limits of time that a handler cannot set.
func (s *Server) LAN() http.Handler { return s.lan }
