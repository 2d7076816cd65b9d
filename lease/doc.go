// Package lease decides which port mappings exist, for whom and until when, and keeps the store and the
// firewall in step with that decision.
//
// [Manager] is the only authority. Every protocol server, the web UI and the command line ask it the same
// question, a [Request], and get a [Lease] or one of the package's sentinel errors. One writer goroutine
// takes all waiting requests at once, decides each in order, commits the batch to the [Store], applies it
// to the [Firewall], publishes a new [Snapshot] and only then answers:
//
//	request -> queue -> [authorize, decide]* -> store -> firewall -> publish -> answer
//
// The package imports nothing of portreeve and nothing beyond the standard library; whatever it needs from
// outside (store, firewall, the router's own ports, who is on the LAN) it takes as small interfaces or
// functions in [Config].
package lease
