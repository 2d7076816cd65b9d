package web

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// Neighbour is an address by which a machine is on the LANs now.
type Neighbour struct {
	MAC     string // lower case with colons
	Addr    netip.Addr
	Network string // the LAN interface
}

// DeviceList answers GET devices.
type DeviceList struct {
	Devices []Device `json:"devices"` // by MAC address; "new", what holds for devices of which nothing is set, last
	Next    string   `json:"next"`    // the "after" that continues the list; "" at its end
}

// Device is a machine on the LAN, or "new".
type Device struct {
	MAC      string         `json:"mac"`
	Settings DeviceSettings `json:"settings"`
	Set      bool           `json:"set"`     // somebody has set something; else the settings are those that hold without
	Version  uint64         `json:"version"` // counts up with each change; also the ETag; 0: nothing is set
	Title    string         `json:"title"`   // what people call it: the owner's name for it, else that of the network, "" if there is none

	Kind       string       `json:"kind"`       // what it is: as the owner says, else a guess; "" when unknown
	Vendor     string       `json:"vendor"`     // who has made it; "" when unknown
	Randomised bool         `json:"randomised"` // it has made up its MAC address, and may make up another one later
	Present    bool         `json:"present"`    // it is on the LAN now
	Addresses  []netip.Addr `json:"addresses"`  // by which it is there now
	Networks   []string     `json:"networks"`   // the LAN interfaces by which it is there now
	Leases     int          `json:"leases"`     // how many it holds
}

// DeviceSettings is what the owner says of a device.
type DeviceSettings struct {
	Name   string   `json:"name"`
	Note   string   `json:"note"`
	Icon   string   `json:"icon"`
	Access string   `json:"access"` // "inherit", "allow", "ask" or "deny"; absent: inherit
	Ports  []string `json:"ports"`  // outside; none: those of the policy
	IPv6   bool     `json:"ipv6"`   // it may have ports over IPv6; absent: true

	Protocols []string `json:"protocols"` // of its mappings; none: all
	LowPorts  bool     `json:"low_ports"` // beside the ports of the policy those below 1024; has no meaning beside ports
	Schedule  []string `json:"schedule"`  // when it may have any, as windows such as "16:00-22:00"; none: always

	Mappings           int64  `json:"mappings"`             // at most; 0: what the policy says
	MaxLifetimeSeconds uint64 `json:"max_lifetime_seconds"` // 0: what the policy says
}

// DeviceChange answers what changes a device.
type DeviceChange struct {
	Device  Device         `json:"device"`  // as it is then
	DryRun  bool           `json:"dry_run"` // nothing has changed
	Refused []RefusedLease `json:"refused"` // its leases that would not be granted again
	Closed  bool           `json:"closed"`  // and that are closed
}

// inherit is how the API calls [lease.AccessInherit].
const inherit = "inherit"

func newDeviceSettings() DeviceSettings { return DeviceSettings{Access: inherit, IPv6: true} }

func deviceSettingsOf(d lease.Device) DeviceSettings {
	return DeviceSettings{
		Name: d.Name, Note: d.Note, Icon: d.Icon, Access: cmp.Or(string(d.Access), inherit), Ports: texts(d.Ports), IPv6: !d.NoIPv6,
		Protocols: written(d.Protocols), LowPorts: d.LowPorts, Schedule: written(d.Schedule),
		Mappings: int64(d.Mappings), MaxLifetimeSeconds: uint64(seconds(d.MaxLifetime)),
	}
}

// written returns values as texts, an empty list if there are none.
func written[T fmt.Stringer](values []T) []string {
	all := make([]string, len(values))
	for i, v := range values {
		all[i] = v.String()
	}
	return all
}

func (s *Server) deviceRoutes(by access) []route {
	return []route{
		{http.MethodGet, "/devices", RoleViewer, AreaDevices, "", nil, s.getDevices},
		{http.MethodGet, "/devices/:id", RoleViewer, AreaDevices, "", nil, s.getDevice},
		{http.MethodPut, "/devices/:id", RoleOperator, AreaDevices, "device.set", s.deviceShort, s.putDevice(by.origin)},
		{http.MethodDelete, "/devices/:id", RoleOperator, AreaDevices, "device.forget", s.deviceShort, s.deleteDevice(by.origin)},
		{http.MethodGet, "/requests", RoleViewer, AreaDevices, "", nil, s.getRequests},
		{http.MethodPost, "/requests/:id", RoleOperator, AreaDevices, "request.answer", s.requestShort, s.postRequest(by.origin)},
	}
}

// deviceShort tells in short what is set of a device.
func (s *Server) deviceShort(id string) string {
	d, ok := s.Leases.Snapshot().Own.Devices[deviceID(id)]
	if !ok {
		return ""
	}
	return strings.TrimSpace(d.Name + " " + d.String())
}

// deviceID reads the name of a device in a path: a MAC address in any form that is usual, or "new"; "" for neither.
func deviceID(id string) string {
	if id == lease.NewDevices {
		return id
	}
	mac, err := net.ParseMAC(id)
	if err != nil || len(mac) != 6 {
		return ""
	}
	return mac.String()
}

func noDevice() *Problem {
	return problem(CodeNoDevice, "this is no device: name it by its MAC address, or %q for those of which nothing is set", lease.NewDevices)
}

// deviceView knows the devices of one moment.
type deviceView struct {
	view
	vendor   func(mac string) string
	addrs    map[string][]netip.Addr // of those that are there
	networks map[string][]string     // the same
	leases   map[string][]lease.Lease
}

func (s *Server) lookAtDevices() deviceView {
	v := deviceView{s.look(), s.Vendor, map[string][]netip.Addr{}, map[string][]string{}, map[string][]lease.Lease{}}
	for _, n := range s.Neighbours() {
		v.addrs[n.MAC] = append(v.addrs[n.MAC], n.Addr)
		if n.Network != "" && !slices.Contains(v.networks[n.MAC], n.Network) {
			v.networks[n.MAC] = append(v.networks[n.MAC], n.Network)
		}
	}
	for _, l := range v.Leases {
		v.leases[l.Device] = append(v.leases[l.Device], l)
	}
	return v
}

// known lists the devices that are there, hold a lease, or of which something is set.
func (v deviceView) known() []string {
	all := map[string]bool{}
	for mac := range v.addrs {
		all[mac] = true
	}
	for mac := range v.leases {
		all[mac] = true
	}
	for mac := range v.Own.Devices {
		all[mac] = true
	}
	delete(all, "") // hosts whose MAC address is not known
	return slices.Sorted(maps.Keys(all))
}

func (v deviceView) device(mac string) Device {
	set, ok := v.Own.Devices[mac]
	d := Device{
		MAC: mac, Settings: deviceSettingsOf(set), Set: ok, Version: set.Version, Title: set.Name,
		Addresses: notNil(slices.Clone(v.addrs[mac])), Present: len(v.addrs[mac]) > 0, Leases: len(v.leases[mac]),
		Networks: notNil(slices.Sorted(slices.Values(v.networks[mac]))),
	}
	if mac == lease.NewDevices {
		return d
	}
	slices.SortFunc(d.Addresses, netip.Addr.Compare)
	d.Randomised = randomised(mac)
	if !d.Randomised {
		d.Vendor = lease.CleanText(v.vendor(mac), maxName)
	}
	if l := (lease.Lease{Device: mac}); d.Title == "" {
		if len(d.Addresses) > 0 {
			l.Client, l.Internal = d.Addresses[0], netip.AddrPortFrom(d.Addresses[0], 0)
		}
		d.Title = lease.CleanText(v.name(l), maxName)
	}
	d.Kind = deviceKind(set.Icon, append(v.says(mac, d.Title), d.Vendor)...)
	return d
}

// says collects what a device is called, and what its programs say of themselves.
func (v deviceView) says(mac, title string) []string {
	all := []string{title}
	for _, l := range v.leases[mac] {
		all = append(all, l.Agent, l.Description)
	}
	return all
}

func (s *Server) getDevices(w http.ResponseWriter, r *http.Request) error {
	const most = 1000
	limit, err := number(r, "limit", 1, most, most)
	if err != nil {
		return err
	}
	after, v := r.URL.Query().Get("after"), s.lookAtDevices()
	list := DeviceList{Devices: []Device{}}
	for _, mac := range v.known() {
		if mac <= after {
			continue
		}
		if uint64(len(list.Devices)) == limit {
			list.Next = list.Devices[limit-1].MAC
			break
		}
		list.Devices = append(list.Devices, v.device(mac))
	}
	return writeJSON(w, list)
}

func (s *Server) getDevice(w http.ResponseWriter, r *http.Request) error {
	mac := deviceID(r.PathValue("id"))
	if mac == "" {
		return noDevice()
	}
	d := s.lookAtDevices().device(mac)
	return writeTagged(w, http.StatusOK, d.Version, d)
}

// deviceAsked reads which device is to be changed, and how: the parameters, and If-Match.
func (s *Server) deviceAsked(r *http.Request, origin lease.Origin) (mac string, o lease.DeviceOptions, err error) {
	if mac = deviceID(r.PathValue("id")); mac == "" {
		return mac, o, noDevice()
	}
	o.By = origin
	if o.DryRun, err = flag(r, "dry_run"); err != nil {
		return mac, o, err
	}
	if o.Close, err = flag(r, "close"); err != nil {
		return mac, o, err
	}
	o.IfVersion, err = ifMatch(r).of("device", s.Leases.Snapshot().Own.Devices[mac].Version)
	return mac, o, err
}

func (s *Server) putDevice(origin lease.Origin) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		mac, options, err := s.deviceAsked(r, origin)
		if err != nil {
			return err
		}
		body := newDeviceSettings()
		wrong, err := readMembers(r, &body)
		if err != nil {
			return err
		}
		read := s.reader(wrong)
		d := read.deviceSettings(body)
		if err := read.problem(); err != nil {
			return err
		}
		d.MAC = mac
		change, err := s.Leases.SetDevice(r.Context(), d, options)
		if err != nil {
			return err
		}
		if !options.DryRun {
			w.Header().Set("ETag", etag(change.Device.Version))
		}
		return writeJSON(w, s.deviceChange(change, options.DryRun, true))
	}
}

func (s *Server) deleteDevice(origin lease.Origin) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		mac, options, err := s.deviceAsked(r, origin)
		if err != nil {
			return err
		}
		change, err := s.Leases.ForgetDevice(r.Context(), mac, options)
		if errors.Is(err, lease.ErrNotFound) {
			return problem(CodeNoDevice, "nothing is set of this device")
		}
		if err != nil {
			return err
		}
		return writeJSON(w, s.deviceChange(change, options.DryRun, false))
	}
}

// deviceChange describes a change; with set the device is shown as it is then, else as it was.
func (s *Server) deviceChange(c lease.DeviceChange, dryRun, set bool) DeviceChange {
	v := s.lookAtDevices()
	out := DeviceChange{Device: v.device(c.Device.MAC), DryRun: dryRun, Refused: v.refused(c.Refused), Closed: c.Closed}
	if out.Device.Settings = deviceSettingsOf(c.Device); set {
		out.Device.Set, out.Device.Version = true, c.Device.Version
	}
	out.Device.Title = cmp.Or(c.Device.Name, out.Device.Title)
	return out
}

// deviceSettings reads what the owner says of a device.
func (r *reader) deviceSettings(s DeviceSettings) lease.Device {
	d := lease.Device{
		Name: s.Name, Note: s.Note, Icon: s.Icon, Access: lease.Access(s.Access), NoIPv6: !s.IPv6,
		Mappings: r.within("mappings", s.Mappings, 65535), LowPorts: s.LowPorts, Schedule: r.schedule(s.Schedule),
	}
	r.notTooMany("protocols", len(s.Protocols))
	for _, p := range s.Protocols {
		if p := r.protocolIn("protocols", p); !slices.Contains(d.Protocols, p) {
			d.Protocols = append(d.Protocols, p)
		}
	}
	r.textOf("name", &d.Name, lease.MaxDeviceName)
	r.textOf("note", &d.Note, lease.MaxDeviceNote)
	if !lease.IsDeviceIcon(d.Icon) {
		r.add("icon", "is %q, allowed are up to %d of a-z, 0-9 and hyphen", lease.CleanText(d.Icon, maxName), lease.MaxDeviceIcon)
	}
	switch d.Access {
	case inherit, "":
		d.Access = lease.AccessInherit
	case lease.AccessAllow, lease.AccessAsk, lease.AccessDeny:
	default:
		r.add("access", "is %q, allowed are inherit, allow, ask and deny", lease.CleanText(s.Access, 32))
	}
	if set := r.ownPorts("ports", s.Ports); set != nil && len(*set) > 0 {
		d.Ports = *set
	}
	if most := uint64(longestLifetime / time.Second); s.MaxLifetimeSeconds > most {
		r.add("max_lifetime_seconds", "is %d, allowed are 1 to %d, and 0 for what the policy says", s.MaxLifetimeSeconds, most)
	} else {
		d.MaxLifetime = time.Duration(s.MaxLifetimeSeconds) * time.Second
	}
	return d
}

// textOf checks the length of a text for people, and takes out what cannot be shown.
func (r *reader) textOf(member string, text *string, most int) {
	if len(*text) > most {
		r.add(member, "has %d bytes, allowed are %d", len(*text), most)
	}
	*text = lease.CleanText(*text, most)
}
