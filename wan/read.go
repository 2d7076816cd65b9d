package wan

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// link is what the kernel says of one interface.
type link struct {
	name    string
	index   int
	up      bool // switched on, and with a carrier if it is of the kind that knows
	dialled bool // of PPP
	addrs   []netip.Addr
	speed   uint64
}

// route is a way to everywhere.
type route struct {
	index  int // of the interface
	metric int // the lowest is used
}

// state is what the kernel says at one moment.
type state struct {
	links  []link
	routes []route // in the kernel's order
}

func (s state) byName(name string) (link, bool) {
	for _, l := range s.links {
		if l.name == name {
			return l, true
		}
	}
	return link{}, false
}

func (s state) byIndex(index int) (link, bool) {
	for _, l := range s.links {
		if l.index == index {
			return l, true
		}
	}
	return link{}, false
}

// readState reads interfaces, addresses and default routes from the kernel.
func readState() (state, error) {
	// A dump that something has changed in meanwhile may lack entries, and says so.
	const tries = 5
	for try := 1; ; try++ {
		s, err := dumpState()
		if !errors.Is(err, netlink.ErrDumpInterrupted) || try == tries {
			return s, err
		}
	}
}

func dumpState() (state, error) {
	devices, err := netlink.LinkList()
	if err != nil {
		return state{}, fmt.Errorf("list interfaces: %w", err)
	}
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		return state{}, fmt.Errorf("list addresses: %w", err)
	}
	routes, err := defaultRoutes()
	if err != nil {
		return state{}, fmt.Errorf("list routes: %w", err)
	}
	s := state{routes: routes}
	for _, device := range devices {
		a := device.Attrs()
		if a.Flags&net.FlagLoopback != 0 {
			continue
		}
		// Dialled lines and tunnels know no carrier; their state is "unknown" while they work.
		carrier := a.OperState == netlink.OperUp || a.OperState == netlink.OperUnknown
		l := link{
			name: a.Name, index: a.Index, up: a.Flags&net.FlagUp != 0 && carrier,
			dialled: a.EncapType == "ppp", speed: readSpeed(a.Name),
		}
		for _, addr := range addrs {
			if addr.Label == heldLabel {
				continue // not by this one the router is known
			}
			if ip, ok := netip.AddrFromSlice(addr.IP); ok && addr.LinkIndex == a.Index && addr.Scope == int(netlink.SCOPE_UNIVERSE) {
				l.addrs = append(l.addrs, ip.Unmap())
			}
		}
		s.links = append(s.links, l)
	}
	return s, nil
}

// defaultRoutes returns the IPv4 default routes of the main table.
func defaultRoutes() ([]route, error) {
	var found []route
	filter := &netlink.Route{Table: unix.RT_TABLE_MAIN, Type: unix.RTN_UNICAST}
	const mask = netlink.RT_FILTER_TABLE | netlink.RT_FILTER_TYPE
	err := netlink.RouteListFilteredIter(netlink.FAMILY_V4, filter, mask, func(r netlink.Route) bool {
		if !isDefault(r) || r.Type != unix.RTN_UNICAST {
			return true
		}
		if len(r.MultiPath) == 0 && r.Flags&unix.RTNH_F_DEAD == 0 {
			found = append(found, route{index: r.LinkIndex, metric: r.Priority})
		}
		for _, hop := range r.MultiPath {
			if hop.Flags&unix.RTNH_F_DEAD == 0 {
				found = append(found, route{index: hop.LinkIndex, metric: r.Priority})
			}
		}
		return true
	})
	return found, err
}

func isDefault(r netlink.Route) bool {
	if r.Dst == nil {
		return true
	}
	ones, _ := r.Dst.Mask.Size()
	return ones == 0 && r.Dst.IP.IsUnspecified()
}

// readSpeed returns the speed of a link in bits a second; 0 if the kernel does not tell, which it does in several ways.
func readSpeed(name string) uint64 {
	text, err := os.ReadFile(filepath.Join("/sys/class/net", name, "speed"))
	if err != nil {
		return 0 // EINVAL: the link is down, or knows no speed
	}
	return parseSpeed(string(text))
}

// parseSpeed reads the file "speed" of sysfs-class-net: megabits a second, -1 or the highest number of 32 bits if unknown.
func parseSpeed(text string) uint64 {
	const unknown, mega = 1<<32 - 1, 1_000_000
	speed, err := strconv.ParseUint(strings.TrimSpace(text), 10, 32)
	if err != nil || speed == unknown {
		return 0
	}
	return speed * mega
}
