package web

import (
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/portreeve/portreeve/lease"
)

func (s *Server) getAddresses(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, AddressList{s.look().publicAddresses(s.Policy.Pool)})
}

// publicAddresses lists the addresses of the pool, and those that rules give away besides.
func (v view) publicAddresses(pool []netip.Addr) []PublicAddress {
	all := make([]PublicAddress, len(pool))
	for i, a := range pool {
		all[i] = PublicAddress{Address: a, Pool: true}
	}
	at := func(a netip.Addr) *PublicAddress {
		i := slices.IndexFunc(all, func(p PublicAddress) bool { return p.Address == a })
		if i < 0 {
			all = append(all, PublicAddress{Address: a})
			i = len(all) - 1
		}
		return &all[i]
	}
	for _, l := range v.Leases {
		if l.Whole() && l.External.Addr().IsValid() && !l.Pinhole() {
			p, own := at(l.External.Addr()), v.lease(l)
			p.Lease, p.Via, p.InternalAddress, p.Device, p.DeviceName = l.ID, l.Origin, own.InternalAddress, own.Device, own.DeviceName
			if p.Permanent = l.Permanent; !l.Permanent {
				p.RemainingSeconds = own.RemainingSeconds
			}
		}
	}
	for _, r := range v.Rules {
		if r.Kind == lease.RuleAddress && r.Enabled {
			p := at(r.Public)
			p.Rule, p.Via, p.InternalAddress, p.Device, p.DeviceName = r.ID, r.Origin, r.Target.Addr, r.Target.Device, v.ruleDeviceName(r.Rule)
			p.Permanent = true
		}
	}
	return all
}

// postAddress gives an address of the pool to a device, in the name of the owner.
func (s *Server) postAddress(origin lease.Origin) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		var body AddressRequest
		wrong, err := readMembers(r, &body)
		if err != nil {
			return err
		}
		read := s.reader(wrong)
		request := read.addressRequest(body, s.Addrs)
		if err := read.problem(); err != nil {
			return err
		}
		request.Origin = origin
		dry, err := flag(r, "dry_run")
		if err != nil {
			return err
		}
		if dry {
			l, _, err := s.Leases.Try(r.Context(), request)
			if err != nil {
				return err
			}
			return writeJSON(w, s.look().lease(l))
		}
		l, err := s.Leases.Open(r.Context(), request)
		if err != nil {
			return err
		}
		w.Header().Set("Location", "/api/v1/leases/"+string(l.ID))
		return writeJSONStatus(w, http.StatusCreated, s.look().lease(l))
	}
}

// longestLifetime is what may be asked for; whoever wants more leaves it out.
const longestLifetime = 365 * 24 * time.Hour

func (r *reader) lifetime(seconds uint64) time.Duration {
	if seconds > uint64(longestLifetime/time.Second) {
		r.add("lifetime_seconds", "is %d, allowed are at most %d", seconds, longestLifetime/time.Second)
		return 0
	}
	return time.Duration(seconds) * time.Second
}

func (r *reader) addressRequest(body AddressRequest, addrs func(mac string) []netip.Addr) lease.Request {
	target, wish := r.host(body, addrs), r.address("public", body.Public)
	if wish.IsValid() && !wish.Is4() {
		r.add("public", "is %s, allowed is an IPv4 address of the pool", wish)
	}
	q := lease.Request{
		Mapping: lease.Mapping{Internal: netip.AddrPortFrom(target, 0), External: netip.AddrPortFrom(wish, 0), Description: r.name(body.Name)},
		Client:  target, Key: lease.ByInternal, Choice: lease.Nearest, Lifetime: r.lifetime(body.LifetimeSeconds),
	}
	if wish.IsValid() {
		q.Choice = lease.Exact
	}
	q.Permanent = q.Lifetime == 0
	return q
}

// host reads who shall have an address: an IPv4 address of the LAN, or a device that is there.
func (r *reader) host(body AddressRequest, addrs func(mac string) []netip.Addr) netip.Addr {
	to, mac := r.address("to", body.To), r.device(body.Device)
	switch {
	case r.has("to") || r.has("device"):
		return netip.Addr{}
	case body.To == "" && body.Device == "":
		r.add("to", "is absent, and so is device: one of them says who gets it")
		return netip.Addr{}
	case body.To != "" && body.Device != "":
		r.add("device", "is given, and so is to: only one of them says who gets it")
		return netip.Addr{}
	case body.To != "" && !to.Is4():
		r.add("to", "is %s, allowed is an IPv4 address", to)
		return netip.Addr{}
	case body.To != "":
		return to
	}
	for _, a := range addrs(mac) {
		if a.Is4() {
			return a
		}
	}
	r.add("device", "is %s, which has no IPv4 address on the LANs now, allowed is a device that is there", mac)
	return netip.Addr{}
}
