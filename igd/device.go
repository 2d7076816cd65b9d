package igd

import (
	"net/netip"
	"strconv"
)

// DescriptionPath is where the description of the root device is served; with the address and port of a LAN's
// listener it makes the LOCATION of SSDP.
const DescriptionPath = "/rootDesc.xml"

// deviceVersion is the version of the described device tree. Everybody understands version 1; consoles and
// Windows understand nothing else.
const deviceVersion = 1

// device is one device of the tree (InternetGatewayDevice:1, section 2.3).
type device struct {
	name     string // the type without its version, for example "WANDevice"
	udn      string
	services []*service
	devices  []device
}

// tree builds the device tree.
func (s *Server) tree() device {
	return device{
		name:     "InternetGatewayDevice",
		udn:      s.identity.root,
		services: []*service{s.layer3Forwarding()},
		devices: []device{{
			name:     "WANDevice",
			udn:      s.identity.wan,
			services: []*service{s.wanCommonInterfaceConfig()},
			devices: []device{{
				name:     "WANConnectionDevice",
				udn:      s.identity.connection,
				services: []*service{s.wanIPConnection()},
			}},
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

func (d device) targets(list []Target) []Target {
	d.walk(func(d device) {
		list = append(list, Target{UDN: d.udn}, Target{UDN: d.udn, Type: d.typeName(), Version: deviceVersion})
		for _, s := range d.services {
			list = append(list, Target{UDN: d.udn, Type: "urn:schemas-upnp-org:service:" + s.name, Version: s.described})
		}
	})
	return list
}

// controls returns the services by the paths of their control URLs.
func (d device) controls() map[string]*service {
	paths := map[string]*service{}
	d.walk(func(d device) {
		for _, s := range d.services {
			paths[s.controlPath()] = s
		}
	})
	return paths
}

// documents returns the descriptions by their paths, as they are served on one LAN address.
func (s *Server) documents(local netip.Addr) map[string][]byte {
	docs := map[string][]byte{DescriptionPath: encodeXML(s.describe(local))}
	s.root.walk(func(d device) {
		for _, service := range d.services {
			docs[service.scpdPath()] = encodeXML(service.describe(s.configID))
		}
	})
	return docs
}

// describe makes the description of the root device.
func (s *Server) describe(local netip.Addr) rootXML {
	root := s.describeDevice(s.root)
	root.FriendlyName = s.identity.name
	root.SerialNumber = s.root.udn[len("uuid:"):]
	if s.identity.uiPort != 0 {
		addr := netip.AddrPortFrom(local, s.identity.uiPort)
		root.PresentationURL = "http://" + addr.String() + "/"
	}
	return rootXML{
		Namespace:   "urn:schemas-upnp-org:device-1-0",
		ConfigID:    s.configID,
		SpecVersion: udaVersion(),
		Device:      root,
	}
}

func (s *Server) describeDevice(d device) deviceXML {
	x := deviceXML{
		DeviceType:       d.typeName() + ":" + strconv.Itoa(deviceVersion),
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
		x.Services = append(x.Services, serviceXML{
			ServiceType: service.urn(service.described),
			ServiceID:   "urn:upnp-org:serviceId:" + service.id,
			SCPDURL:     service.scpdPath(),
			ControlURL:  service.controlPath(),
		})
	}
	if len(d.devices) > 0 {
		x.Devices = &devicesXML{}
	}
	for _, child := range d.devices {
		x.Devices.Devices = append(x.Devices.Devices, s.describeDevice(child))
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
			x.Variables = append(x.Variables, describeVariable(v))
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

// describeVariable says of no variable that it sends events, because there is no event server: the eventSubURL
// elements are empty, which is the form for services that send none (UDA 1.1, section 2.3). To announce events
// and refuse every subscription would make clients wait for what never comes.
func describeVariable(v variable) variableXML {
	x := variableXML{SendEvents: "no", Name: v.name, DataType: v.kind}
	if v.allowed != nil {
		x.Allowed = &allowedXML{v.allowed}
	}
	if v.most > 0 {
		x.Range = &rangeXML{Minimum: v.least, Maximum: v.most}
	}
	return x
}

func udaVersion() versionXML { return versionXML{Major: 1, Minor: 1} }
