package lan

import (
	"net/netip"
	"slices"
	"strings"
)

// link is what the kernel says of one interface.
type link struct {
	name         string
	index        int
	up           bool // switched on; a cable need not be plugged in
	loopback     bool
	pointToPoint bool
	prefixes     []netip.Prefix // IPv4
	prefixes6    []netip.Prefix
}

func (l link) with(prefixes []netip.Prefix) Interface {
	return Interface{Name: l.name, Index: l.index, Prefixes: prefixes, Prefixes6: l.prefixes6}
}

// named returns those of the links that the configuration names and that can be served, and says what is wrong with the
// others.
func named(links []link, names, outside []string) (found []Interface, missing []Missing) {
	for _, name := range names {
		i := slices.IndexFunc(links, func(l link) bool { return l.name == name })
		why := ""
		switch {
		case i < 0:
			why = "there is no such interface"
		case links[i].loopback:
			why = "it is the loopback interface"
		case slices.Contains(outside, name):
			why = "it is a WAN interface"
		case !links[i].up:
			why = "it is down"
		case len(links[i].prefixes) == 0:
			why = "it has no IPv4 address"
		default:
			found = append(found, links[i].with(links[i].prefixes))
			continue
		}
		missing = append(missing, Missing{Name: name, Why: why})
	}
	return found, missing
}

// likely returns the links that are LANs by all appearances: they are up, lead to a subnet of private addresses and not to
// the internet. Three kinds look similar but more often lead outside, and must be named to be served: links with
// addresses of the shared space 100.64.0.0/10 (RFC 6598), which providers and overlay networks use; point-to-point links;
// and single addresses without a subnet, as VPN clients have them.
func likely(links []link, outside []string) []Interface {
	var found []Interface
	for _, l := range links {
		if !l.up || l.loopback || l.pointToPoint || slices.Contains(outside, l.name) {
			continue
		}
		var private []netip.Prefix
		for _, p := range l.prefixes {
			// RFC 1918; IsPrivate has nothing else for IPv4.
			if p.Addr().IsPrivate() && p.Bits() <= 30 {
				private = append(private, p)
			}
		}
		if len(private) > 0 {
			found = append(found, l.with(private))
		}
	}
	slices.SortFunc(found, func(a, b Interface) int { return strings.Compare(a.Name, b.Name) })
	return found
}

// probation keeps an interface that looks like a LAN from being taken for one too early. At boot and when a line is dialled
// anew, an interface to the internet may have its address (a private one, behind another router) shortly before it has
// the default route by which we know it; in between it looks like a LAN.
type probation struct {
	trusted map[string]bool
	waiting map[string]int // how many ticks long
}

// probationTicks is after how many ticks of a second an interface is trusted: it has waited for one second at least.
const probationTicks = 2

func newProbation() *probation {
	return &probation{trusted: make(map[string]bool), waiting: make(map[string]int)}
}

// trust ends the probation of interfaces before it begins.
func (p *probation) trust(found []Interface) {
	for _, i := range found {
		p.trusted[i.Name] = true
	}
}

// admit returns the interfaces that are trusted, and whether others still wait. Trust goes by name, so that a LAN that
// was removed and made again does not wait; outside has the names that are not trusted any more.
func (p *probation) admit(found []Interface, outside []string, tick bool) (admitted []Interface, waiting bool) {
	for _, name := range outside {
		delete(p.trusted, name)
	}
	still := make(map[string]int)
	for _, i := range found {
		ticks := p.waiting[i.Name]
		if tick {
			ticks++
		}
		if p.trusted[i.Name] || ticks >= probationTicks {
			p.trusted[i.Name] = true
			admitted = append(admitted, i)
			continue
		}
		still[i.Name] = ticks
	}
	p.waiting = still
	return admitted, len(still) > 0
}
