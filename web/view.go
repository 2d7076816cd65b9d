package web

import (
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// maxName bounds a device's name as it is shown.
const maxName = 64

// view turns what the manager published into the API's types, as of one moment.
type view struct {
	*lease.Snapshot
	now    time.Time
	status Status
	name   func(lease.Lease) string
	use    func(lease.ID) (Use, bool)

	stays  func() []stay             // worked out when somebody asks
	lasted func() map[uint64]openFor // by the events that began and ended them
	before func() map[uint64]RuleSettings
}

// look takes the newest snapshot.
func (s *Server) look() view {
	snap, now := s.Leases.Snapshot(), s.Leases.Now()
	v := view{Snapshot: snap, now: now, status: s.statusOf(snap, now), name: s.nameIn(snap), use: s.Use}
	v.status.DMZ = v.dmzHosts()
	v.stays = sync.OnceValue(v.staysOf)
	v.lasted = sync.OnceValue(func() map[uint64]openFor { return lasted(v.stays()) })
	v.before = sync.OnceValue(v.rulesBefore)
	return v
}

// nameIn returns what people call a device: the owner's name for it, else that of the network.
func (s *Server) nameIn(snap *lease.Snapshot) func(lease.Lease) string {
	return func(l lease.Lease) string {
		if d := snap.Own.Devices[l.Device]; d.Name != "" {
			return d.Name
		}
		return s.DeviceName(l)
	}
}

// dmzHosts lists the hosts that get what nothing else takes, also one that does not get it just now.
func (v view) dmzHosts() []DMZHost {
	hosts := []DMZHost{}
	for _, r := range v.Rules {
		if r.Kind == lease.RuleDMZ && r.Enabled {
			hosts = append(hosts, DMZHost{
				Rule: r.ID, Name: r.Name, Device: r.Target.Device, DeviceName: v.ruleDeviceName(r.Rule), Address: r.Target.Addr,
				IPv6: r.IPv6, InForce: r.Why == "", Why: r.Why, Until: settingsOf(r.Rule).Until,
			})
		}
	}
	return hosts
}

func (s *Server) statusOf(snap *lease.Snapshot, now time.Time) Status {
	st := Status{
		Facts:         s.Facts(),
		UptimeSeconds: seconds(now.Sub(s.started)),
		Leases:        len(snap.Leases),
		LeasesByVia:   make(map[string]int),
		Problems:      make([]Trouble, 0, len(snap.Problems)),
	}
	// JSON knows no nil lists: absent is [] and never null.
	st.WANs, st.LANs = notNil(slices.Clone(st.WANs)), notNil(slices.Clone(st.LANs))
	for i := range st.WANs {
		st.WANs[i].Addresses = notNil(st.WANs[i].Addresses)
	}
	for i := range st.LANs {
		st.LANs[i].Addresses = notNil(st.LANs[i].Addresses)
	}
	st.Protocols, st.Notices = notNil(st.Protocols), notNil(st.Notices)
	for _, l := range snap.Leases {
		st.LeasesByVia[string(l.Origin)]++
	}
	for _, w := range snap.Waiting {
		if now.Sub(w.Last) < lease.WaitingFor {
			st.Waiting++
		}
	}
	st.Rules = len(snap.Rules)
	for _, r := range snap.Rules {
		if r.Why == "" {
			st.RulesInForce++
		}
	}
	for _, p := range snap.Problems {
		st.Problems = append(st.Problems, Trouble{p.Source, p.Text, seconds(now.Sub(p.Since))})
	}
	st.Paused = pausedOf(snap.Paused(), now)
	st.Verdict = judge(st)
	st.ExpectedNAT = expectNAT(st, snap)
	return st
}

// judge decides the verdict: the worst thing that is true.
func judge(st Status) Verdict {
	best := func(want WANState) bool {
		return slices.ContainsFunc(st.WANs, func(w WANFacts) bool { return w.State == want })
	}
	switch {
	case len(st.Problems) > 0:
		return VerdictTrouble
	case len(st.LANs) == 0:
		return VerdictNoLAN
	case st.Paused.On:
		return VerdictPaused
	case best(WANPublic):
		return VerdictReady
	case best(WANPrivate):
		return VerdictDoubleNAT
	case best(WANShared):
		return VerdictSharedAddress
	case best(WANNoAddress):
		return VerdictNoAddress
	default:
		return VerdictNoWAN
	}
}

// sameStatus tells whether two statuses differ in nothing but the time that has passed.
func sameStatus(a, b Status) bool {
	timeless := func(s Status) Status {
		s.UptimeSeconds, s.Paused.RemainingSeconds = 0, 0
		s.WANs = slices.Clone(s.WANs)
		for i := range s.WANs {
			s.WANs[i].SinceSeconds = 0
		}
		s.Problems = slices.Clone(s.Problems)
		for i := range s.Problems {
			s.Problems[i].SinceSeconds = 0
		}
		return s
	}
	return reflect.DeepEqual(timeless(a), timeless(b))
}

func (v view) leases() []Lease {
	all := make([]Lease, len(v.Leases))
	for i, l := range v.Leases {
		all[i] = v.lease(l)
	}
	return all
}

// refused describes leases that may not be had any more.
func (v view) refused(leases []lease.RefusedLease) []RefusedLease {
	all := make([]RefusedLease, len(leases))
	for i, l := range leases {
		all[i] = RefusedLease{v.lease(l.Lease), l.Reason}
	}
	return all
}

func (v view) lease(l lease.Lease) Lease {
	hosts := make([]RemoteHost, len(l.Filters))
	for i, f := range l.Filters {
		hosts[i] = RemoteHost{f.Prefix, f.Port}
	}
	state, use := v.used(&l)
	return Lease{
		ID: l.ID, Seq: l.Seq, Protocol: l.Protocol.String(), ExternalAddress: l.External.Addr(), ExternalPort: l.External.Port(),
		InternalAddress: l.Internal.Addr(), InternalPort: l.Internal.Port(), PortCount: l.PortCount(), WAN: l.WAN, RemoteHosts: hosts,
		Description: l.Description, Note: l.Note, EndFixed: l.EndFixed, Agent: l.Agent, Via: l.Origin, Client: l.Client,
		Device: l.Device, DeviceName: lease.CleanText(v.name(l), maxName), Created: l.Created.Round(0),
		RemainingSeconds: seconds(l.Remaining(v.now)), Permanent: l.Permanent, Renewals: l.Renewals, Stuck: l.Stuck,
		State: state, Traffic: use,
	}
}

// detail looks a lease up; false when there is none (any more).
func (v view) detail(id lease.ID) (LeaseDetail, lease.Lease, bool) {
	l, ok := v.ByID(id)
	if !ok {
		return LeaseDetail{}, l, false
	}
	d := LeaseDetail{Lease: v.lease(l), Trace: lease.Trace{}}
	d.Events = v.history(0, lease.HistorySize, func(e *Event) bool { return e.Mapping.ID == id }).Events
	for _, e := range d.Events {
		if e.Kind == lease.EventOpened {
			d.Trace = e.Trace
		}
	}
	return d, l, true
}

// history returns up to limit events older than before (0: the newest) that are wanted.
func (v view) history(before uint64, limit int, wanted func(*Event) bool) History {
	h := History{Events: []Event{}}
	for _, e := range slices.Backward(v.Events()) {
		if before != 0 && e.Seq >= before {
			continue
		}
		one := v.event(e)
		if !wanted(&one) {
			continue
		}
		if len(h.Events) == limit {
			h.Next = h.Events[limit-1].Seq
			break
		}
		h.Events = append(h.Events, one)
	}
	return h
}

// event describes an event with what only others tell: what its device is called, and how long the port was open.
func (v view) event(e lease.Event) Event {
	one := event(e)
	if m := one.Mapping; m.Device != "" || m.Client.IsValid() || m.InternalAddress.IsValid() {
		one.DeviceName = v.knownAs(m.Device, m.InternalAddress, m.Client)
	}
	if e.Rule != nil {
		one.DeviceName = v.ruleDeviceName(e.Rule.Rule)
		if was, ok := v.before()[e.Seq]; ok {
			one.Rule.Was = &was
		}
	}
	if o, ok := v.lasted()[e.Seq]; ok {
		one.OpenSeconds, one.StillOpen = &o.Seconds, o.Still
	}
	return one
}

// knownAs returns what people call the device, "" when it has no name.
func (v view) knownAs(mac string, addr, client netip.Addr) string {
	if !addr.IsValid() {
		addr = client
	}
	l := lease.Lease{Device: mac, Client: client}
	l.Internal = netip.AddrPortFrom(addr, 0)
	return lease.CleanText(v.name(l), maxName)
}

func event(e lease.Event) Event {
	m := EventMapping{
		ID: e.Lease.ID, ExternalAddress: e.Lease.External.Addr(), ExternalPort: e.Lease.External.Port(), InternalAddress: e.Lease.Internal.Addr(),
		InternalPort: e.Lease.Internal.Port(), Description: e.Lease.Description, Client: e.Lease.Client, Device: e.Lease.Device,
	}
	if e.Lease.Internal != (netip.AddrPort{}) {
		m.Protocol, m.PortCount = e.Lease.Protocol.String(), e.Lease.PortCount()
	}
	var rule *EventRule
	if n := e.Rule; n != nil {
		rule = &EventRule{ID: n.Rule.ID, Change: n.Change, InForce: n.InForce, Why: n.Why, Settings: settingsOf(n.Rule)}
	}
	return Event{
		Seq: e.Seq, Time: e.Time.Round(0), Kind: e.Kind, By: e.By, Who: e.Who, Mapping: m, Rule: rule,
		Reason: e.Reason, Trace: notNil(e.Trace), Count: e.Count,
	}
}

// seconds rounds down, and a time that has run out is 0.
func seconds(d time.Duration) int64 { return int64(max(0, d) / time.Second) }

func notNil[S ~[]E, E any](s S) S {
	if s == nil {
		return S{}
	}
	return s
}
