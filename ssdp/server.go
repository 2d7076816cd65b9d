package ssdp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
)

// maxPending is how many delayed answers of one interface may wait at the same time. The rate limits keep it
// far below; this bounds memory whatever they are.
const maxPending = 64

// maxConfigID is the highest number that a device may choose itself (UDA 1.1, section 1.2.2).
const maxConfigID = 1<<24 - 1

// Config is what a [Server] tells the LAN.
type Config struct {
	// Targets is what is announced, in this order. A search for everything is answered in this order as well,
	// and some clients read only the first answer: begin with what they look for.
	Targets []Target

	// Location returns the URL of the description on one of our addresses. Clients want the address itself in
	// it and the port, never a name. It must return the same for the same address.
	Location func(addr netip.Addr) string

	// Product is header SERVER: "OS/version UPnP/1.1 product/version".
	Product string

	// ConfigID is a number between 0 and 16777215 that is another one whenever the description is.
	ConfigID uint32

	// Log takes what the owner may want to know. Required.
	Log *slog.Logger
}

// Server announces targets and answers searches for them.
type Server struct {
	config Config
}

// New returns a server, or an error that names the fault of the configuration. It opens nothing.
func New(config Config) (*Server, error) {
	err := errors.Join(checkTargets(config.Targets), checkField("product", config.Product))
	if config.ConfigID > maxConfigID {
		err = errors.Join(err, fmt.Errorf("config ID %d must be between 0 and %d", config.ConfigID, maxConfigID))
	}
	if err != nil {
		return nil, fmt.Errorf("ssdp: %w", err)
	}
	config.Targets = slices.Clone(config.Targets)
	return &Server{config: config}, nil
}

// Interface is a LAN that is served.
type Interface struct {
	Name  string // for messages
	Index int    // the kernel's number of it

	// Prefixes are our IPv4 addresses there, each with the length of its subnet's prefix; at least one. The
	// first is announced. A search is answered with the address in the asker's subnet. IPv6 is passed over.
	Prefixes []netip.Prefix

	// BootID must grow whenever serving begins anew, because of a restart or of another address, and be the
	// same on all interfaces that begin together; seconds since 1970 do. Up to 2^31-1.
	BootID uint32
}

// Serve announces the targets on one interface and answers searches there until ctx is cancelled; then it
// takes the announcements back and returns nil. An error means that the socket cannot be used as needed, or
// not any more. One Server may serve several interfaces at the same time.
//
// The socket must be an IPv4 UDP socket, bound to port 1900 of the unspecified address and to the interface
// (SO_BINDTODEVICE); Serve closes it in any case. Serve calls ready once it can be found, before it says or
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
	r, err := s.responder(ifc)
	if err != nil {
		return err
	}
	home := r.places[0]
	l, err := join(conn, ifc.Index, home.prefix.Addr())
	if err != nil {
		return err
	}
	tell := func(message func(Target) []byte) {
		for _, t := range r.targets {
			if err := l.multicast(message(t)); err != nil {
				// The rest would fare no better, and there will be a next time.
				r.log.Debug("cannot announce", "err", err)
				return
			}
		}
	}
	alive := func() { tell(func(t Target) []byte { return r.alive(t, home.location) }) }
	byebye := func() { tell(r.byebye) }

	ready()
	tasks, ctx := errgroup.WithContext(ctx)
	tasks.Go(func() error { announce(ctx, alive, byebye); return nil })
	tasks.Go(func() error { return r.listen(ctx, l) })
	tasks.Go(func() error { <-ctx.Done(); return l.interrupt() })
	err = tasks.Wait()
	farewell(byebye)
	return err
}

func (s *Server) responder(ifc Interface) (*responder, error) {
	if ifc.BootID > math.MaxInt32 {
		return nil, fmt.Errorf("boot ID %d must be between 0 and %d", ifc.BootID, math.MaxInt32)
	}
	r := &responder{
		identity: identity{product: s.config.Product, boot: ifc.BootID, config: s.config.ConfigID},
		targets:  s.config.Targets,
		limit:    newLimiter(),
		log:      s.config.Log.With("proto", "ssdp", "interface", ifc.Name),
		warn:     rate.Sometimes{Interval: time.Minute},
	}
	for _, p := range ifc.Prefixes {
		if !p.Addr().Is4() {
			continue
		}
		location := s.config.Location(p.Addr())
		if err := checkField("location", location); err != nil {
			return nil, err
		}
		r.places = append(r.places, place{prefix: p, location: location})
	}
	if len(r.places) == 0 {
		return nil, errors.New("the interface has no IPv4 address")
	}
	return r, nil
}

// listen answers searches until ctx is cancelled.
func (r *responder) listen(ctx context.Context, l *link) error {
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
