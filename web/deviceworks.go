package web

import (
	"slices"
	"strings"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// How it goes with the ports of a device, in one word: the first that applies.
const (
	worksWaits   = "waits"   // a request of it waits for the owner
	worksUsed    = "used"    // something has come through one of its ports, or goes out of it
	worksOpen    = "open"    // it has ports, and nobody has used them yet
	worksBlocked = "blocked" // it may have none
	worksRefused = "refused" // the last that it asked for was refused
	worksSilent  = "silent"  // it has not asked, as far as the history tells
)

// worksTone is how good a word is: the class that colours it.
func worksTone(word string) string {
	switch word {
	case worksUsed, worksOpen:
		return "good"
	case worksWaits, worksBlocked:
		return "warn"
	case worksRefused:
		return "bad"
	default:
		return ""
	}
}

// deviceWorks answers what the owner of a device wants to know first: does it work?
type deviceWorks struct {
	Word     string
	Tone     string
	Ports    string        // that are open, or were asked for, with their protocol
	Seconds  int64         // how long ago a port was used
	Time     time.Time     // of what was refused
	Reason   string        // why
	Consoles []consoleWord // what a console will say of it; none for other devices
}

// works tells how it goes with a device whose page has been filled.
func (v view) works(d deviceData) deviceWorks {
	w := deviceWorks{Word: worksSilent}
	for _, row := range d.Leases {
		w.Word = worksOpen
		if w.Ports == "" {
			w.Ports = withProtocol(row)
		}
	}
	used := false
	for _, row := range d.Leases {
		if t := row.Traffic; t != nil && t.LastSeconds != nil && (!used || *t.LastSeconds < w.Seconds) {
			w.Word, w.Ports, w.Seconds, used = worksUsed, withProtocol(row), *t.LastSeconds, true
		}
	}
	if w.Word != worksSilent && d.Device.Kind == "console" {
		w.Consoles = consoleWords(v.status.ExpectedNAT)
	}
	for _, asked := range v.waiting() {
		if deviceRef(asked.Device, asked.InternalAddress) == d.Device.Key {
			return deviceWorks{Word: worksWaits, Ports: strings.ToUpper(asked.Protocol) + " " + portsText(asked.ExternalPort, asked.PortCount)}
		}
	}
	if w.Word != worksSilent {
		return w
	}
	if d.Device.Access == "deny" {
		return deviceWorks{Word: worksBlocked}
	}
	for _, line := range d.Events { // the newest first
		if line.Kind == lease.EventDenied {
			return deviceWorks{Word: worksRefused, Ports: strings.ToUpper(line.Mapping.Protocol) + " " + line.Ports, Time: line.Time, Reason: line.Reason}
		}
		if slices.Contains([]lease.EventKind{lease.EventOpened, lease.EventClosed, lease.EventRenewed, lease.EventChanged}, line.Kind) {
			break // it had some, and has given them back
		}
	}
	return w
}

func withProtocol(row leaseRow) string { return strings.ToUpper(row.Protocol) + " " + row.Outside }
