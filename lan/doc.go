// Package lan knows who is on the inside: the LAN interfaces with their addresses, followed while they come
// and go, the hosts behind them, and the ports that the router serves itself. It also opens the sockets by which the
// protocol servers hear the LAN and nothing but the LAN; a [Limiter] keeps one host from filling them.
//
// A [Watcher] follows the kernel. Whoever depends on the LANs loops: [Watcher.Snapshot], act on the difference,
// wait for [Snapshot.Changed]; [Watcher.EachAddr] and [Watcher.EachInterface] do that for servers.
//
// Netlink events are only taken as a hint that something has changed; then everything is read again. So nothing
// depends on having seen every event, which the kernel does not promise.
package lan
