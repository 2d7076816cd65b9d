package lease

import (
	"fmt"
	"slices"
)

// Title names a rule for people, for example `forward "nas"`.
func (r Rule) Title() string { return r.title() }

// Unfit says why a rule could not be in force on a router with these interfaces and ports of its own, as far as that can be
// told without asking anybody; empty if it could, or is switched off. Where its device is, is not looked at.
func (r Rule) Unfit(t Topology, own Listeners) string {
	if !r.Enabled {
		return ""
	}
	if r.WAN != "" && !slices.ContainsFunc(t.WANs, func(w WAN) bool { return w.Name == r.WAN }) {
		return fmt.Sprintf("there is no interface %s outside", r.WAN)
	}
	if why := r.misplaced(t); why != "" {
		return why
	}
	if a := r.Target.Addr; r.Target.Device == "" && !t.isHost(a) {
		return fmt.Sprintf("%s is no host on one of the LANs", a)
	}
	port, taken, err := r.ownPort(facts{listeners: func() (Listeners, error) { return own, nil }})
	switch {
	case err != nil:
		return err.Error()
	case taken:
		return fmt.Sprintf("%s is served by the router itself", port)
	}
	return ""
}

// Unfit says what of a policy rule names nothing that is there: networks that no LAN has. Empty if there is nothing of the kind.
func (r PolicyRule) Unfit(t Topology) string {
	for _, name := range r.Networks {
		if !slices.ContainsFunc(t.LANs, func(l LAN) bool { return l.Name == name }) {
			return fmt.Sprintf("there is no LAN on the interface %s", name)
		}
	}
	return ""
}
