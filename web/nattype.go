package web

import (
	"slices"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/wan"
)

// NATType is the NAT type that consoles will most likely find, in the words of their makers. It is worked out and not
// measured. Where it cannot be told for sure there is more than one, the best first; without a connection there is none.
type NATType struct {
	Xbox        []wan.Xbox        `json:"xbox"`
	PlayStation []wan.PlayStation `json:"playstation"`
	Switch      []wan.Switch      `json:"switch"`
	Reason      wan.Reason        `json:"reason"` // what decides about it
	Text        string            `json:"text"`   // the same in a sentence
}

// expectNAT works out the NAT type from a status that is complete otherwise.
func expectNAT(st Status, snap *lease.Snapshot) NATType {
	c := wan.Circumstances{Kind: outsideOf(st), Requests: requestsOf(st, snap)}
	c.Broken = slices.ContainsFunc(st.Problems, func(p Trouble) bool { return p.Source == "firewall" })
	t := wan.Expect(c)
	return NATType{notNil(t.Xbox), notNil(t.PlayStation), notNil(t.Switch), t.Reason, t.Reason.Text()}
}

// outsideOf is the kind of the best address that there is.
func outsideOf(st Status) wan.Kind {
	for _, one := range []struct {
		state WANState
		kind  wan.Kind
	}{{WANPublic, wan.Public}, {WANPrivate, wan.Private}, {WANShared, wan.Shared}} {
		i := slices.IndexFunc(st.WANs, func(w WANFacts) bool { return w.State == one.state })
		if i < 0 {
			continue
		}
		// The state knows no special addresses; they count among the private ones.
		if a := st.WANs[i].Addresses; len(a) > 0 && one.kind == wan.Private && wan.KindOf(a[0]) == wan.Special {
			return wan.Special
		}
		return one.kind
	}
	return wan.None
}

// requestsOf tells what becomes of the requests of a console of which nothing is set.
func requestsOf(st Status, snap *lease.Snapshot) wan.Requests {
	upnp := func(p ProtocolFacts) bool { return p.Name == string(lease.OriginUPnP) && p.Enabled }
	fresh, set := snap.Own.Devices[lease.NewDevices]
	switch {
	case !slices.ContainsFunc(st.Protocols, upnp):
		return wan.NotHeard
	case st.Paused.On:
		return wan.NotTaken
	case set && fresh.Access == lease.AccessDeny:
		return wan.Refused
	case set && fresh.Access == lease.AccessAsk:
		return wan.OwnerAsked
	case set && fresh.Access == lease.AccessAllow:
		return wan.Granted
	case snap.Policy.DefaultDeny && len(snap.Policy.Rules) == 0:
		return wan.Refused
	default:
		return wan.Granted
	}
}
