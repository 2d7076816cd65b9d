package web

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/portreeve/portreeve/lease"
)

// deviceForm is what the owner says of a device as it stands in the fields of a form.
type deviceForm struct {
	Version              uint64
	Name, Note, Access   string
	Ports, Most, Minutes string
	IPv6, Close          bool
}

func deviceFormOf(d Device) deviceForm {
	f := deviceForm{
		Version: d.Version, Name: d.Settings.Name, Note: d.Settings.Note, Access: d.Settings.Access,
		Ports: strings.Join(d.Settings.Ports, ", "), IPv6: d.Settings.IPv6,
	}
	if d.Settings.Mappings > 0 {
		f.Most = strconv.FormatInt(d.Settings.Mappings, 10)
	}
	if d.Settings.MaxLifetimeSeconds > 0 {
		f.Minutes = strconv.FormatUint(max(1, d.Settings.MaxLifetimeSeconds/60), 10)
	}
	return f
}

// deviceSetForm takes what the owner says of a device.
func (s *Server) deviceSetForm(w http.ResponseWriter, r *http.Request) error {
	if err := readForm(r); err != nil {
		return err
	}
	text := func(name string) string { return strings.TrimSpace(r.PostForm.Get(name)) }
	version, _ := strconv.ParseUint(text("version"), 10, 64) // 0: nothing was set
	f := deviceForm{
		Version: version, Name: text("name"), Note: text("note"), Access: text("access"), Ports: text("ports"),
		Most: text("most"), Minutes: text("minutes"), IPv6: text("ipv6") != "", Close: text("close") != "",
	}
	mac, read := deviceID(r.PathValue("key")), s.reader(nil)
	body := DeviceSettings{
		Name: f.Name, Note: f.Note, Access: f.Access, Ports: list(f.Ports), IPv6: f.IPv6, Mappings: read.typed("mappings", f.Most),
		MaxLifetimeSeconds: 60 * uint64(read.typed("max_lifetime_seconds", f.Minutes)), Icon: s.lookAtDevices().device(mac).Settings.Icon,
	}
	err := read.problem()
	if err == nil {
		err = call[DeviceChange](r, s.putDevice(lease.OriginWeb), mac, body, nil, func(inner *http.Request) {
			if f.Close {
				inner.URL.RawQuery = "close=true"
			}
			if version > 0 {
				inner.Header.Set("If-Match", etag(version))
			}
		})
	}
	if err != nil {
		return s.showDevice(w, r, &f, s.answerError(r, err))
	}
	http.Redirect(w, r, link("/devices/"+mac, "done", "device"), http.StatusSeeOther)
	return nil
}

// deviceAccessForm says in one step whether a device may open ports, and leaves all else that is set of it. What it may not
// have any more is closed.
func (s *Server) deviceAccessForm(w http.ResponseWriter, r *http.Request) error {
	if err := readForm(r); err != nil {
		return err
	}
	mac := deviceID(r.PathValue("key"))
	d := s.lookAtDevices().device(mac)
	was := d.Settings.Access
	d.Settings.Access = r.PostForm.Get("access")
	err := call[DeviceChange](r, s.putDevice(lease.OriginWeb), mac, d.Settings, nil, func(inner *http.Request) { inner.URL.RawQuery = "close=true" })
	if err != nil {
		f := deviceFormOf(d)
		return s.showDevice(w, r, &f, s.answerError(r, err))
	}
	next := link("/devices/"+mac, "done", "device")
	switch {
	case r.PostForm.Get("back") != "overview":
	case d.Settings.Access == string(lease.AccessDeny):
		next = link("/", "blocked", mac, "was", was) // where it can be taken back
	default:
		next = link("/", "done", "device")
	}
	http.Redirect(w, r, next, http.StatusSeeOther)
	return nil
}
