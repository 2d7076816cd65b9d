package notify

import (
	"fmt"
	"strings"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// News is one thing that has happened. What is of no meaning for its kind is empty. Its strings are clean, but may say
// anything: devices choose them.
type News struct {
	Kind Kind      `json:"kind"`
	Time time.Time `json:"time"`           // wall clock, when it was noticed
	Text string    `json:"text,omitempty"` // for people, in their language; filled in when it is sent

	Device      string `json:"device,omitempty"`  // MAC address
	Name        string `json:"name,omitempty"`    // what people call the device
	Address     string `json:"address,omitempty"` // of the device
	Via         string `json:"via,omitempty"`     // the protocol by which it has asked
	Protocol    string `json:"protocol,omitempty"`
	Ports       string `json:"ports,omitempty"` // outside: "3074", "5000-5003"; "all"
	Service     string `json:"service,omitempty"`
	Description string `json:"description,omitempty"` // what the program on the device says that it is for

	WAN    string `json:"wan,omitempty"` // the interface
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`

	Source string `json:"source,omitempty"` // of trouble: "store" or "firewall"
	Reason string `json:"reason,omitempty"`
	Over   bool   `json:"over,omitempty"` // it has ended, or is as it should be again

	Count int `json:"count,omitempty"` // of refusals
	Hours int `json:"hours,omitempty"` // for how long
}

// key is what the sentence about the news is called.
func (n News) key() string {
	if n.Over {
		return string(n.Kind) + ".over"
	}
	return string(n.Kind)
}

// who names the device: by its name and how it is reached.
func (n News) who() string {
	var more []string
	for _, one := range []string{n.Address, n.Device} {
		if one != "" && one != n.Name {
			more = append(more, one)
		}
	}
	switch {
	case n.Name == "":
		return strings.Join(more, " ")
	case len(more) == 0:
		return n.Name
	default:
		return fmt.Sprintf("%s (%s)", n.Name, strings.Join(more, " "))
	}
}

// ofMapping fills in what a mapping is, for whom.
func (n News) ofMapping(m lease.Mapping, via lease.Origin) News {
	n.Via, n.Protocol, n.Ports, n.Description = string(via), m.Protocol.String(), portsOf(m), lease.CleanText(m.Description, maxDescription)
	return n
}

// maxDescription is how much of what a device says goes into a message, maxName of what it is called.
const (
	maxDescription = 80
	maxName        = 64
)

// portsOf writes the ports outside.
func portsOf(m lease.Mapping) string {
	first, count := m.External.Port(), m.PortCount()
	switch {
	case first == 0:
		return "all"
	case count > 1:
		return fmt.Sprintf("%d-%d", first, int(first)+count-1)
	default:
		return fmt.Sprint(first)
	}
}

// risky tells whether a port of a mapping deserves a look.
func risky(m lease.Mapping) (service string, yes bool) {
	first := m.External.Port()
	service = lease.RiskyService(first, m.PortCount())
	return service, first == 0 || first < 1024 || service != ""
}
