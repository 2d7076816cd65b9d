// Package firewall makes the kernel match the leases.
//
// A [Backend] does so with one of the kernel's interfaces: packages firewall/nftables and
// firewall/iptables. [Fake] does so in memory, for tests. All of them pass the suite in package firewall/conformance,
// the real ones with packets.
//
// What every backend promises: it writes rules of its own and touches nobody else's; rules are found again
// after a crash, because they can be told by their names; a change is in force wholly or not at all.
package firewall
