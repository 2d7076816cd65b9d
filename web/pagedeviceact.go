package web

import (
	"cmp"
	"errors"
	"net/http"
	"net/netip"
	"strings"

	"github.com/portreeve/portreeve/lease"
)

// What the buttons of the pages of devices do. Whatever they close or change can be taken back, see [undos].

// deviceAccessForm says in one step whether a device may open ports, and leaves all else that is set of it. What it may not
// have any more is closed.
func (s *Server) deviceAccessForm(w http.ResponseWriter, r *http.Request) error {
	if err := readForm(r); err != nil {
		return err
	}
	mac := deviceID(r.PathValue("key"))
	d := s.lookAtDevices().device(mac)
	access := r.PostForm.Get("access")
	u := s.beforeDevice(mac, "undo.device."+access)
	if err := s.setAccess(r, d, access); err != nil {
		d.Settings.Access = access
		f := deviceFormOf(d)
		return s.showDevice(w, r, &f, s.answerError(r, err))
	}
	s.backToDevice(w, r, mac, u)
	return nil
}

// setAccess says whether a device may open ports, leaves all else that is set of it, and closes what it may not have any more.
func (s *Server) setAccess(r *http.Request, d Device, access string) error {
	d.Settings.Access = access
	return call[DeviceChange](r, s.putDevice(lease.OriginWeb), d.MAC, d.Settings, nil, func(inner *http.Request) { inner.URL.RawQuery = "close=true" })
}

// deviceForgetForm takes away what is set of a device.
func (s *Server) deviceForgetForm(w http.ResponseWriter, r *http.Request) error {
	mac := deviceID(r.PathValue("key"))
	u := s.beforeDevice(mac, "undo.device.forgotten")
	_, err := s.Leases.ForgetDevice(r.Context(), mac, lease.DeviceOptions{By: lease.OriginWeb, Close: true})
	if errors.Is(err, lease.ErrNotFound) {
		err = problem(CodeNoDevice, "nothing is set of this device")
	}
	if err != nil {
		return s.showDevice(w, r, nil, s.answerError(r, err))
	}
	s.backToDevice(w, r, mac, u)
	return nil
}

// deviceCloseForm closes all that a device has open, and leaves what it may.
func (s *Server) deviceCloseForm(w http.ResponseWriter, r *http.Request) error {
	key, now := strings.ToLower(r.PathValue("key")), s.look()
	u := undo{text: "undo.device.closed"}
	var ids []lease.ID
	for _, l := range now.Leases {
		if deviceRef(l.Device, l.Internal.Addr()) == key {
			ids = append(ids, l.ID)
		}
	}
	if err := s.closeAll(w, r, now, ids, &u); err != nil {
		return s.showDevice(w, r, nil, s.answerError(r, err))
	}
	s.backToDevice(w, r, key, u)
	return nil
}

// deviceUndoForm takes back what one of these forms has done, and stays on the page where that was offered.
func (s *Server) deviceUndoForm(w http.ResponseWriter, r *http.Request) error {
	if err := readForm(r); err != nil {
		return err
	}
	u, ok := s.undos.take(r.PostForm.Get("undo"), s.Leases.Now())
	if !ok {
		return s.showDevice(w, r, nil, problem(CodeNoLease, "that is longer ago than %s, or has been taken back before", lease.ReopenFor))
	}
	if err := s.takeBack(r, u); err != nil {
		return s.showDevice(w, r, nil, s.answerError(r, err))
	}
	http.Redirect(w, r, link(cmp.Or(u.back, "/leases"), "done", "undone"), http.StatusSeeOther)
	return nil
}

// beforeDevice notes how a device is before something of it is changed.
func (s *Server) beforeDevice(mac, text string) undo {
	v := s.lookAtDevices()
	d := v.device(mac)
	u := undo{text: text, device: &d}
	if addrs := append(d.Addresses, netip.Addr{}); mac != lease.NewDevices {
		u.row.Name = v.deviceName(mac, addrs[0])
	}
	for _, l := range v.Leases {
		if l.Device == mac || mac == lease.NewDevices {
			u.ids = append(u.ids, l.ID)
		}
	}
	return u
}

// backToDevice leads to where a form came from: the first page, the list, or the page of the device. There it can be taken back.
func (s *Server) backToDevice(w http.ResponseWriter, r *http.Request, key string, u undo) {
	if u.device != nil {
		u.onlyClosed(s.look())
	}
	u.back = "/devices/" + key
	switch back := r.PostForm.Get("back"); {
	case back == "overview":
		u.back = "/"
	case back == "devices" || u.text == "undo.device.forgotten": // which may be nowhere any more
		u.back = "/devices"
	}
	http.Redirect(w, r, link(u.back, "undo", s.undos.add(u, s.Leases.Now()), "of", key), http.StatusSeeOther)
}
