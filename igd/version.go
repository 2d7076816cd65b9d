package igd

import (
	"slices"
	"strings"
)

// Versions says as which versions of InternetGatewayDevice the router describes itself. All actions of both are answered in
// any case.
type Versions uint8

// The choices.
const (
	// BothVersions: as the one that a search has asked for, and as version 1 to everybody else.
	BothVersions Versions = iota
	// OnlyVersion1: as version 1.
	OnlyVersion1
	// OnlyVersion2: as version 2 to all but those who are known to stumble over it.
	OnlyVersion2
)

// Target is one thing that SSDP announces and answers searches for. Its fields are those of a target of package
// ssdp, so that one converts to the other.
type Target struct {
	UDN     string // "uuid:" and the UUID of the device that it belongs to
	Type    string // "upnp:rootdevice", or a type without its version; empty for the device's name itself
	Version int    // of Type, the highest that is answered for; 0 if it has none

	// Announced is the version that is announced, and told to who asks for everything. 0 with a Version means that only
	// those find it who search for it.
	Announced int
}

// Targets lists what there is to be found, in the order of UDA 1.1, tables 1-1 to 1-3.
//
// With both versions, what is announced and told to who asks for everything is version 1: an announcement names one description,
// and everybody understands that one. Who wants version 2 asks for it. WANPPPConnection is for those who look for nothing
// else. To mention it would make others try it first.
func (s *Server) Targets() []Target {
	root := s.trees[0]
	if s.versions != OnlyVersion1 {
		root = s.trees[1]
	}
	announced := func(version int) int {
		if s.versions == BothVersions {
			return 1
		}
		return version
	}
	list := []Target{{UDN: root.udn, Type: "upnp:rootdevice"}}
	root.walk(func(d device) {
		list = append(list, Target{UDN: d.udn}, Target{UDN: d.udn, Type: d.typeName(), Version: d.version, Announced: announced(d.version)})
		for _, service := range d.services {
			t := Target{UDN: d.udn, Type: typePrefix + service.name, Version: service.described}
			if service.extra != forDialling {
				t.Announced = announced(t.Version)
			}
			list = append(list, t)
		}
	})
	return list
}

// DescriptionPath is the path of the description for who has searched for a version of a target, which is named without
// it; both are empty for announcements and for searches for all.
func (s *Server) DescriptionPath(target string, version int) string {
	switch {
	case target == typePrefix+pppConnection:
		return DialledDescriptionPath
	case s.versions == OnlyVersion2, s.versions == BothVersions && version >= 2:
		return Description2Path
	default:
		return DescriptionPath
	}
}

// viewFor chooses the description of the root device for a request of one of its paths; false if that is none of them.
func (s *Server) viewFor(r *request) (v view, ok bool) {
	v.version = 1
	switch r.path {
	case DescriptionPath:
	case DialledDescriptionPath:
		v.dialled = true
	case Description2Path:
		v.version = 2
	default:
		return v, false
	}
	switch s.versions {
	case OnlyVersion1:
		v.version = 1
	case OnlyVersion2:
		v.version = 2
	case BothVersions:
	}
	if v.plain = needsVersion1(r); v.plain {
		v.version = 1
	}
	v.dialled = v.dialled || s.outside.State(r.client).Dialled
	return v, true
}

// agent is a kind of client that is given version 1, whatever it has asked for.
type agent struct {
	mark string // part of what it says of itself, in lower case
	why  string
}

// agents are the clients that are given version 1: those that were seen to read a description of version 2 and to give up, and
// consoles, which have no use for it. They are not told either of services that InternetGatewayDevice:1 did not have.
//
// Not in the list is "windows": Apple's mDNSResponder says "Windows 9x", and programs name the system that they run on.
func agents() []agent {
	return []agent{
		{"microsoft", "Windows and its services stop after the description of WANIPConnection:2 (openwrt/packages 14656)"},
		{"fdssdp", "Windows' Function Discovery, which fills the folder Network: the same"},
		{"xbox", "Xbox 360 and Xbox One show UPnP as not successful (openwrt/routing 172, miniupnp 277)"},
		{"playstation", "PlayStation consoles are told of with Windows, by whoever has had to switch IGD:2 off for them"},
		{"demonware", "the network library of Call of Duty looks for version 1 in the description and for nothing else"},
		{"teredo", "part of Windows"},
		{"nintendo", "a console; there is nothing in version 2 that it asks for"},
	}
}

// needsVersion1 tells whether a request comes from a client that stumbles over version 2.
func needsVersion1(r *request) bool {
	said, _ := r.value("User-Agent")
	said = strings.ToLower(said)
	return slices.ContainsFunc(agents(), func(a agent) bool { return strings.Contains(said, a.mark) })
}
