package wan

import "slices"

// memory is what must be known of the past to say what is outside now.
type memory struct {
	last    string   // the interface that had the best default route when there was one
	outside []string // interfaces that have ever had a default route, sorted
}

// choose returns the interfaces that lead to the internet without being told by the configuration, and what to remember.
//
// A default route goes away for a moment whenever a line is dialled anew or an address is renewed; the mappings must not
// suffer by that, so the last interface stays. And an interface that once led outside may still lead there after its
// route has gone, so it must not be taken for a LAN for as long as we run. inside has the names of those that the owner
// calls LANs; they never lead outside, whatever routes they have: a spare gateway may well stand on a LAN.
func (m memory) choose(s state, inside []string) ([]Interface, memory) {
	var best link
	bestMetric := 0
	outside := slices.Clone(m.outside)
	for _, r := range s.routes {
		l, ok := s.byIndex(r.index)
		if !ok || slices.Contains(inside, l.name) {
			continue
		}
		if !slices.Contains(outside, l.name) {
			outside = append(outside, l.name)
		}
		if best.name == "" || r.metric < bestMetric {
			best, bestMetric = l, r.metric
		}
	}
	slices.Sort(outside)
	switch {
	case best.name != "":
		return []Interface{best.show()}, memory{last: best.name, outside: outside}
	case m.last != "":
		last := named(s, []string{m.last})
		last[0].Up = false // it has no way out now
		return last, memory{last: m.last, outside: outside}
	default:
		return nil, memory{outside: outside}
	}
}

// named returns the interfaces that the configuration names, whether they exist or not.
func named(s state, names []string) []Interface {
	interfaces := make([]Interface, len(names))
	for n, name := range names {
		if l, ok := s.byName(name); ok {
			interfaces[n] = l.show()
		} else {
			interfaces[n] = Interface{Name: name}
		}
	}
	return interfaces
}

func (l link) show() Interface {
	return Interface{Name: l.name, Index: l.index, Up: l.up, Dialled: l.dialled, Addrs: l.addrs, Speed: l.speed}
}
