package lease

import (
	"context"
	"net/netip"
	"time"
)

// Firewall makes the kernel match the leases. Package firewall has the implementations.
type Firewall interface {
	// Sync makes the kernel equal to the whole wanted state, whatever it found there of ours, and touches
	// nothing of anyone else. Doing it twice changes nothing. It returns how many of the wanted leases were not
	// wholly in the kernel before: all of them if what they share was not. After an error the kernel's state
	// is unknown and Sync is called again later.
	Sync(ctx context.Context, want Ruleset) (repaired int, err error)

	// Apply does one change in one kernel transaction: wholly or not at all. The state before it is that of
	// the last successful Sync or Apply; when the kernel turns out to differ, Apply fails and the manager
	// falls back to Sync.
	Apply(ctx context.Context, change Change) error
}

// Refresher is a [Firewall] whose kernel shuts a mapping by itself some time after its lease has ended, also if nobody
// is there any more to tell it to. It learns the end of a lease by Sync and by Apply, when the lease is added.
type Refresher interface {
	// Refresh tells the ends of leases that are in the kernel and were renewed since, in one transaction. After an error
	// nothing has changed, and Sync is called soon.
	Refresh(ctx context.Context, leases []Lease) error
}

// Mapper is a [Firewall] that can do more than the least: ports of TCP and UDP, and addresses with all protocols. Its
// kernel decides what.
type Mapper interface {
	// Maps tells whether there can be mappings like that one. It waits for neither disk nor network, and may be called
	// from any goroutine.
	Maps(m Mapping) bool
}

// Ruleset is the whole state that the kernel shall have.
type Ruleset struct {
	Topology
	Leases []Lease // in order of creation, no external port of a WAN twice
	NAT    NAT
}

// NAT is what the router does besides mappings.
type NAT struct {
	// Reserved lists what a DMZ host does not get: the ports that the router itself serves, in order.
	Reserved []Port

	// Masquerade makes the router translate the LANs' IPv4 addresses to its own, and let nothing in from outside that
	// nobody inside has asked for, for a machine where no other program does.
	Masquerade bool

	// Helpers have the kernel read along in protocols that carry addresses in their payload.
	Helpers []Helper
}

// Helper is one of the kernel's connection tracking helpers, for the connections that hosts of a LAN begin and for those
// that come to them by mappings.
type Helper struct {
	Name string // one of [HelperNames]
	LAN  string // the name of the interface; empty: every LAN
}

// HelperNames returns the helpers that there are.
func HelperNames() []string { return []string{"ftp", "h323", "irc", "pptp", "sip", "tftp"} }

// Change is the difference that one batch makes. A lease whose rules change (another internal port) is in
// both lists; a mere renewal is in neither. Remove comes first.
type Change struct {
	Remove, Add []Lease
}

// Empty tells whether there is nothing to do.
func (c Change) Empty() bool { return len(c.Remove) == 0 && len(c.Add) == 0 }

// Topology is what the router is connected to. Empty lists are legal: a WAN that is not up yet, a LAN
// that is not there. Mappings are then kept and become effective when the interface appears.
type Topology struct {
	WANs []WAN
	LANs []LAN
}

// WAN is an outside interface.
type WAN struct {
	Name  string
	Addrs []netip.Addr // IPv4; may be empty while the line is down
}

// LAN is an inside interface.
type LAN struct {
	Name     string
	Prefixes []netip.Prefix // the router's own address on this LAN with the length of the subnet's prefix
}

// Contains tells whether addr belongs to one of the LANs' subnets.
func (t Topology) Contains(addr netip.Addr) bool {
	for _, lan := range t.LANs {
		for _, p := range lan.Prefixes {
			if p.Contains(addr) {
				return true
			}
		}
	}
	return false
}

// Store keeps leases and events over restarts. Package boltstore has the implementation.
// The manager calls Load once, then Commit from one goroutine.
type Store interface {
	// Load returns what was kept. The remaining lifetimes are counted down by the time that has passed
	// since they were saved, as [Elapsed] tells from the clock readings then and now.
	Load(ctx context.Context, now Instant) (State, error)

	// Commit makes one batch durable, wholly or not at all, before it returns.
	Commit(ctx context.Context, batch Batch) error
}

// Relying is a [Store] that need not keep in memory what the manager has there. The manager calls Rely once, after Load.
type Relying interface {
	// Rely tells the store of whom to ask for all leases and events if it has lost its own, for example because somebody
	// has removed its file. They are those in force: what a Commit that is under way changes is not among them. The function
	// may be called at any time, from any goroutine, also by Commit.
	Rely(on func() (Batch, error))
}

// State is what a [Store] kept.
type State struct {
	Leases []Lease   // Expires is relative to the reading that Load was given; any order
	Events []Event   // oldest first
	Rules  []Rule    // any order
	Policy OwnPolicy // of Version 0 if none was ever saved
	Said   Said      // with times relative to the reading that Load was given
	Epoch  time.Duration
	// Notice tells the owner of something that went wrong with the kept state (a damaged file that was set
	// aside); empty if all is well.
	Notice string
}

// Batch is one transaction of a [Store].
type Batch struct {
	Now    Instant       // when: remaining lifetimes are saved relative to it
	Epoch  time.Duration // the epoch's age at Now
	Put    []Lease       // new or changed
	Delete []ID          // absent ones are no error
	Events []Event       // new, or the same Seq again with a higher count
	Forget []uint64      // the Seq of events that have left the history before their turn; absent ones are no error

	PutRules    []Rule // new or changed
	DeleteRules []ID   // absent ones are no error

	Policy *OwnPolicy // in place of the one before; nil: that stays
	Said   *Said      // the same; its times are saved relative to Now
}
