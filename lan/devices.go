package lan

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/portreeve/portreeve/kernel"
)

// Times by which devices are followed: one that has moved is found within a second.
const (
	gatherSeen = 100 * time.Millisecond // also what bounds how often the tables are read
	beatEach   = 150 * time.Millisecond // while a decision is due
	roundEach  = 5 * time.Second
)

// forgetAfter is after how many rounds a device that nobody asks for any more is not followed any longer.
const forgetAfter = 12

// devices are those that somebody asks for.
type devices struct {
	looking sync.Mutex // held from asking the kernel to making hosts answer: no answer is taken for one to a later question

	mu     sync.Mutex
	byMAC  map[string]*device
	round  int
	wanted chan struct{} // has a value when another device is asked for
	moved  chan struct{} // has a value when one that is followed has other addresses
}

func newDevices() *devices {
	return &devices{byMAC: map[string]*device{}, round: 1, wanted: make(chan struct{}, 1), moved: make(chan struct{}, 1)}
}

// Moved delivers a value when what [Watcher.Addrs] says of a device has changed. It is for one receiver.
func (w *Watcher) Moved() <-chan struct{} { return w.devices.moved }

// Addrs returns the addresses, those of IPv4 first, by which a device is on the LANs now. Of several IPv4 addresses the
// first is the one that it has taken last, as long as it answers by that one. The device is named by its hardware address,
// lower case with colons. None means that it is not there, or has not been heard of yet.
//
// The first question about a device asks the kernel. From then on the device is followed while [Watcher.Run] runs, until
// nobody has asked for a minute, and the answer is at hand. One that is silent is made to answer every half minute.
func (w *Watcher) Addrs(mac string) []netip.Addr {
	addrs, known := w.devices.addrs(mac)
	if known {
		return addrs
	}
	if hardware, err := net.ParseMAC(mac); err != nil || hardware.String() != mac {
		return nil
	}
	w.devices.add(mac)
	if _, err := w.lookForDevices(false); err != nil {
		w.config.Log.Warn("cannot find out where a device is", "device", mac, "err", err)
	}
	select {
	case w.devices.wanted <- struct{}{}:
	default:
	}
	addrs, _ = w.devices.addrs(mac)
	return addrs
}

// addrs returns what is known of a device; false if nobody has looked for it yet.
func (ds *devices) addrs(mac string) ([]netip.Addr, bool) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	d, ok := ds.byMAC[mac]
	if !ok || d.known == nil {
		return nil, false
	}
	d.asked = ds.round
	return slices.Clone(d.addrs), true
}

func (ds *devices) add(mac string) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	if ds.byMAC[mac] == nil {
		ds.byMAC[mac] = &device{asked: ds.round}
	}
}

// followDevices keeps what is known of the devices that are asked for up to date.
func (w *Watcher) followDevices(ctx context.Context) {
	select {
	case <-w.devices.wanted: // until then nothing is listened to
	case <-ctx.Done():
		return
	}
	var tasks sync.WaitGroup
	defer tasks.Wait()
	events := make(chan struct{}, 1)
	neighbours := kernel.Topic{Name: "neighbours", Protocol: unix.NETLINK_ROUTE, Groups: []uint{unix.RTNLGRP_NEIGH}}
	tasks.Go(func() { neighbours.Hints(ctx, events, w.config.Log) })
	round := time.NewTicker(roundEach)
	defer round.Stop()
	var beat <-chan time.Time // not nil: a decision is due
	for failing := false; ; {
		beats := false
		select {
		case <-ctx.Done():
			return
		case <-events:
			if !kernel.Pause(ctx, gatherSeen) {
				return
			}
		case <-w.devices.wanted:
		case <-round.C:
			w.devices.nextRound()
		case <-beat:
			beat, beats = nil, true
		}
		due, err := w.lookForDevices(beats)
		if err != nil && !failing {
			w.config.Log.Warn("devices that move are not followed until this works again", "err", err)
		}
		if failing = err != nil; due && beat == nil {
			beat = time.After(beatEach)
		}
	}
}

// lookForDevices has each device take note of what the kernel knows. It tells whether a decision is due.
func (w *Watcher) lookForDevices(beat bool) (due bool, err error) {
	w.devices.looking.Lock()
	defer w.devices.looking.Unlock()
	watched := w.devices.watched()
	if len(watched) == 0 {
		return false, nil
	}
	seen, err := w.sightings(watched)
	if err != nil {
		return false, err
	}
	probe, due, moved := w.devices.see(seen, beat)
	w.probe(probe)
	if moved {
		select {
		case w.devices.moved <- struct{}{}:
		default: // one that waits is enough
		}
	}
	return due, nil
}

// watched returns the devices that are followed, by the octets of their hardware addresses.
func (ds *devices) watched() map[string]string {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	all := make(map[string]string, len(ds.byMAC))
	for mac := range ds.byMAC {
		if hardware, err := net.ParseMAC(mac); err == nil {
			all[string(hardware)] = mac
		}
	}
	return all
}

// see has each device take note of what the kernel knows. It tells which addresses are to be made to answer, whether a
// decision is due, and whether a device that was looked for before has other addresses.
func (ds *devices) see(seen map[string][]sighting, beat bool) (probe []sighting, due, moved bool) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	for mac, d := range ds.byMAC {
		before, first := d.addrs, d.known == nil
		probe = append(probe, d.see(seen[mac], ds.round, beat)...)
		due = due || d.rival.IsValid()
		moved = moved || !first && !slices.Equal(before, d.addrs)
	}
	return probe, due, moved
}

// nextRound forgets the devices that nobody asks for any more.
func (ds *devices) nextRound() {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	ds.round++
	for mac, d := range ds.byMAC {
		if ds.round-d.asked > forgetAfter {
			delete(ds.byMAC, mac)
		}
	}
}

// sightings reads the kernel's neighbour tables of the LAN interfaces. It returns what they say of some devices: watched has
// their hardware addresses, as octets, and the names by which the sightings are sorted. Only addresses in the subnets of the
// interface count: others cannot be reached by us.
func (w *Watcher) sightings(watched map[string]string) (map[string][]sighting, error) {
	found := map[string][]sighting{}
	for _, ifc := range w.Snapshot().Interfaces {
		body := (&netlink.Ndmsg{Family: unix.AF_UNSPEC, Index: uint32(ifc.Index)}).Serialize()
		body = append(body, nl.NewRtAttr(netlink.NDA_IFINDEX, nl.Uint32Attr(uint32(ifc.Index))).Serialize()...)
		var faults error
		err := w.routes.Ask(kernel.Question{Type: unix.RTM_GETNEIGH, Flags: unix.NLM_F_DUMP, Body: body}, func(message []byte) {
			mac, ok := watched[string(hardwareAddr(message))]
			if !ok {
				return
			}
			n, err := netlink.NeighDeserialize(message)
			if err != nil {
				faults = err
			} else if s, ok := sightingOf(n, ifc); ok {
				found[mac] = append(found[mac], s)
			}
		})
		// An entry that is missing because the list has changed meanwhile is there at the next look, which such a change brings.
		if errors.Is(err, kernel.ErrInterrupted) {
			err = nil
		}
		if err := errors.Join(err, faults); err != nil {
			return nil, fmt.Errorf("read the neighbours on %s: %w", ifc.Name, err)
		}
	}
	return found, nil
}

// hardwareAddr finds the hardware address in an entry (rtnetlink(7)), nil if there is none. Most entries of a large LAN are
// of devices that nobody asks for, and are read no further.
func hardwareAddr(message []byte) []byte {
	for rest := message[min(unix.SizeofNdMsg, len(message)):]; len(rest) >= unix.SizeofRtAttr; {
		length, kind := int(binary.NativeEndian.Uint16(rest)), binary.NativeEndian.Uint16(rest[2:])
		if length < unix.SizeofRtAttr || length > len(rest) {
			return nil
		}
		if kind == netlink.NDA_LLADDR {
			return rest[unix.SizeofRtAttr:length]
		}
		rest = rest[min((length+unix.RTA_ALIGNTO-1)&^(unix.RTA_ALIGNTO-1), len(rest)):]
	}
	return nil
}

// sightingOf reads an entry; false if it tells of no device that is there.
func sightingOf(n *netlink.Neigh, ifc Interface) (s sighting, ok bool) {
	const there = netlink.NUD_REACHABLE | netlink.NUD_STALE | netlink.NUD_DELAY | netlink.NUD_PROBE | netlink.NUD_PERMANENT
	addr, valid := netip.AddrFromSlice(n.IP)
	addr = addr.Unmap()
	if !valid || n.State&there == 0 || n.LinkIndex != ifc.Index || !ifc.contains(addr) {
		return sighting{}, false
	}
	return sighting{addr, n.LinkIndex, n.State, n.Updated}, true
}

// contains is [Interface.Contains] for both families. Link-local addresses do not count.
func (i Interface) contains(addr netip.Addr) bool {
	return i.Contains(addr) || !addr.IsLinkLocalUnicast() &&
		slices.ContainsFunc(i.Prefixes6, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// probe makes the kernel ask hosts whether they are still there, whatever it believes: three times in three seconds, and
// then they are not.
func (w *Watcher) probe(hosts []sighting) {
	for _, s := range hosts {
		body := (&netlink.Ndmsg{Family: family(s.addr), Index: uint32(s.index), State: netlink.NUD_PROBE}).Serialize()
		body = append(body, nl.NewRtAttr(netlink.NDA_DST, s.addr.AsSlice()).Serialize()...)
		err := w.routes.Ask(kernel.Question{Type: unix.RTM_NEWNEIGH, Flags: unix.NLM_F_ACK, Body: body}, func([]byte) {})
		if err != nil && !errors.Is(err, unix.ENOENT) {
			w.config.Log.Debug("cannot ask whether a host is there", "client", s.addr, "err", err)
		}
	}
}

// Neighbour is a machine that is on a LAN now, by one of its addresses.
type Neighbour struct {
	MAC     string // lower case with colons
	Addr    netip.Addr
	Network string // the name of the LAN interface
}

// Neighbours lists who is on the LANs now, as far as the kernel knows: whoever has talked to or through the router lately. What
// cannot be read is missing, and the log says why.
func (w *Watcher) Neighbours() (all []Neighbour) {
	for _, ifc := range w.Snapshot().Interfaces {
		body := (&netlink.Ndmsg{Family: unix.AF_UNSPEC, Index: uint32(ifc.Index)}).Serialize()
		body = append(body, nl.NewRtAttr(netlink.NDA_IFINDEX, nl.Uint32Attr(uint32(ifc.Index))).Serialize()...)
		err := w.routes.Ask(kernel.Question{Type: unix.RTM_GETNEIGH, Flags: unix.NLM_F_DUMP, Body: body}, func(message []byte) {
			if len(hardwareAddr(message)) != 6 {
				return
			}
			n, err := netlink.NeighDeserialize(message)
			if err != nil {
				w.config.Log.Warn("an entry of the neighbours cannot be read", "interface", ifc.Name, "err", err)
			} else if s, ok := sightingOf(n, ifc); ok {
				all = append(all, Neighbour{n.HardwareAddr.String(), s.addr, ifc.Name})
			}
		})
		if err != nil && !errors.Is(err, kernel.ErrInterrupted) {
			w.config.Log.Warn("the neighbours cannot be read", "interface", ifc.Name, "err", err)
		}
	}
	return all
}
