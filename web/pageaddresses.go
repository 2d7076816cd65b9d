package web

import (
	"cmp"
	"net/http"
	"net/netip"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// addressesData is the data of the page of public addresses.
type addressesData struct {
	Addresses []addressRow
	Form      ruleForm
	Static    bool // the form is for a rule, not for an address of the pool
	Free      int  // how many of the pool are free
	Choices   []choice
}

// addressRow is a public address as the page shows it.
type addressRow struct {
	PublicAddress
	Key, Name  string // of the device that has it; "" while it is free
	FromConfig bool   // the rule is in the configuration file
}

func (s *Server) addressesPage(w http.ResponseWriter, r *http.Request) error {
	return s.showAddresses(w, r, addressesData{}, nil)
}

func (s *Server) showAddresses(w http.ResponseWriter, r *http.Request, d addressesData, why *Problem) error {
	now := s.look()
	for _, a := range now.publicAddresses(s.Policy.Pool) {
		row := addressRow{PublicAddress: a, FromConfig: a.Via == lease.OriginConfig}
		if a.Rule != "" || a.Lease != "" {
			row.Key, row.Name = deviceRef(a.Device, a.InternalAddress), now.deviceName(a.Device, a.InternalAddress)
		} else if a.Pool {
			d.Free++
		}
		d.Addresses = append(d.Addresses, row)
	}
	d.Choices = now.choices()
	return s.show(w, r, now, "addresses.html", page{Title: "addresses.title", At: "addresses", Problem: why, Live: live(why), Data: d})
}

// live is how a page with a form follows the router: not while it tells what is wrong with the form.
func live(why *Problem) string {
	if why != nil {
		return ""
	}
	return "parts"
}

// addressForm gives a public address to a device: one of the pool, or by a rule any of ours.
func (s *Server) addressForm(w http.ResponseWriter, r *http.Request) error {
	if err := readForm(r); err != nil {
		return err
	}
	f := formOf(r)
	d := addressesData{Form: f, Static: r.PostForm.Get("static") != ""}
	var given lease.ID // of the rule or the lease
	var err error
	if d.Static {
		f.Enabled, f.Hairpin = true, true
		var change RuleChange
		change, err = s.putForm(r, f, lease.RuleAddress, lease.RuleOptions{})
		given = change.Rule.ID
	} else {
		given, err = s.assign(r, f)
	}
	if err != nil {
		return s.showAddresses(w, r, d, s.answerError(r, err))
	}
	noteTarget(w, string(given))
	http.Redirect(w, r, link("/addresses", "done", "assigned"), http.StatusSeeOther)
	return nil
}

func (s *Server) assign(r *http.Request, f ruleForm) (lease.ID, error) {
	settings := f.settings(lease.RuleAddress, s.Leases.Now())
	body := AddressRequest{To: settings.To, Device: settings.Device, Public: f.Public, Name: f.Name}
	if d, err := time.ParseDuration(f.For); err == nil && d > 0 {
		body.LifetimeSeconds = uint64(d / time.Second)
	}
	read := s.reader(nil)
	request := read.addressRequest(body, s.Addrs)
	if err := read.problem(); err != nil {
		return "", err
	}
	request.Origin = lease.OriginWeb
	l, err := s.Leases.Open(r.Context(), request)
	return l.ID, err
}

// addressShort tells in short what has a public address: a rule or a lease.
func (s *Server) addressShort(id string) string { return cmp.Or(s.ruleShort(id), s.leaseShort(id)) }

// releaseForm takes an address back, whether a rule or a lease has given it away.
func (s *Server) releaseForm(w http.ResponseWriter, r *http.Request) error {
	if err := readForm(r); err != nil {
		return err
	}
	wanted, _ := netip.ParseAddr(r.PostForm.Get("public")) // one that is none is not found
	for _, a := range s.look().publicAddresses(s.Policy.Pool) {
		if a.Address != wanted {
			continue
		}
		given := string(cmp.Or(a.Rule, a.Lease))
		noteBefore(w, s.addressShort(given))
		var err error
		switch {
		case a.Rule != "":
			if _, err = s.Leases.RemoveRule(r.Context(), a.Rule, lease.RuleOptions{By: lease.OriginWeb}); err != nil {
				err = s.ruleProblem(err, lease.RuleChange{})
			}
		case a.Lease != "":
			_, err = s.Leases.CloseID(r.Context(), lease.Actor{Origin: lease.OriginWeb}, a.Lease)
		}
		if err != nil && !isProblem(err, CodeNoRule) {
			return s.showAddresses(w, r, addressesData{}, s.answerError(r, err))
		}
		noteTarget(w, given)
	}
	http.Redirect(w, r, link("/addresses", "done", "released"), http.StatusSeeOther)
	return nil
}
