// Package wan knows what lies outside: which interface leads to the internet, with which address, and what that address
// means for those who want to be reached.
//
// A [Watcher] follows the kernel and never gives up because there is no way out: then its [Snapshot] says so. Whoever
// depends on it loops: [Watcher.Snapshot], act on the difference, wait for [Snapshot.Changed].
//
// Netlink events are only taken as a hint that something has changed; then everything is read again. So nothing
// depends on having seen every event, which the kernel does not promise.
package wan
