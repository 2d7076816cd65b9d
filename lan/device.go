package lan

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
)

// sighting is an entry of the kernel's neighbour tables that has a hardware address, and so may be a device that is there.
type sighting struct {
	addr    netip.Addr
	index   int    // of the interface
	state   int    // one of netlink.NUD_*
	updated uint32 // how long ago the entry has changed, in clock ticks of the kernel
}

// sure tells whether the device has answered by this address lately, or somebody has written the entry by hand.
func (s sighting) sure() bool { return s.state&(netlink.NUD_REACHABLE|netlink.NUD_PERMANENT) != 0 }

// device is one whose addresses are asked for. What the kernel has seen of it does not tell by which of several IPv4 addresses
// it is there now: the old one of a device that has got another is held for good for up to a minute, and one that has two for
// ever has them in turns. So when the kernel sees it by another address than before, both are made to answer. As long as the
// one that it had answers, that stays the first.
type device struct {
	asked  int // the round in which somebody asked last
	addrs  []netip.Addr
	first  netip.Addr // of the IPv4 addresses; invalid: none
	known  map[netip.Addr]known
	rival  netip.Addr // seen while there was another; valid: a decision is due
	spoke  bool       // the rival has shown itself, not only we asked about it
	waited int        // for how many beats the answers have been waited for
	limit  int        // how many are enough
}

// known is what is remembered of an address.
type known struct {
	state  int  // as it was last
	probed int  // the round in which it was last made to answer; 0: never
	asking bool // the kernel was seen to ask it

	silent bool // it did not answer in time, which cost it the first place
}

// patience is how many beats an address gets to answer before its silence counts; longPatience where only a late answer of
// another has raised the question, which some devices that sleep are late with by all their addresses.
const (
	patience     = 3
	longPatience = 10
)

// probeEach is after how many rounds an address that is idle is made to answer again.
const probeEach = 6

// see takes note of what the kernel knows of the device now, and returns the addresses that are to be made to answer. With
// beat the time of waiting has gone on.
func (d *device) see(seen []sighting, round int, beat bool) (probe []sighting) {
	slices.SortFunc(seen, func(a, b sighting) int {
		return cmp.Or(cmp.Compare(rank(b), rank(a)), cmp.Compare(a.updated, b.updated), a.addr.Compare(b.addr))
	})
	byAddr := map[netip.Addr]sighting{}
	for _, s := range seen {
		byAddr[s.addr] = s
	}
	probe = d.choose(seen, byAddr, beat)
	for _, s := range seen {
		if s.state == netlink.NUD_STALE && !slices.Contains(probe, s) && (d.known[s.addr].probed == 0 || round-d.known[s.addr].probed >= probeEach) {
			probe = append(probe, s)
		}
	}
	d.remember(seen, probe, round)
	d.addrs = d.addrs[:0:0]
	for _, s := range seen {
		if s.addr.Is6() || d.first.IsValid() {
			d.addrs = append(d.addrs, s.addr)
		}
	}
	slices.SortStableFunc(d.addrs, func(a, b netip.Addr) int { return d.place(a) - d.place(b) })
	return probe
}

// rank orders what is known with certainty before what is not, and that before what has not been asked for long.
func rank(s sighting) int {
	switch {
	case s.sure():
		return 2
	case s.state == netlink.NUD_STALE:
		return 0
	default:
		return 1
	}
}

func (d *device) place(a netip.Addr) int {
	switch {
	case a == d.first:
		return 0
	case a.Is4():
		return 1
	default:
		return 2
	}
}

// choose decides which IPv4 address is the first.
func (d *device) choose(seen []sighting, byAddr map[netip.Addr]sighting, beat bool) (probe []sighting) {
	if d.rival.IsValid() {
		d.decide(byAddr, beat)
	}
	if _, there := byAddr[d.first]; !there {
		d.first, d.rival = netip.Addr{}, netip.Addr{}
	}
	for _, s := range seen {
		switch {
		case !s.addr.Is4() || s.addr == d.first || d.rival.IsValid():
		case !d.first.IsValid() && d.known[s.addr].silent && !s.sure() && !d.shows(s):
			// It has left this one for another, which is gone now: that it is back here is to be shown.
			if s.state == netlink.NUD_STALE {
				probe = append(probe, s)
			}
		case !d.first.IsValid():
			d.first = s.addr
		case d.known == nil || d.shows(s):
			d.rival, d.spoke, d.waited, d.limit = s.addr, d.known != nil, 0, patience
			probe = append(probe, byAddr[d.first], s)
		case s.sure() && d.known[s.addr].silent:
			d.rival, d.spoke, d.waited, d.limit = s.addr, false, 0, longPatience
			probe = append(probe, byAddr[d.first])
		}
	}
	return slices.DeleteFunc(probe, func(s sighting) bool { return s.state == netlink.NUD_PERMANENT })
}

// shows tells whether the device was heard by an address since the last look: it is new, or not idle any more, or while it is
// asked for something else came from there than an answer, to which the kernel does not go back by itself.
func (d *device) shows(s sighting) bool {
	last, ok := d.known[s.addr]
	switch {
	case !ok:
		return true
	case last.asking:
		return s.state&(netlink.NUD_STALE|netlink.NUD_DELAY) != 0
	default:
		return last.state == netlink.NUD_STALE && s.state != netlink.NUD_STALE
	}
}

// decide ends the rivalry of two addresses once that can be done.
func (d *device) decide(byAddr map[netip.Addr]sighting, beat bool) {
	first, firstThere := byAddr[d.first]
	rival, rivalThere := byAddr[d.rival]
	if beat {
		d.waited++
	}
	switch {
	case firstThere && d.waited < d.limit && !first.sure() && rivalThere:
		return
	case firstThere && first.sure():
	case rivalThere && (rival.sure() || d.spoke):
		if k, ok := d.known[d.first]; ok {
			k.silent = true
			d.known[d.first] = k
		}
		d.first = d.rival
	}
	d.rival = netip.Addr{}
}

func (d *device) remember(seen, probe []sighting, round int) {
	before := d.known
	d.known = map[netip.Addr]known{}
	for _, s := range seen {
		k := before[s.addr]
		k.state, k.asking, k.silent = s.state, s.state == netlink.NUD_PROBE, k.silent && !s.sure()
		if slices.Contains(probe, s) {
			k.state, k.probed = netlink.NUD_PROBE, round // what comes of that is our doing
		}
		d.known[s.addr] = k
	}
}
