package lease

import (
	"container/heap"
	"time"
)

// deadlines is the leases ordered by the time they end: one heap, for which the manager keeps one timer.
type deadlines struct {
	items []*deadline
	byID  map[ID]*deadline
}

type deadline struct {
	id    ID
	at    time.Time
	index int
}

func newDeadlines() *deadlines { return &deadlines{byID: map[ID]*deadline{}} }

// set notes or moves a lease's end.
func (d *deadlines) set(id ID, at time.Time) {
	if item, ok := d.byID[id]; ok {
		item.at = at
		heap.Fix(d, item.index)
		return
	}
	item := &deadline{id: id, at: at}
	d.byID[id] = item
	heap.Push(d, item)
}

// drop forgets a lease; an unknown one is no error.
func (d *deadlines) drop(id ID) {
	if item, ok := d.byID[id]; ok {
		heap.Remove(d, item.index)
		delete(d.byID, id)
	}
}

// at returns a lease's end, and whether it is known.
func (d *deadlines) at(id ID) (time.Time, bool) {
	item, ok := d.byID[id]
	if !ok {
		return time.Time{}, false
	}
	return item.at, true
}

// next returns the earliest end, and whether there is any.
func (d *deadlines) next() (time.Time, bool) {
	if len(d.items) == 0 {
		return time.Time{}, false
	}
	return d.items[0].at, true
}

// due returns the leases that end at now or before. It is up to the caller to drop them.
func (d *deadlines) due(now time.Time) []ID {
	var ids []ID
	var walk func(i int)
	walk = func(i int) { // a heap's children never end before their parent
		if i >= len(d.items) || d.items[i].at.After(now) {
			return
		}
		ids = append(ids, d.items[i].id)
		walk(2*i + 1)
		walk(2*i + 2)
	}
	walk(0)
	return ids
}

// The methods of heap.Interface.

func (d *deadlines) Len() int           { return len(d.items) }
func (d *deadlines) Less(i, j int) bool { return d.items[i].at.Before(d.items[j].at) }

func (d *deadlines) Swap(i, j int) {
	d.items[i], d.items[j] = d.items[j], d.items[i]
	d.items[i].index, d.items[j].index = i, j
}

func (d *deadlines) Push(x any) {
	item := x.(*deadline)
	item.index = len(d.items)
	d.items = append(d.items, item)
}

func (d *deadlines) Pop() any {
	last := d.items[len(d.items)-1]
	d.items = d.items[:len(d.items)-1]
	return last
}
