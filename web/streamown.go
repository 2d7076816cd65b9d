package web

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/portreeve/portreeve/lease"
)

// addOwn tells programs of what the owner sets, as far as they may see it: a token that is for the state alone is told of the
// state alone.
func (s *Server) addOwn(m *messages, f ruleFeed, who identity, before, now view) {
	sees := func(area Area) bool { return who.may(route{role: RoleViewer, area: area}) == nil }
	if sees(AreaRules) {
		m.addRules(f, before, now)
	}
	if sees(AreaPolicy) && (before.Snapshot == nil || before.Own.Version != now.Own.Version) {
		data, err := json.Marshal(s.policyOf(now.Policy, now.Own))
		m.add("policy", "", data, err)
	}
	if sees(AreaDevices) {
		s.addDevices(m, before, now)
	}
}

// addDevices tells of the devices of which something else is set than before; if that is no view yet, of all of which something
// is set. One that is forgotten is told with the settings that hold then.
func (s *Server) addDevices(m *messages, before, now view) {
	if before.Snapshot == nil {
		list := DeviceList{Devices: []Device{}}
		v := s.lookAtDevices()
		for _, mac := range slices.Sorted(maps.Keys(now.Own.Devices)) {
			list.Devices = append(list.Devices, v.device(mac))
		}
		data, err := json.Marshal(list)
		m.add("devices", "", data, err)
		return
	}
	for _, mac := range changedDevices(before.Own.Devices, now.Own.Devices) {
		data, err := json.Marshal(s.lookAtDevices().device(mac))
		m.add("device", "", data, err)
	}
}

// changedDevices lists those of which something else is set.
func changedDevices(before, now map[string]lease.Device) (changed []string) {
	for mac, d := range now {
		if was, known := before[mac]; !known || was.Version != d.Version || !was.Created.Equal(d.Created) {
			changed = append(changed, mac)
		}
	}
	for mac := range before {
		if _, known := now[mac]; !known {
			changed = append(changed, mac)
		}
	}
	slices.Sort(changed)
	return changed
}
