package firewall

import (
	"context"

	"github.com/portreeve/portreeve/lease"
)

// Mark is the bit of the connection mark (connmark, "ct mark" in nftables) that a backend sets on the connections
// which a mapping has translated, and on no others. The forward chain accepts by it, so that a mapping opens the way
// for its own connections and never for those that somebody else's rules translate.
//
// Only this bit is written and compared. It is free of what is known to use marks on routers: 0xff of most hand-made
// policy routing, 0x80 of the AWS CNI, 0x3f00 of mwan3, 0x2000 to 0xc000 of Kubernetes, 0xff0000 of Tailscale and of
// OpenWrt's pbr, 0xf41 of Mullvad, 0xca6c of wg-quick. Calico takes 0xffff0000 by default, but of packets, not of
// connections. A program that overwrites the whole connection mark of others breaks mappings; there is no mark that
// would be safe from it.
const Mark uint32 = 0x10000000

// Backend makes a kernel follow the leases. Its methods may be called from any goroutine; one at a time
// is at work.
//
// When Sync or Apply returns the rules are in force: new connections go by them. What the rules cannot reach, the
// connections that a closed mapping had let in and those that are older than a mapping, ends soon after the call, usually
// within a tenth of a second, see [Ender] and [Connections.End]: to find them takes the kernel longer than all else, and
// whoever asks for a port would wait for it. A failure to end them is logged and tried again until it succeeds. If the
// process dies before it is done, the next Sync sees to it; Cleanup does so before the rules go. A kernel that cannot do it
// at all is shown by Check.
type Backend interface {
	lease.Firewall

	// Name tells which of the kernel's interfaces is used, for example "iptables (nf_tables)".
	Name() string

	// Why tells why this one was chosen, in a sentence for people.
	Why() string

	// Cleanup removes everything of ours and nothing else. Connections of mappings that were open live on, as far as the
	// owner's own rules let them. Without any rules of ours it does nothing. Sync brings the rules back.
	Cleanup(ctx context.Context) error

	// Watch calls changed when somebody else may have changed rules, until ctx is cancelled: soon after the kernel has
	// told so, and now and then without a reason. It may also be our own changes that it sees. A call of Sync then
	// finds out.
	Watch(ctx context.Context, changed func())

	// Check looks for what would keep mappings from working: missing rights, forwarding switched off, and the
	// like. It changes nothing. An empty list means that nothing was found.
	Check(ctx context.Context) []Problem
}

// Problem is something that is wrong with the router, and what its owner can do about it.
type Problem struct {
	What string // what is wrong, in a sentence without full stop
	Do   string // what to do, often a command
}
