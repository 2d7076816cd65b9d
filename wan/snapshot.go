package wan

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// Interface is one that leads to the internet, or would if it were there. It is a value that never changes.
type Interface struct {
	Name  string
	Index int // the kernel's number of it; 0 while it does not exist

	// Up tells whether it can carry packets to the internet as far as the kernel knows: the link is up and, unless the
	// interface was named by the configuration, the default route leads through it.
	Up bool

	// Addrs are its IPv4 addresses of global scope in the kernel's order: the primary one comes first. They may outlive
	// Up for a while, and are empty while a line is being dialled.
	Addrs []netip.Addr

	// Dialled tells whether it is a line of PPP.
	Dialled bool

	// Speed of the link in bits a second; 0 when unknown, as it is for dialled lines and virtual links.
	Speed uint64

	// Since is when the interface was first seen up with its present first address; zero while it has none or is not up. It
	// carries a monotonic reading.
	Since time.Time
}

// Addr returns the primary address; the zero address if there is none.
func (i Interface) Addr() netip.Addr {
	if len(i.Addrs) == 0 {
		return netip.Addr{}
	}
	return i.Addrs[0]
}

// Kind classifies the primary address.
func (i Interface) Kind() Kind { return KindOf(i.Addr()) }

// Connected tells whether it is up and has an address.
func (i Interface) Connected() bool { return i.Up && i.Addr().IsValid() }

// Note says in one or two sentences what the state of the interface means for the owner.
func (i Interface) Note() string {
	switch {
	case i.Index == 0:
		return fmt.Sprintf("%s does not exist at the moment. Its line may be down or being dialled.", i.Name)
	case !i.Up:
		return fmt.Sprintf("%s has no connection at the moment.", i.Name)
	}
	switch i.Kind() {
	case None:
		return fmt.Sprintf("%s has no IPv4 address at the moment.", i.Name)
	case Public:
		return fmt.Sprintf("%s has the public address %s. Ports that are opened here can be reached from the internet.", i.Name, i.Addr())
	case Private:
		return fmt.Sprintf("%s has the private address %s: another router stands between this one and the internet (double NAT). "+
			"Ports that are opened here can be reached from the internet only if that router forwards them too.", i.Name, i.Addr())
	case Shared:
		return fmt.Sprintf("%s has the shared address %s: the provider puts several customers behind one public address (carrier-grade NAT). "+
			"Ports that are opened here cannot be reached from the internet; the provider may offer a public address on request.", i.Name, i.Addr())
	default:
		return fmt.Sprintf("%s has the address %s, which is not used on the internet. "+
			"Ports that are opened here cannot be reached from there.", i.Name, i.Addr())
	}
}

func (i Interface) equal(other Interface) bool {
	return i.Name == other.Name && i.Index == other.Index && i.Up == other.Up && i.Dialled == other.Dialled && i.Speed == other.Speed &&
		slices.Equal(i.Addrs, other.Addrs) && i.Since.Equal(other.Since)
}

// Snapshot is what is known of the outside at one moment. It never changes.
type Snapshot struct {
	// Interfaces are those that lead to the internet: in the order of the configuration if it names them, whether they exist
	// or not; else the one with the default route. When there is no such route any more, the last one that had it
	// stays, because it will most likely come back. Empty only if none was ever known.
	Interfaces []Interface

	outside []string
	changed chan struct{}
}

// Changed returns a channel that is closed when the snapshot is superseded by another one.
func (s *Snapshot) Changed() <-chan struct{} { return s.changed }

// Primary returns the first interface that is connected, or else the first of all; false if there is none.
func (s *Snapshot) Primary() (Interface, bool) {
	if i := slices.IndexFunc(s.Interfaces, Interface.Connected); i >= 0 {
		return s.Interfaces[i], true
	}
	if len(s.Interfaces) > 0 {
		return s.Interfaces[0], true
	}
	return Interface{}, false
}

// Addr returns the address by which the router is known outside: that of the primary interface while it is connected,
// else the zero address.
func (s *Snapshot) Addr() netip.Addr {
	if i, ok := s.Primary(); ok && i.Connected() {
		return i.Addr()
	}
	return netip.Addr{}
}

// Note says what the state of the outside means for the owner.
func (s *Snapshot) Note() string {
	i, ok := s.Primary()
	if !ok {
		return "No way to the internet is known: there is no IPv4 default route."
	}
	return i.Note()
}

// Topology returns the outside as the core wants it.
func (s *Snapshot) Topology() []lease.WAN {
	wans := make([]lease.WAN, len(s.Interfaces))
	for n, i := range s.Interfaces {
		wans[n] = lease.WAN{Name: i.Name, Addrs: i.Addrs}
	}
	return wans
}

func (s *Snapshot) equal(other *Snapshot) bool {
	return slices.EqualFunc(s.Interfaces, other.Interfaces, Interface.equal) && slices.Equal(s.outside, other.outside)
}
