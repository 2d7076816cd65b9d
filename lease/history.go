package lease

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// history is the latest events. Events that repeat (a client that renews, or is refused again and again) are
// counted in one place, so that no client pushes the rest out of it by asking alone. One that opens and closes without end
// pushes out its own, once it fills its share. Events are replaced, never changed.
type history struct {
	events []*Event // in order of Seq
	seq    uint64
	open   map[string]uint64 // by what repeats: the Seq of the event that counts it
	denied map[string]int    // by client: how many events are refusals

	held      map[string]int  // by device: how many events are about it
	crowds    map[string]bool // the devices that have more than their share, which are few
	left      []uint64        // what has left since somebody looked
	forgotten []uint64        // what has left before its turn and may still be in the store

	repaired time.Time // when somebody else's change of the rules was last mended, since the start
}

// deniedPerClient is how many different refusals of one client are told apart; what comes beyond is counted in
// one more event. So a host that tries all ports leaves the history to the others.
const deniedPerClient = 32

// historyShare is how many events one device may have when the history is full, before its own make room for others.
const historyShare = HistorySize / 4

func newHistory(events []Event) *history {
	h := &history{open: map[string]uint64{}, denied: map[string]int{}, held: map[string]int{}, crowds: map[string]bool{}}
	for i := range events {
		h.events = append(h.events, &events[i])
		h.seq = max(h.seq, events[i].Seq)
		h.count(&events[i], 1)
	}
	return h
}

// plan returns the events as they would be recorded now, each with its Seq and count, and changes nothing: they
// go to the store with the batch that causes them and are shown only after it.
func (h *history) plan(events []Event, now time.Time) []Event {
	var planned []Event
	at := map[string]int{} // by key: index in planned
	seq := h.seq
	for _, e := range events {
		e.Time, e.Count = now, 1
		key := h.key(&e)
		if i, ok := at[key]; ok && key != "" {
			e.Seq, e.Count = planned[i].Seq, planned[i].Count+1
			planned[i] = e
			continue
		}
		if i, ok := h.find(key); ok {
			e.Seq, e.Count = h.events[i].Seq, h.events[i].Count+1
		} else {
			seq++
			e.Seq = seq
		}
		at[key] = len(planned)
		planned = append(planned, e)
	}
	return planned
}

// record takes in what plan returned.
func (h *history) record(planned []Event) {
	for i := range planned {
		e := &planned[i]
		if e.Kind == EventRepaired {
			h.repaired = e.Time
		}
		if e.Seq <= h.seq {
			if at, ok := h.at(e.Seq); ok {
				h.events[at] = e
			}
			continue
		}
		h.seq = e.Seq
		if key := h.key(e); key != "" {
			h.open[key] = e.Seq
		}
		h.events = append(h.events, e)
		h.count(e, 1)
		if len(h.events) > HistorySize {
			h.makeRoom()
		}
	}
}

// makeRoom takes out the oldest event of the device that has the most and more than its share, else the oldest of all.
func (h *history) makeRoom() {
	worst := ""
	for device := range h.crowds {
		if n := cmp.Compare(h.held[device], h.held[worst]); worst == "" || n > 0 || n == 0 && device < worst {
			worst = device
		}
	}
	i := 0
	if worst != "" {
		i = slices.IndexFunc(h.events, func(e *Event) bool { return e.device() == worst })
	}
	if h.forget(h.events[i]); i > 0 { // the store knows by itself that the oldest go
		h.forgotten = append(h.forgotten, h.events[i].Seq)
	}
	h.left = append(h.left, h.events[i].Seq)
	h.events = slices.Delete(h.events, i, i+1)
	if over := len(h.forgotten) - HistorySize; over > 0 {
		h.forgotten = slices.Delete(h.forgotten, 0, over)
	}
}

// device names the device that an event is about, empty for none.
func (e *Event) device() string {
	switch l := &e.Lease; {
	case l.Device != "":
		return l.Device
	case l.Internal.Addr().IsValid():
		return l.Internal.Addr().String()
	default:
		return ""
	}
}

// key returns what makes two events the same one again, empty for those that are never counted together.
func (h *history) key(e *Event) string {
	key := e.repeats()
	if _, known := h.open[key]; !known && h.denied[e.deniedTo()] >= deniedPerClient {
		return "denied " + e.deniedTo()
	}
	return key
}

func (h *history) forget(e *Event) {
	h.count(e, -1)
	for _, key := range []string{e.repeats(), "denied " + e.deniedTo()} {
		if h.open[key] == e.Seq {
			delete(h.open, key)
		}
	}
}

func (h *history) count(e *Event, by int) {
	if device := e.device(); device != "" {
		if h.held[device] += by; h.held[device] == 0 {
			delete(h.held, device)
		}
		if h.held[device] > historyShare {
			h.crowds[device] = true
		} else {
			delete(h.crowds, device)
		}
	}
	client := e.deniedTo()
	if client == "" {
		return
	}
	if h.denied[client] += by; h.denied[client] == 0 {
		delete(h.denied, client)
	}
}

// deniedTo returns the client that was refused, empty for other events.
func (e *Event) deniedTo() string {
	if e.Kind != EventDenied {
		return ""
	}
	return e.Lease.Client.String()
}

func (h *history) find(key string) (int, bool) {
	seq, ok := h.open[key]
	if !ok {
		return 0, false
	}
	return h.at(seq)
}

func (h *history) at(seq uint64) (int, bool) {
	return slices.BinarySearchFunc(h.events, seq, func(e *Event, seq uint64) int {
		return cmp.Compare(e.Seq, seq)
	})
}

// repeats is the key of an event whose client is not over its limit.
func (e *Event) repeats() string {
	switch e.Kind {
	case EventRenewed:
		return "renewed " + string(e.Lease.ID)
	case EventDenied:
		return fmt.Sprintf("denied %s %s %s %s", e.By, e.Lease.Client, e.Lease.Mapping, e.Reason)
	case EventRule:
		if e.By == OriginRouter { // a device comes and goes, as often as it likes
			return "rule " + e.Reason
		}
	default:
	}
	return ""
}

// all returns the events for a snapshot. The slice is the caller's.
func (h *history) all() []*Event { return slices.Clone(h.events) }
