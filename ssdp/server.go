package ssdp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
)

// maxPending is how many delayed answers of one interface may wait at the same time. The rate limits keep it
// far below; this bounds memory whatever they are.
const maxPending = 64

// maxConfigID is the highest number that a device may choose itself (UDA 1.1, section 1.2.2).
const maxConfigID = 1<<24 - 1

// Config is what a [Server] tells the LAN. Targets, Location, BootID and Log are required.
type Config struct {
	// Targets is what is announced, in this order. A search for everything is answered in this order as well,
	// and some clients read only the first answer: begin with what they look for.
	Targets []Target

	// Location returns the URL of the description on one of our addresses. Clients want the address itself in
	// it and the port, never a name. What a search asked for is its target, without the version, and its version, 0 if it
	// named none; for announcements they are empty and 0. It must return the same for the same arguments.
	Location func(addr netip.Addr, target string, version int) string

	// Product is header SERVER: "OS/version UPnP/1.1 product/version".
	Product string

	// ConfigID is a number between 0 and 16777215 that is another one whenever the description is.
	ConfigID uint32

	// BootID returns a number that is greater after every restart; seconds since 1970 are. It is cut to 31 bits. When an
	// interface or an address comes or changes the number is asked for again, and is raised if it has not grown.
	BootID func() uint32

	// Heard is told of each host that searches for one of the targets, whether it is answered or not. It must not block. Nil:
	// nobody wants to know.
	Heard func(host netip.Addr)

	// Log takes what the owner may want to know.
	Log *slog.Logger
}

// Server announces targets and answers searches for them.
type Server struct {
	config Config
	boots  *boots
}

// New returns a server, or an error that names the fault of the configuration. It opens nothing.
func New(config Config) (*Server, error) {
	err := errors.Join(checkTargets(config.Targets), checkField("product", config.Product))
	if config.ConfigID > maxConfigID {
		err = errors.Join(err, fmt.Errorf("config ID %d must be between 0 and %d", config.ConfigID, maxConfigID))
	}
	if config.Location == nil || config.BootID == nil || config.Log == nil {
		err = errors.Join(err, errors.New("location, boot ID and log must be given"))
	}
	if err != nil {
		return nil, fmt.Errorf("ssdp: %w", err)
	}
	if config.Heard == nil {
		config.Heard = func(netip.Addr) {}
	}
	config.Targets = slices.Clone(config.Targets)
	return &Server{config: config, boots: newBoots(config.BootID)}, nil
}

// Interface is a LAN that is served.
type Interface struct {
	Name  string // for messages
	Index int    // the kernel's number of it

	// Prefixes are our addresses there of one family, each with the length of its subnet's prefix; at least one. A search is
	// answered with the address in the asker's subnet. Of IPv4 the first is announced; of IPv6 the first link-local one to the
	// hosts of the link, and the first global one, or else the first unique local one, to those of the site.
	Prefixes []netip.Prefix
}

// Serve announces the targets on one interface and answers searches there until ctx is cancelled; then it
// takes the announcements back and returns nil. An error means that the socket cannot be used as needed, or
// not any more. One Server may serve several interfaces at the same time, and each by both families.
//
// The socket must be a UDP socket of the family of the addresses, bound to port 1900 of the unspecified address and to the
// interface (SO_BINDTODEVICE); Serve closes it in any case. Serve calls ready once it can be found, before it says or
// answers anything.
func (s *Server) Serve(ctx context.Context, conn net.PacketConn, ifc Interface, ready func()) error {
	err := s.serve(ctx, conn, ifc, ready)
	// The socket is of no more use to anyone, so there is nothing to be done about an error of this.
	_ = conn.Close()
	if err != nil {
		return fmt.Errorf("ssdp on %s: %w", ifc.Name, err)
	}
	return nil
}

func (s *Server) serve(ctx context.Context, conn net.PacketConn, ifc Interface, ready func()) error {
	r, voices, err := s.responder(ifc)
	if err != nil {
		return err
	}
	l, err := join(conn, ifc.Index, r.groups)
	if err != nil {
		return err
	}
	tell := r.teller(l, voices)
	alive := func() { tell(func(t Target, v voice) []byte { return r.alive(t, v.group, r.location(v.from, "", 0)) }) }
	byebye := func() { tell(func(t Target, v voice) []byte { return r.byebye(t, v.group) }) }
	m := &member{boot: r.boot, renewed: make(chan struct{}, 1), update: func(next uint32) {
		tell(func(t Target, v voice) []byte { return r.update(t, v.group, r.location(v.from, "", 0), next) })
	}}

	ready()
	defer s.boots.leave(m)
	if s.boots.join(ctx, m); ctx.Err() != nil {
		return nil // nothing has been said
	}
	tasks, ctx := errgroup.WithContext(ctx)
	tasks.Go(func() error { announce(ctx, m.renewed, alive, byebye); return nil })
	tasks.Go(func() error { return r.listen(ctx, l) })
	tasks.Go(func() error { <-ctx.Done(); return l.interrupt() })
	err = tasks.Wait()
	s.boots.leave(m) // who says goodbye has nothing more to tell
	farewell(byebye)
	return err
}

// teller returns a function that sends one message for each target that is announced, by each voice.
func (r *responder) teller(l link, voices []voice) func(message func(Target, voice) []byte) {
	return func(message func(Target, voice) []byte) {
		for _, v := range voices {
			for _, t := range r.targets {
				if t.hidden() {
					continue
				}
				if err := l.send(message(t, v), v.from, v.group); err != nil {
					// The rest would fare no better, and there will be a next time.
					r.log.Debug("cannot announce", "address", v.from, "err", err)
					break
				}
			}
		}
	}
}

func (s *Server) responder(ifc Interface) (*responder, []voice, error) {
	all, groups, voices, err := places(ifc.Prefixes)
	if err != nil {
		return nil, nil, err
	}
	r := &responder{
		identity: identity{product: s.config.Product, config: s.config.ConfigID, boot: new(atomic.Uint32)},
		targets:  s.config.Targets,
		places:   all,
		groups:   groups,
		location: s.config.Location,
		heard:    s.config.Heard,
		limit:    newLimiter(),
		log:      s.config.Log.With("proto", "ssdp", "interface", ifc.Name),
		warn:     rate.Sometimes{Interval: time.Minute},
	}
	return r, voices, r.checkLocations()
}

// checkLocations refuses URLs that do not fit into a message.
func (r *responder) checkLocations() error {
	for _, p := range r.places {
		locations := []string{r.location(p.addr(), "", 0), r.location(p.addr(), everything, 0)}
		for _, t := range r.targets {
			for version := min(1, t.Version); version <= t.Version; version++ {
				locations = append(locations, r.location(p.addr(), t.searched(), version))
			}
		}
		for _, location := range locations {
			if err := checkField("location", location); err != nil {
				return err
			}
		}
	}
	return nil
}

// listen answers searches until ctx is cancelled.
func (r *responder) listen(ctx context.Context, l link) error {
	var pending errgroup.Group // none of its functions fails
	pending.SetLimit(maxPending)
	defer func() { _ = pending.Wait() }()
	buffer := make([]byte, maxPacket+1) // one more, by which a longer packet is known
	for {
		n, src, dst, err := l.read(buffer)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("receive: %w", err)
		}
		a := r.handle(src, dst, buffer[:n])
		send := func(message []byte) {
			if err := l.send(message, a.from, src); err != nil {
				r.log.Debug("cannot answer a search", "client", src.Addr(), "err", err)
			}
		}
		if a.within == 0 {
			deliver(ctx, a, send)
			continue
		}
		pending.TryGo(func() error { deliver(ctx, a, send); return nil })
	}
}
