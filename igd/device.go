package igd

import (
	"maps"
	"net/netip"
	"strconv"
)

// The paths of the descriptions of the root device. With the address and port of a LAN's listener each makes a LOCATION of
// SSDP, see [Server.DescriptionPath].
const (
	// DescriptionPath is that of InternetGatewayDevice:1.
	DescriptionPath = "/rootDesc.xml"
	// Description2Path is that of InternetGatewayDevice:2.
	Description2Path = "/rootDesc2.xml"
	// DialledDescriptionPath is that of a device that has a WANPPPConnection, whatever the line is.
	DialledDescriptionPath = "/rootDescPPP.xml"
)

// device is one device of the tree (InternetGatewayDevice:1, section 2.3; InternetGatewayDevice:2, section 2.3). All devices of
// a tree have the same version, because clients look for just that.
type device struct {
	name     string // the type without its version, for example "WANDevice"
	version  int
	udn      string
	services []*service
	devices  []device
}

// tree builds the device tree of a version. The devices of both trees are the same ones: they have the same names.
func (s *Server) tree(version int) device {
	services := []*service{
		s.wanEthernetLinkConfig(version),
		s.wanIPConnection(version),
		s.wanPPPConnection(version),
		s.wanIPv6FirewallControl(version),
	}
	return device{
		name:     "InternetGatewayDevice",
		version:  version,
		udn:      s.identity.root,
		services: []*service{s.layer3Forwarding(version)},
		devices: []device{{
			name:     "WANDevice",
			version:  version,
			udn:      s.identity.wan,
			services: []*service{s.wanCommonInterfaceConfig(version)},
			devices:  []device{{name: "WANConnectionDevice", version: version, udn: s.identity.connection, services: services}},
		}},
	}
}

func (d device) typeName() string { return "urn:schemas-upnp-org:device:" + d.name }

// walk calls visit for the device and all below it, outermost first.
func (d device) walk(visit func(device)) {
	visit(d)
	for _, child := range d.devices {
		child.walk(visit)
	}
}

// eachService calls visit for each service of the device and of all below it.
func (d device) eachService(visit func(*service)) {
	d.walk(func(d device) {
		for _, s := range d.services {
			visit(s)
		}
	})
}

// servicePaths returns the services of all trees by one of their paths.
func (s *Server) servicePaths(path func(*service) string) map[string]*service {
	paths := map[string]*service{}
	for _, root := range s.trees {
		root.eachService(func(service *service) { paths[path(service)] = service })
	}
	return paths
}

// view is which description of the device somebody gets.
type view struct {
	version int
	plain   bool // only what InternetGatewayDevice:1 has always had
	dialled bool // with WANPPPConnection
}

// shows tells whether a service is described in the view.
func (v view) shows(s *service) bool {
	switch s.extra {
	case forModern:
		return !v.plain
	case forDialling:
		return v.dialled
	default:
		return true
	}
}

// document is what is served at a path.
type document struct {
	kind string // Content-Type
	body []byte

	// plain is what those get instead who stumble over version 2.
	plain []byte
}

// documents returns the descriptions of the services and the icons by their paths, and those of the root device by what
// they show, as they are served on an address.
func (s *Server) documents(pages netip.Addr) (byPath map[string]document, roots map[view][]byte) {
	byPath, roots = map[string]document{}, map[view][]byte{}
	maps.Copy(byPath, icons())
	for i, root := range s.trees {
		root.eachService(func(service *service) {
			byPath[service.scpdPath()] = document{kind: textXML, body: encodeXML(service.describe(s.configID))}
		})
		for _, v := range []view{{}, {plain: true}, {dialled: true}, {plain: true, dialled: true}} {
			v.version = i + 1
			roots[v] = encodeXML(s.describe(v, pages))
		}
	}
	s.trees[1].eachService(func(service *service) {
		first := *service
		first.igd = 1
		d := byPath[service.scpdPath()]
		d.plain = byPath[first.scpdPath()].body
		byPath[service.scpdPath()] = d
	})
	return byPath, roots
}

// describe makes the description of the root device.
func (s *Server) describe(v view, pages netip.Addr) rootXML {
	tree := s.trees[v.version-1]
	root := s.describeDevice(tree, v)
	root.FriendlyName = s.identity.name
	root.SerialNumber = tree.udn[len("uuid:"):]
	root.Icons = &iconsXML{describeIcons()}
	if s.identity.uiPort != 0 {
		addr := netip.AddrPortFrom(pages, s.identity.uiPort)
		root.PresentationURL = s.identity.uiScheme + "://" + addr.String() + "/"
	}
	return rootXML{
		Namespace:   "urn:schemas-upnp-org:device-1-0",
		ConfigID:    s.configID,
		SpecVersion: udaVersion(),
		Device:      root,
	}
}

func (s *Server) describeDevice(d device, v view) deviceXML {
	x := deviceXML{
		DeviceType:       d.typeName() + ":" + strconv.Itoa(d.version),
		FriendlyName:     d.name,
		Manufacturer:     "portreeve",
		ManufacturerURL:  "https://github.com/portreeve/portreeve",
		ModelDescription: "Port mappings for the devices of a LAN",
		ModelName:        "portreeve",
		ModelNumber:      s.identity.version,
		ModelURL:         "https://github.com/portreeve/portreeve",
		UDN:              d.udn,
	}
	for _, service := range d.services {
		if v.shows(service) {
			x.Services = append(x.Services, describeService(service))
		}
	}
	if len(d.devices) > 0 {
		x.Devices = &devicesXML{}
	}
	for _, child := range d.devices {
		x.Devices.Devices = append(x.Devices.Devices, s.describeDevice(child, v))
	}
	return x
}

// describeService makes the entry of a service. The eventSubURL of one that has nothing to tell is there and empty
// (UDA 1.1, section 2.3).
func describeService(s *service) serviceXML {
	x := serviceXML{
		ServiceType: s.urn(s.described),
		ServiceID:   "urn:upnp-org:serviceId:" + s.id,
		SCPDURL:     s.scpdPath(),
		ControlURL:  s.controlPath(),
	}
	for range s.evented() {
		x.EventSubURL = s.eventPath()
	}
	return x
}

// describe makes the description of a service (SCPD; UDA 1.1, section 2.5) in its described version.
func (s *service) describe(configID uint32) scpdXML {
	x := scpdXML{
		Namespace:   "urn:schemas-upnp-org:service-1-0",
		ConfigID:    configID,
		SpecVersion: udaVersion(),
	}
	for _, a := range s.actions {
		if a.since <= s.described {
			x.Actions = append(x.Actions, describeAction(a))
		}
	}
	for _, v := range s.variables {
		if v.since <= s.described {
			x.Variables = append(x.Variables, describeVariable(v, s.described))
		}
	}
	return x
}

func describeAction(a action) actionXML {
	var list []argumentXML
	for _, arg := range a.in {
		list = append(list, argumentXML{arg.name, "in", arg.variable})
	}
	for _, arg := range a.out {
		list = append(list, argumentXML{arg.name, "out", arg.variable})
	}
	x := actionXML{Name: a.name}
	if list != nil {
		x.Arguments = &argumentsXML{list}
	}
	return x
}

func describeVariable(v variable, version int) variableXML {
	x := variableXML{SendEvents: "no", Name: v.name, DataType: v.kind}
	if v.evented {
		x.SendEvents = "yes"
	}
	if v.allowed != nil {
		x.Allowed = &allowedXML{v.allowed}
	}
	switch {
	case v.most > 0:
		x.Range = &rangeXML{Minimum: v.least, Maximum: v.most}
	case v.advised > 0 && version >= 2:
		x.Range = &rangeXML{Maximum: v.advised}
	}
	return x
}

func udaVersion() versionXML { return versionXML{Major: 1, Minor: 1} }
