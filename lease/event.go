package lease

import (
	"iter"
	"time"
)

// EventKind is what happened to a lease or a request.
type EventKind string

// The kinds of events.
const (
	EventOpened  EventKind = "opened"  // a new lease
	EventRenewed EventKind = "renewed" // the client asked again; repeated renewals are one event with a count
	EventChanged EventKind = "changed" // the client asked again, for another internal endpoint or other filters; or the owner has amended it
	EventClosed  EventKind = "closed"  // by client, owner, expiry or because the device left: see Reason
	EventDenied  EventKind = "denied"  // a request was refused; repeated refusals are one event with a count
	EventTrouble EventKind = "trouble" // store or firewall failed, or work again: see Reason

	EventRule EventKind = "rule" // the owner has added, changed or removed a rule, or it has ended: see Reason

	EventPolicy EventKind = "policy" // the owner has changed the policy: see Reason

	EventRepaired EventKind = "repaired" // rules that somebody else had removed or changed stand again: see Reason
)

// Event is one line of the history: who opened, renewed, closed or was denied what, when and why.
type Event struct {
	Seq    uint64    // strictly growing; an event that is counted up keeps its Seq
	Time   time.Time // wall clock, of the latest occurrence
	Kind   EventKind
	By     Origin // who caused it
	Who    string // the account in whose name it was done, see [WithAccount]; empty for what nobody with an account did
	Lease  Lease  // as it was then; for a denied request the mapping that was asked for, without ID
	Reason string // for people: why, in one line
	Trace  Trace  // how the policy decided; for opened and denied
	Count  int    // how often, at least 1

	// Rule is what has become of a rule, for [EventRule]; nil for the others, and for events of versions that did not tell.
	Rule *RuleNews
}

// HistorySize is how many events are kept; the oldest go first, those of a device that has more than a quarter before others. With the reasons of a decision an event takes a kilobyte, in
// memory and on disk.
const HistorySize = 2000

// EachEvent yields the history like [Snapshot.Events], one by one, for who looks often and wants few.
func (s *Snapshot) EachEvent() iter.Seq[Event] {
	return func(yield func(Event) bool) {
		for _, e := range s.events {
			if !yield(*e) {
				return
			}
		}
	}
}
