package web

import (
	"cmp"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// deviceRow is a device of the LAN as pages show it: one that holds a port, has asked for one, or is where a rule leads.
type deviceRow struct {
	Key     string   // of its page: the MAC address, else the address
	Name    string   // what people call it, else its address
	Named   bool     // it has a name
	MAC     string   // "" when unknown
	Random  bool     // the MAC address is one that the device has made up
	Kind    string   // what it is, or looks like; "" when unknown
	Guessed bool     // the owner has not said
	Set     bool     // the owner has said something of it
	Nets    []string // the LANs that it is on now
	Addrs   []netip.Addr
	Open    []openPort
	Denied  int    // how often it was refused something, as far as the history reaches
	Vendor  string // "" when unknown
	Note    string
	Access  string    // what the owner says: "inherit", "allow", "ask" or "deny"
	Present bool      // it is on the LAN now
	First   time.Time // when it was first heard of, as far as anybody remembers; zero: never
	Last    time.Time // when it last did something that the history knows of
	Seen    bool      // it did
}

// openPort is something by which a device is reached from outside.
type openPort struct {
	Kind     string // "lease", or the kind of the rule
	Protocol string
	Ports    string // outside; "" for all
	Lease    lease.ID
	Rule     lease.ID
	Text     string // what the device or the owner calls it
}

// randomised tells whether a MAC address is locally administered (IEEE 802): telephones and Windows make up one for each
// network, and may make up another one later.
func randomised(mac string) bool {
	hardware, err := net.ParseMAC(mac)
	return err == nil && len(hardware) == 6 && hardware[0]&2 != 0
}

// deviceName is what people call a device, else its address.
func (v view) deviceName(mac string, addr netip.Addr) string {
	l := lease.Lease{Device: mac, Client: addr}
	l.Internal = netip.AddrPortFrom(addr, 0)
	return cmp.Or(lease.CleanText(v.name(l), maxName), addressText(addr), mac)
}

// devices lists the devices, those with the most open ports first.
func (v view) devices() []deviceRow {
	d := deviceList{view: v, byKey: map[string]*deviceRow{}, macs: map[netip.Addr]string{}}
	for _, l := range v.Leases {
		d.addLease(v.lease(l))
	}
	for _, r := range v.Rules {
		d.addRule(r)
	}
	for _, e := range v.Events() {
		d.addEvent(e)
	}
	return d.rows()
}

// rows puts the devices in their order.
func (d *deviceList) rows() []deviceRow {
	rows := make([]deviceRow, 0, len(d.byKey))
	for _, one := range d.byKey {
		slices.SortFunc(one.Addrs, netip.Addr.Compare)
		rows = append(rows, *one)
	}
	slices.SortFunc(rows, func(a, b deviceRow) int {
		return cmp.Or(cmp.Compare(len(b.Open), len(a.Open)), strings.Compare(a.Name, b.Name), strings.Compare(a.Key, b.Key))
	})
	return rows
}

// deviceList collects devices.
type deviceList struct {
	view
	byKey map[string]*deviceRow
	macs  map[netip.Addr]string // of the addresses that are known
}

// at returns the row of a device, which is made if there is none yet.
func (d *deviceList) at(mac string, addr netip.Addr) *deviceRow {
	if mac == "" {
		mac = d.macs[addr]
	}
	key := deviceRef(mac, addr)
	one := d.byKey[key]
	if one == nil {
		one = &deviceRow{Key: key, MAC: mac, Random: randomised(mac), Name: d.deviceName(mac, addr)}
		one.Kind, one.Guessed = deviceKind(d.Own.Devices[mac].Icon, one.Name), true
		one.Named = one.Name != addressText(addr) && one.Name != mac
		d.byKey[key] = one
	}
	if addr.IsValid() && !slices.Contains(one.Addrs, addr) {
		one.Addrs = append(one.Addrs, addr)
		if mac != "" {
			d.macs[addr] = mac
		}
	}
	return one
}

func (d *deviceList) addLease(l Lease) {
	one := d.at(l.Device, l.InternalAddress)
	one.Open = append(one.Open, openPort{"lease", l.Protocol, portsText(l.ExternalPort, l.PortCount), l.ID, "", l.Description})
	one.since(l.Created)
	if one.Kind == "" {
		one.Kind = deviceKind(d.Own.Devices[l.Device].Icon, l.Agent, l.Description)
	}
}

func (d *deviceList) addRule(r lease.RuleState) {
	if r.Target.Device == "" && !r.Target.Addr.IsValid() {
		return
	}
	one := d.at(r.Target.Device, r.Target.Addr)
	for _, l := range r.InForce {
		one.Open = append(one.Open, openPort{string(r.Kind), l.Protocol.String(), portsText(l.External.Port(), l.PortCount()), "", r.ID, r.Name})
	}
}

func (d *deviceList) addEvent(e lease.Event) {
	addr := e.Lease.Internal.Addr()
	if e.Kind == lease.EventDenied || !addr.IsValid() {
		addr = e.Lease.Client
	}
	if !addr.IsValid() || e.Kind == lease.EventRule {
		return
	}
	mac := e.Lease.Device
	if addr != e.Lease.Internal.Addr() {
		mac = "" // that of the host that was asked for
	}
	one := d.at(mac, addr)
	if e.Kind == lease.EventDenied {
		one.Denied += e.Count
	}
	if e.Time.After(one.Last) {
		one.Last, one.Seen = e.Time, true
	}
	one.since(e.Time)
}

// since notes that the device was heard of at a time.
func (r *deviceRow) since(t time.Time) {
	if !t.IsZero() && (r.First.IsZero() || t.Before(r.First)) {
		r.First = t
	}
}

// devicesData is the data of the page of devices.
type devicesData struct {
	Rows  []deviceRow
	Query string
	Total int
	All   bool   // also those that are only there
	New   string // what holds for devices of which nothing is set
	Undo  *undoNotice
	Of    string // the key of the device that it is about
}

// allDevices are the devices with what the store and the network tell of them; with neighbours also those that are there
// and have never asked for anything.
func (s *Server) allDevices(neighbours bool) []deviceRow {
	v := s.lookAtDevices()
	rows := v.devices()
	at := map[string]int{}
	for i := range rows {
		at[rows[i].MAC] = i
	}
	for _, mac := range v.known() {
		if mac == lease.NewDevices {
			continue
		}
		d := v.device(mac)
		i, ok := at[mac]
		if !ok {
			if !neighbours && !d.Set {
				continue
			}
			i = len(rows)
			rows = append(rows, deviceRow{Key: mac, MAC: mac, Random: d.Randomised})
		}
		rows[i].add(d)
		if set, ok := v.Own.Devices[mac]; ok {
			rows[i].since(set.Created)
		}
	}
	return rows
}

// add takes in what the store and the network tell of a device.
func (r *deviceRow) add(d Device) {
	r.Named = d.Title != ""
	r.Vendor, r.Note, r.Access, r.Present = d.Vendor, d.Settings.Note, d.Settings.Access, d.Present
	r.Kind, r.Guessed, r.Set, r.Nets = d.Kind, d.Settings.Icon == "", d.Set, d.Networks
	for _, a := range d.Addresses {
		if !slices.Contains(r.Addrs, a) {
			r.Addrs = append(r.Addrs, a)
		}
	}
	if d.Title != "" {
		r.Name = d.Title
	}
	if r.Name == "" && len(r.Addrs) > 0 {
		r.Name = r.Addrs[0].String()
	}
	r.Name = cmp.Or(r.Name, r.MAC)
}

func (r deviceRow) fields() []field {
	fields := []field{{fieldDevice, r.Name}, {fieldDevice, r.MAC}}
	for _, a := range r.Addrs {
		fields = append(fields, field{fieldDevice, a.String()})
	}
	for _, o := range r.Open {
		fields = append(fields, field{fieldPort, o.Ports}, field{fieldApp, o.Text})
	}
	return fields
}

func (s *Server) devicesPage(w http.ResponseWriter, r *http.Request) error {
	now, q := s.look(), r.URL.Query()
	d := devicesData{Query: lease.CleanText(q.Get("q"), maxSearch), All: q.Get("all") != ""}
	d.Undo, d.Of = s.undos.notice(q.Get("undo"), now.now), q.Get("of")
	d.Rows, d.New = s.allDevices(d.All), deviceSettingsOf(now.Own.Devices[lease.NewDevices]).Access
	d.Total = len(d.Rows)
	wanted := parseSearch(d.Query, fieldDevice, fieldPort, fieldApp)
	d.Rows = slices.DeleteFunc(d.Rows, func(one deviceRow) bool { return !wanted.matches(one.fields()...) })
	return s.show(w, r, now, "devices.html", page{Title: "devices.title", At: "devices", Live: "parts", Data: d})
}

// deviceData is the data of the page of one device.
type deviceData struct {
	Device   deviceRow
	Set      Device // what the owner says of it
	Form     deviceForm
	Kinds    []string     // that the owner may choose from
	Addrs4   []netip.Addr // its addresses of IPv4
	Addrs6   []netip.Addr // and of IPv6
	Undo     *undoNotice
	Of       string       // the key of the device that it is about
	Works    *deviceWorks // how it goes with its ports; nil for "new"
	Leases   []leaseRow
	Rules    []Rule
	Policies []PolicyRule // that name it
	Events   []activityLine
}

func (s *Server) devicePage(w http.ResponseWriter, r *http.Request) error {
	return s.showDevice(w, r, nil, nil)
}

// showDevice shows a device; with a form that was sent and is wrong, that.
func (s *Server) showDevice(w http.ResponseWriter, r *http.Request, form *deviceForm, why *Problem) error {
	now, key := s.look(), strings.ToLower(r.PathValue("key"))
	d := deviceData{Device: deviceRow{Key: key}, Kinds: deviceKinds(), Of: key, Undo: s.undos.notice(r.URL.Query().Get("undo"), now.now)}
	if key != lease.NewDevices {
		all := s.allDevices(true)
		addr, _ := netip.ParseAddr(key) // a device whose MAC address is known is found by its addresses too
		i := slices.IndexFunc(all, func(one deviceRow) bool { return one.Key == key || slices.Contains(one.Addrs, addr) })
		if i < 0 {
			return problem(CodeNotFound, "no such device is there, has a port, or has asked for one")
		}
		d.Device = all[i]
		for _, a := range d.Device.Addrs {
			if a.Is4() {
				d.Addrs4 = append(d.Addrs4, a)
			} else {
				d.Addrs6 = append(d.Addrs6, a)
			}
		}
		now.fill(&d)
		for _, rule := range s.policyOf(now.Policy, now.Own).Rules {
			if d.Device.MAC != "" && slices.Contains(rule.Devices, d.Device.MAC) {
				d.Policies = append(d.Policies, rule)
			}
		}
	}
	if mac := deviceID(key); mac != "" {
		d.Set = s.lookAtDevices().device(mac)
		d.Form = deviceFormOf(d.Set)
	}
	if form != nil {
		d.Form = *form
	}
	f := d.Form
	d.Form.Limited = f.Ports != "" || f.Most != "" || f.Minutes != "" || f.Protocols != "" || f.Schedule != "" || f.LowPorts || !f.IPv6
	return s.show(w, r, now, "device.html", page{Title: "device.title", At: "devices", Problem: why, Live: live(why), Data: d})
}

// fill adds what a device holds, and what has happened.
func (v view) fill(d *deviceData) {
	for _, row := range rowsOf(v.leases()) {
		if row.Key == d.Device.Key {
			d.Leases = append(d.Leases, row)
		}
	}
	slices.Reverse(d.Leases)
	for _, state := range v.Rules {
		if to := state.Target; deviceRef(to.Device, to.Addr) == d.Device.Key || to.Device == "" && slices.Contains(d.Device.Addrs, to.Addr) {
			d.Rules = append(d.Rules, v.rule(state))
		}
	}
	d.Events = v.about(d.Device, 50)
	works := v.works(*d)
	works.Tone = worksTone(works.Word)
	d.Works = &works
}

// about returns the newest lines about a device.
func (v view) about(one deviceRow, n int) (lines []activityLine) {
	for _, e := range slices.Backward(v.Events()) {
		l := v.line(v.event(e))
		if l.Key == one.Key || e.Lease.Device == "" && (slices.Contains(one.Addrs, e.Lease.Client) || slices.Contains(one.Addrs, e.Lease.Internal.Addr())) {
			lines = append(lines, l)
		}
	}
	sortLines(lines)
	return lines[:min(n, len(lines))]
}
