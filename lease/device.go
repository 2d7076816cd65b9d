package lease

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Access is what a device may, before anybody looks at rules.
type Access string

// The accesses.
const (
	AccessInherit Access = ""      // what the rules of the policy say
	AccessAllow   Access = "allow" // its ports, whatever rules say
	AccessAsk     Access = "ask"   // the same, once the owner has said yes
	AccessDeny    Access = "deny"  // none
)

// NewDevices stands in place of a MAC address for all devices of which nothing is set.
const NewDevices = "new"

// MaxDevices is of how many devices something can be set.
const MaxDevices = 256

// The most characters of the texts of a device.
const (
	MaxDeviceName = 64
	MaxDeviceNote = 256
	MaxDeviceIcon = 32
)

// Device is what the owner has set of a machine on the LAN, for both families: it is known by its MAC address, whatever
// addresses it has.
type Device struct {
	MAC  string // lower case with colons, or [NewDevices]
	Name string // what the owner calls it
	Note string
	Icon string // for the pages

	Access      Access
	Ports       PortSet       // outside; none: those of the policy. They bound what rules allow, too
	Mappings    int           // at most, in place of the policy's limit; 0: that holds
	MaxLifetime time.Duration // no lease is longer; 0: what the policy says
	NoIPv6      bool          // no pinholes
	Protocols   []Protocol    // of its mappings; none: all
	LowPorts    bool          // beside the ports of the policy those below 1024; without a meaning where Ports are named
	Schedule    Schedule      // when it may have any; no lease goes on beyond that

	Created time.Time
	Version uint64 // counts up with each change, from 1
}

// title names a device for people.
func (d *Device) title() string {
	switch {
	case d.MAC == NewDevices:
		return "new devices"
	case d.Name != "":
		return fmt.Sprintf("device %q", d.Name)
	}
	return "device " + d.MAC
}

// String says what is set, in a line.
func (d Device) String() string {
	parts := []string{map[Access]string{AccessInherit: "as the policy says", AccessAllow: "may open ports", AccessAsk: "asks the owner", AccessDeny: "may not open ports"}[d.Access]}
	if len(d.Ports) > 0 {
		parts = append(parts, "ports "+d.Ports.String())
	}
	if d.Mappings > 0 {
		parts = append(parts, fmt.Sprintf("at most %d mappings", d.Mappings))
	}
	if d.MaxLifetime > 0 {
		parts = append(parts, "for at most "+d.MaxLifetime.String())
	}
	if d.NoIPv6 {
		parts = append(parts, "no IPv6")
	}
	if len(d.Protocols) > 0 {
		parts = append(parts, "only "+joined(d.Protocols))
	}
	if d.LowPorts {
		parts = append(parts, "also ports below 1024")
	}
	if len(d.Schedule) > 0 {
		parts = append(parts, "during "+joined(d.Schedule))
	}
	return strings.Join(parts, ", ")
}

// validate returns everything that is wrong with what is set, nil if nothing is, and cleans what is shown to people.
func (d *Device) validate() error {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...))
	}
	if !isMAC(d.MAC) && d.MAC != NewDevices {
		fault("device %q, allowed is a MAC address in lower case such as 02:00:00:00:00:10, or %s", CleanText(d.MAC, 32), NewDevices)
	}
	if !slices.Contains([]Access{AccessInherit, AccessAllow, AccessAsk, AccessDeny}, d.Access) {
		fault("access %q, allowed are allow, ask, deny, and none to inherit", CleanText(string(d.Access), 32))
	}
	if !IsDeviceIcon(d.Icon) {
		fault("icon %q, allowed are up to %d of a-z, 0-9 and hyphen", CleanText(d.Icon, MaxDeviceIcon), MaxDeviceIcon)
	}
	if d.Mappings < 0 || d.Mappings > 65535 {
		fault("%d mappings, allowed are 1 to 65535, and 0 for what the policy says", d.Mappings)
	}
	if d.MaxLifetime < 0 || d.MaxLifetime > 0 && d.MaxLifetime < time.Second {
		fault("lifetime %s, allowed are 1s and more, and 0 for what the policy says", d.MaxLifetime)
	}
	faults = append(faults, d.Ports.faults(SettingPorts)...)
	for _, p := range d.Protocols {
		if !p.HasPorts() {
			fault("%s, allowed are %s", p, strings.Join(ProtocolNames(), ", "))
		}
	}
	if err := d.Schedule.validate(); err != nil {
		faults = append(faults, err)
	}
	d.Name, d.Note = CleanText(d.Name, MaxDeviceName), CleanText(d.Note, MaxDeviceNote)
	return errors.Join(faults...)
}

// IsDeviceIcon tells whether a text can be the name of an icon: up to [MaxDeviceIcon] of a-z, 0-9 and hyphen, or none.
func IsDeviceIcon(text string) bool {
	return len(text) <= MaxDeviceIcon && strings.Trim(text, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// device returns what is set of the device with a MAC address, which may be unknown; nil if nothing is.
func (p Policy) device(mac string) *Device {
	if d, ok := p.Devices[mac]; ok {
		return &d
	}
	if d, ok := p.Devices[NewDevices]; ok {
		return &d
	}
	return nil
}

// judge decides about a port, if what is set of the device decides: then nobody looks at rules.
func (d *Device) judge(p Policy, a asker, port uint16) (decided bool, err error) {
	switch {
	case d == nil:
		return false, nil
	case d.refuses(a) != "":
		return true, ErrNotAuthorized
	case len(d.Ports) > 0 && !d.Ports.Contains(port):
		return true, ErrPort
	case d.Access == AccessInherit:
		return false, nil
	case len(d.Ports) == 0 && !p.Ports.Contains(port) && !d.low(port):
		return true, ErrPort
	}
	return true, nil
}

// refuses says why the device may have no port at all, "" if it may have some.
func (d *Device) refuses(a asker) string {
	switch {
	case d == nil:
		return ""
	case d.Access == AccessDeny:
		return d.String()
	case !d.Schedule.Holds(a.at):
		return "it may have ports at " + joined(d.Schedule)
	case len(d.Protocols) > 0 && !slices.Contains(d.Protocols, a.protocol):
		return "it may have ports of " + joined(d.Protocols)
	}
	return ""
}

// low tells whether the device may have a port that others may not, because it is below 1024.
func (d *Device) low(port uint16) bool {
	return d != nil && d.LowPorts && len(d.Ports) == 0 && port < 1024
}

// checkDevice judges by what is set of the devices that a request is about: of the one that asks, and of the one that the
// port leads to.
func (a *authorization) checkDevice(p Policy, r Request, f Facts) {
	if r.Origin.Owner() {
		return
	}
	macs := []string{f.MAC}
	if f.ClientMAC != f.MAC {
		macs = append(macs, f.ClientMAC)
	}
	for _, mac := range macs {
		if d := p.device(mac); d != nil {
			if d.Access == AccessDeny {
				a.check(false, ErrNotAuthorized, "device", "%s may not open ports: the owner has said so", d.title())
			} else {
				a.check(true, nil, "device", "%s: %s", d.title(), d)
			}
			if d.NoIPv6 && r.Pinhole() {
				a.check(false, ErrNotAuthorized, "device", "%s may not open ports over IPv6", d.title())
			}
		}
	}
}

// checkApproval asks the owner, where that is wanted, when nothing else is in the way.
func (a *authorization) checkApproval(v verdict, f Facts) {
	by := v.asks()
	if by == "" || f.Renewal {
		return
	}
	a.check(f.Approval != refusedByOwner, ErrNotAuthorized, "approval", "%s: the owner has said no", by)
	a.check(f.Approval == approvedByOwner, ErrWaiting, "approval", "%s: the owner is asked", by)
}

// DeviceOptions says how what is set of a device is to be changed.
type DeviceOptions struct {
	By        Origin // the admin page or the command line
	IfVersion uint64 // fail with [ErrChanged] unless it has this version; 0: whatever it has
	DryRun    bool   // only tell what would happen

	// Close closes the leases that are not allowed any more. Where a device is denied, or it is not the time of its schedule,
	// that happens always.
	Close bool
}

// DeviceChange is what such a change does.
type DeviceChange struct {
	Device  Device         // as it is then; of one that is forgotten, as it was
	Refused []RefusedLease // the leases of the device that would not be granted again
	Closed  bool           // they are closed
}

// SetDevice sets what a device may. Its Created and Version are set by the manager. The error wraps [ErrInvalid],
// [ErrChanged], [ErrFull] or [ErrUnavailable], and nothing has changed then.
func (m *Manager) SetDevice(ctx context.Context, d Device, o DeviceOptions) (DeviceChange, error) {
	if err := d.validate(); err != nil {
		return DeviceChange{}, err
	}
	return m.changeDevice(ctx, d.MAC, o, func(t *tx, f facts) (DeviceChange, error) { return t.setDevice(d, o, f) })
}

// ForgetDevice takes away what is set of a device: it becomes one of [NewDevices]. The error wraps [ErrNotFound],
// [ErrChanged] or [ErrUnavailable].
func (m *Manager) ForgetDevice(ctx context.Context, mac string, o DeviceOptions) (DeviceChange, error) {
	return m.changeDevice(ctx, mac, o, func(t *tx, f facts) (DeviceChange, error) {
		old, ok := t.policies().own.Devices[mac]
		if !ok {
			return DeviceChange{}, fmt.Errorf("%w: nothing is set of device %q", ErrNotFound, CleanText(mac, 32))
		}
		devices := maps.Clone(t.policies().own.Devices)
		delete(devices, mac)
		change := DeviceChange{Device: old}
		t.putDevices(&change, devices, o, f, old.title()+" forgotten")
		return change, nil
	})
}

func (m *Manager) changeDevice(ctx context.Context, mac string, o DeviceOptions, decide func(*tx, facts) (DeviceChange, error)) (DeviceChange, error) {
	var change DeviceChange
	_, err := m.do(ctx, &operation{decide: func(t *tx, f facts) (_ []Lease, err error) {
		if has := t.policies().own.Devices[mac].Version; o.IfVersion != 0 && o.IfVersion != has {
			return nil, fmt.Errorf("%w: the device has version %d, not %d: look at it again", ErrChanged, has, o.IfVersion)
		}
		change, err = decide(t, f)
		return nil, err
	}})
	return ifDecided(&change, err), err
}

func (t *tx) setDevice(d Device, o DeviceOptions, f facts) (DeviceChange, error) {
	old, known := t.policies().own.Devices[d.MAC]
	if !known && len(t.policies().own.Devices) >= MaxDevices {
		return DeviceChange{}, fmt.Errorf("%w: something is set of %d devices, allowed are %d: forget one", ErrFull, MaxDevices, MaxDevices)
	}
	if d.Version, d.Created = old.Version+1, old.Created; !known {
		d.Created = f.now.Round(0)
	}
	devices := maps.Clone(t.policies().own.Devices)
	if devices == nil {
		devices = map[string]Device{}
	}
	devices[d.MAC] = d
	change := DeviceChange{Device: d}
	o.Close = o.Close || d.Access == AccessDeny || !d.Schedule.Holds(f.wall.time)
	t.putDevices(&change, devices, o, f, d.title()+": "+d.String())
	return change, nil
}

// putDevices makes the devices part of the policy, and finds out what that does to the leases of the one that has changed.
func (t *tx) putDevices(change *DeviceChange, devices map[string]Device, o DeviceOptions, f facts, what string) {
	next := *t.policies()
	next.own.Devices, next.whole.Devices = devices, devices
	mac := change.Device.MAC
	for _, l := range t.refusedBy(next.whole, f) {
		if _, own := devices[l.Device]; l.Device == mac || mac == NewDevices && !own {
			change.Refused = append(change.Refused, l)
		}
	}
	change.Closed = o.Close && len(change.Refused) > 0
	if o.DryRun {
		return
	}
	t.policy = &next
	e := Event{Kind: EventPolicy, By: o.By, Reason: CleanText(what, 2*MaxDescription)}
	if mac != NewDevices {
		e.Lease.Device = mac
	}
	t.events = append(t.events, e)
	t.endWithHours(next.whole, mac, f)
	if change.Closed {
		for _, l := range change.Refused {
			t.closed(t.get(l.ID), o.By, "the owner does not let the device have it any more: "+l.Reason)
		}
	}
}

// endWithHours has what a device holds end when its hours do: what was opened before they were set knows nothing of them. What
// it may not have now is no business of this.
func (t *tx) endWithHours(p Policy, mac string, f facts) {
	for _, l := range t.where(func(l *Lease) bool { return l.Rule == "" }) {
		d := p.device(l.Device)
		if d == nil || d.MAC != mac {
			continue
		}
		rest, bounded := d.Schedule.Rest(f.wall.time)
		if end := f.now.Add(rest); bounded && rest > 0 && (l.Permanent || l.Expires.After(end)) {
			shorter := *l
			shorter.Permanent, shorter.Expires = false, end
			t.put(&shorter)
		}
	}
}
