package ssdp

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxField bounds every text that the caller puts into a message, in bytes. A message has at most five of
// them, which keeps it inside one Ethernet frame.
const maxField = 200

// Target is one thing that is announced and can be searched for (UDA 1.1, tables 1-1 to 1-3).
type Target struct {
	// UDN is the unique device name of the device that it belongs to: "uuid:" and the UUID. Required.
	UDN string

	// Type is "upnp:rootdevice", or a device or service type without its version, for example
	// "urn:schemas-upnp-org:device:InternetGatewayDevice". Empty means the device itself, known by its UDN.
	Type string

	// Version is the highest implemented version of Type, 1 or more. A device must answer for all lower ones as
	// well (UDA 1.1, section 1.3.2). 0 means that Type has no versions.
	Version int

	// Announced is the version that is announced, and that a search for everything finds. 0 with a Version means that it
	// is found only by those who look for it.
	Announced int
}

// everything is what those search for who want to know of all targets.
const everything = "ssdp:all"

func (t Target) hidden() bool { return t.Version > 0 && t.Announced == 0 }

// searched is what a search for the target says, but for the version.
func (t Target) searched() string { return cmp.Or(t.Type, t.UDN) }

// name is the value of the NT or ST header for one version of the target; version is 0 if it has none.
func (t Target) name(version int) string {
	switch {
	case t.Type == "":
		return t.UDN
	case version == 0:
		return t.Type
	default:
		return t.Type + ":" + strconv.Itoa(version)
	}
}

// usn is the unique service name that goes with [Target.name].
func (t Target) usn(version int) string {
	if t.Type == "" {
		return t.UDN
	}
	return t.UDN + "::" + t.name(version)
}

// match tells whether a search for st means this target, and which version of it was asked for.
func (t Target) match(st string) (version int, ok bool) {
	if t.Version == 0 {
		return 0, st == t.name(0)
	}
	digits, ok := strings.CutPrefix(st, t.Type+":")
	if !ok {
		return 0, false
	}
	version, err := strconv.Atoi(digits)
	// The reply echoes what was asked, so "01" and "+1" must not pass for 1.
	if err != nil || strconv.Itoa(version) != digits || version < 1 || version > t.Version {
		return 0, false
	}
	return version, true
}

func (t Target) check() error {
	switch uuid, ok := strings.CutPrefix(t.UDN, "uuid:"); {
	case !ok || uuid == "":
		return fmt.Errorf("device name %q must be \"uuid:\" and a UUID", t.UDN)
	case t.Version < 0 || t.Version > 99:
		return fmt.Errorf("version %d must be between 0 and 99", t.Version)
	case t.Type == "" && t.Version != 0:
		return errors.New("a device name has no version")
	case t.Announced < 0 || t.Announced > t.Version:
		return fmt.Errorf("announced version %d must be between 0 and %d", t.Announced, t.Version)
	}
	return errors.Join(checkField("device name", t.UDN), checkField("type", t.Type))
}

func checkTargets(targets []Target) error {
	if !slices.ContainsFunc(targets, func(t Target) bool { return !t.hidden() }) {
		return errors.New("no targets: there is nothing to announce")
	}
	for i, t := range targets {
		if err := t.check(); err != nil {
			return fmt.Errorf("target %d: %w", i, err)
		}
		if slices.ContainsFunc(targets[:i], func(o Target) bool { return o.UDN == t.UDN && o.Type == t.Type }) {
			return fmt.Errorf("target %d: %s is listed twice", i, t.usn(t.Version))
		}
	}
	return nil
}

// checkField refuses text that would break a message apart or make it too long for one frame.
func checkField(name, value string) error {
	if len(value) > maxField {
		return fmt.Errorf("%s has %d bytes, at most %d are possible", name, len(value), maxField)
	}
	if i := strings.IndexFunc(value, func(r rune) bool { return r < ' ' || r > '~' }); i >= 0 {
		return fmt.Errorf("%s %q must be printable ASCII", name, value)
	}
	return nil
}
