package web

import (
	"net/netip"
	"slices"
)

// The pictures are SVG in the pages: the templates draw what is worked out here. Numbers are in the units of their view box.

// pathPicture is the way from a device to the internet.
type pathPicture struct {
	LAN, WAN string // the router's addresses, "" for none
	Upstream bool   // another router, or the provider's, translates once more
	Shared   bool   // it is the provider's
	Broken   bool   // there is no way out now
}

func (v view) path() pathPicture {
	var p pathPicture
	for _, l := range v.status.LANs {
		if len(l.Addresses) > 0 {
			p.LAN = l.Addresses[0].Addr().String()
			break
		}
	}
	for _, w := range v.status.WANs {
		if i := slices.IndexFunc(w.Addresses, netip.Addr.Is4); i >= 0 {
			p.WAN = w.Addresses[i].String()
			break
		}
	}
	states := map[WANState]bool{}
	for _, w := range v.status.WANs {
		states[w.State] = true
	}
	p.Shared = !states[WANPublic] && !states[WANPrivate] && states[WANShared]
	p.Upstream = !states[WANPublic] && (states[WANPrivate] || states[WANShared])
	p.Broken = !states[WANPublic] && !p.Upstream
	return p
}

// portMap is which of the 65536 ports are open, in rows of equal length.
type portMap struct {
	Rows  []portRow
	Boxes []portBox
}

// portRow is the ports of one row.
type portRow struct {
	Y, Text, First int
}

// portBox is ports that are open, as far as they are in one row.
type portBox struct {
	X, Y, Width int
	Kind, Name  string
	Protocol    string
	Ports       string
}

// The measures of the map.
const (
	mapRows   = 16
	mapRow    = 65536 / mapRows // ports
	mapLeft   = 60
	mapWidth  = 740
	mapHeight = 22 // of a row
)

// mapOf draws the map. What is open wholly is no part of it: it would hide the rest.
func mapOf(all []exposed) portMap {
	var m portMap
	for i := range mapRows {
		m.Rows = append(m.Rows, portRow{Y: i * mapHeight, Text: i*mapHeight + 14, First: i * mapRow})
	}
	for _, e := range all {
		if e.first == 0 {
			continue
		}
		last := int(e.first) + e.count - 1
		for row := int(e.first) / mapRow; row <= last/mapRow; row++ {
			from, to := max(int(e.first), row*mapRow)-row*mapRow, min(last, (row+1)*mapRow-1)-row*mapRow
			m.Boxes = append(m.Boxes, portBox{
				X: mapLeft + from*mapWidth/mapRow, Y: row*mapHeight + 2, Width: max(4, (to-from+1)*mapWidth/mapRow),
				Kind: e.Kind, Name: e.Name, Protocol: e.Protocol, Ports: e.Ports,
			})
		}
	}
	return m
}
