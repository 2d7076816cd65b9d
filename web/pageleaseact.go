package web

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/portreeve/portreeve/lease"
)

// What the forms of the list and of one lease do. Whatever closes leases can be taken back, see [undos].

// closeForm closes a lease.
func (s *Server) closeForm(w http.ResponseWriter, r *http.Request) error {
	if err := readBack(r); err != nil {
		return err
	}
	now, u := s.look(), undo{text: "undo.closed"}
	u.add(now, leaseID(r))
	_, err := s.Leases.CloseID(r.Context(), lease.Actor{Origin: lease.OriginWeb}, leaseID(r))
	if err != nil {
		if why := s.answerError(r, err); why.Code != CodeNoLease { // closed before is closed
			return s.showLeases(w, r, why)
		}
	}
	s.backWithUndo(w, r, u)
	return nil
}

// blockForm closes all that a device has open, and lets it open nothing any more.
func (s *Server) blockForm(w http.ResponseWriter, r *http.Request) error {
	if err := readBack(r); err != nil {
		return err
	}
	now := s.look()
	l, ok := now.ByID(leaseID(r))
	if !ok || l.Device == "" {
		return s.showLeases(w, r, problem(CodeNoLease, "there is no such lease (any more), or nobody knows the MAC address of its device"))
	}
	noteBefore(w, s.deviceShort(l.Device))
	u := s.beforeDevice(l.Device, "undo.blocked")
	u.row = rowOf(now.lease(l))
	if err := s.setAccess(r, *u.device, string(lease.AccessDeny)); err != nil {
		return s.showLeases(w, r, s.answerError(r, err))
	}
	u.onlyClosed(s.look())
	noteTarget(w, l.Device)
	s.backWithUndo(w, r, u)
	return nil
}

// forbidForm closes a lease, and puts a rule into the policy that its device may not have the port again.
func (s *Server) forbidForm(w http.ResponseWriter, r *http.Request) error {
	if err := readBack(r); err != nil {
		return err
	}
	now, u := s.look(), undo{text: "undo.forbidden"}
	l, ok := now.ByID(leaseID(r))
	if !ok || l.External.Port() == 0 {
		return s.showLeases(w, r, problem(CodeNoLease, "there is no such lease (any more), or it is no port"))
	}
	u.add(now, l.ID)
	first := l.External.Port()
	rule := lease.PolicyRule{
		Name: fmt.Sprintf("%s %s", strings.ToUpper(l.Protocol.String()), portsText(first, l.PortCount())), Deny: true,
		Protocols: []lease.Protocol{l.Protocol}, Ports: lease.PortSet{{First: first, Last: first + uint16(l.PortCount()) - 1}},
	}
	if l.Device != "" {
		rule.Devices = []string{l.Device}
	} else {
		rule.Clients = []netip.Prefix{netip.PrefixFrom(l.Internal.Addr(), l.Internal.Addr().BitLen())}
	}
	known := map[lease.ID]bool{}
	for _, one := range now.Own.Rules {
		known[one.ID] = true
	}
	change, err := s.changePolicy(r, lease.PolicyOptions{By: lease.OriginWeb}, func(own *lease.OwnPolicy) error { return putPolicyRule(own, rule, true) })
	if err == nil {
		for _, one := range change.Own.Rules {
			if !known[one.ID] {
				u.rule = one.ID
			}
		}
		_, err = s.Leases.CloseID(r.Context(), lease.Actor{Origin: lease.OriginWeb}, l.ID)
	}
	if err != nil && !errors.Is(err, lease.ErrNotFound) {
		return s.showLeases(w, r, s.answerError(r, err))
	}
	s.backWithUndo(w, r, u)
	return nil
}

// leaseForm sets the note of a lease, or how long it lasts from now on.
func (s *Server) leaseForm(w http.ResponseWriter, r *http.Request) error {
	if err := readBack(r); err != nil {
		return err
	}
	var change LeaseChange
	if r.PostForm.Has("note") {
		note := strings.TrimSpace(r.PostForm.Get("note"))
		change.Note = &note
	}
	if text := r.PostForm.Get("left"); text != "" {
		left, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return s.showLeases(w, r, problem(CodeInvalid, "the time left is %q, allowed is a number of seconds", lease.CleanText(text, 32)))
		}
		change.RemainingSeconds = &left
	}
	if err := call[Lease](r, s.patchLease(lease.OriginWeb), string(leaseID(r)), change, nil); err != nil {
		return s.showLeases(w, r, s.answerError(r, err))
	}
	http.Redirect(w, r, withQuery(backOf(r), "done", "lease"), http.StatusSeeOther)
	return nil
}

// selectionForm does something with the leases that are chosen in the list: it closes them, or keeps them as forwards.
func (s *Server) selectionForm(w http.ResponseWriter, r *http.Request) error {
	if err := readBack(r); err != nil {
		return err
	}
	ids := r.PostForm["id"]
	if len(ids) == 0 || len(ids) > leaseRows {
		return s.showLeases(w, r, problem(CodeInvalid, "%d leases are chosen, allowed are 1 to %d", len(ids), leaseRows))
	}
	if r.PostForm.Get("do") == "pin" {
		return s.pinSelection(w, r, ids)
	}
	u := undo{text: "undo.closed"}
	var chosen []lease.ID
	for _, id := range ids {
		chosen = append(chosen, lease.ID(id))
	}
	if err := s.closeAll(w, r, s.look(), chosen, &u); err != nil {
		return s.showLeases(w, r, s.answerError(r, err))
	}
	s.backWithUndo(w, r, u)
	return nil
}

// closeAll closes leases at once, and notes how to take that back. Of several that cannot be closed it tells of the last.
func (s *Server) closeAll(w http.ResponseWriter, r *http.Request, now view, ids []lease.ID, u *undo) error {
	var failed error
	var texts []string
	for some := range slices.Chunk(ids, lease.MaxSelectedIDs) {
		results, err := s.Leases.CloseSelected(r.Context(), lease.Selection{IDs: some}, lease.CloseOptions{By: lease.OriginWeb})
		if err != nil {
			return err
		}
		for _, one := range results {
			switch {
			case one.Err == nil:
				u.add(now, one.ID)
				texts = append(texts, one.Lease.String())
			case !errors.Is(one.Err, lease.ErrNotFound): // closed before is closed
				failed = one.Err
			}
		}
	}
	noteBefore(w, strings.Join(texts, "; "))
	return failed
}

// pinSelection makes forwards of leases, in whose place they come.
func (s *Server) pinSelection(w http.ResponseWriter, r *http.Request, ids []string) error {
	noteAction(w, "rule.add")
	now := s.look()
	var made []string
	for _, id := range ids {
		row := now.pinned(lease.ID(id))
		if row == nil {
			continue // it is closed, or no port
		}
		read := s.reader(nil)
		rule := read.rule(formOfLease(*row).settings(lease.RuleForward, now.now))
		err := read.problem()
		var change lease.RuleChange
		if err == nil {
			if change, err = s.Leases.PutRule(r.Context(), rule, lease.RuleOptions{By: lease.OriginWeb, Replaces: row.ID}); err != nil {
				err = s.ruleProblem(err, change)
			}
		}
		if err != nil {
			return s.showLeases(w, r, s.answerError(r, err))
		}
		made = append(made, string(change.Rule.ID))
		noteTarget(w, strings.Join(made, " "))
	}
	http.Redirect(w, r, link("/forwards", "done", "saved"), http.StatusSeeOther)
	return nil
}

// undoForm takes back what a form of the list has done.
func (s *Server) undoForm(w http.ResponseWriter, r *http.Request) error {
	if err := readBack(r); err != nil {
		return err
	}
	u, ok := s.undos.take(r.PostForm.Get("undo"), s.Leases.Now())
	if !ok {
		return s.showLeases(w, r, problem(CodeNoLease, "that is longer ago than %s, or has been taken back before", lease.ReopenFor))
	}
	if err := s.takeBack(r, u); err != nil {
		return s.showLeases(w, r, s.answerError(r, err))
	}
	noteTarget(w, u.names())
	http.Redirect(w, r, withQuery(backOf(r), "done", "undone"), http.StatusSeeOther)
	return nil
}

// takeBack lets a device or a port be allowed as before, and opens leases again: as many as can be.
func (s *Server) takeBack(r *http.Request, u undo) error {
	switch {
	case u.device != nil && u.device.Version == 0:
		_, err := s.Leases.ForgetDevice(r.Context(), u.device.MAC, lease.DeviceOptions{By: lease.OriginWeb})
		if err != nil && !errors.Is(err, lease.ErrNotFound) {
			return err
		}
	case u.device != nil:
		if err := call[DeviceChange](r, s.putDevice(lease.OriginWeb), u.device.MAC, u.device.Settings, nil); err != nil {
			return err
		}
	case u.rule != "":
		_, err := s.changePolicy(r, lease.PolicyOptions{By: lease.OriginWeb}, func(own *lease.OwnPolicy) error {
			own.Rules = slices.DeleteFunc(own.Rules, func(one lease.PolicyRule) bool { return one.ID == u.rule })
			return nil
		})
		if err != nil {
			return err
		}
	}
	var failed error
	for _, id := range u.ids {
		if _, err := s.Leases.Reopen(r.Context(), lease.Actor{Origin: lease.OriginWeb}, id); err != nil {
			failed = err
		}
	}
	return failed
}

// readBack reads a form, which may be one without anything: that of a button.
func readBack(r *http.Request) error {
	if r.ContentLength == 0 {
		r.PostForm = url.Values{}
		return nil
	}
	return readForm(r)
}

// backOf is the list that a form came from, as the form says, or else the browser.
func backOf(r *http.Request) string {
	back := ownPath(r.PostForm.Get("back"))
	if from, err := url.Parse(r.Referer()); err == nil && !r.PostForm.Has("back") {
		back = from.RequestURI()
	}
	if u, err := url.Parse(back); err != nil || u.Path != "/leases" {
		return "/leases"
	}
	return back
}

// withQuery sets a value in the query of an address, and takes out what other forms have said there.
func withQuery(address, name, value string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	q := u.Query()
	q.Del("done")
	q.Del("undo")
	q.Set(name, value)
	u.RawQuery = q.Encode()
	return u.String()
}

// backWithUndo leads back to the list, which offers to take back what was done.
func (s *Server) backWithUndo(w http.ResponseWriter, r *http.Request, u undo) {
	where := withQuery(backOf(r), "done", "closed")
	if len(u.ids) > 0 {
		where = withQuery(backOf(r), "undo", s.undos.add(u, s.Leases.Now()))
	}
	http.Redirect(w, r, where, http.StatusSeeOther)
}
