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
	Icon, Protocols      string
	Schedule             string
	IPv6, LowPorts       bool
	Close                bool

	Limited bool // something is set that most devices do not need
}

func deviceFormOf(d Device) deviceForm {
	f := deviceForm{
		Version: d.Version, Name: d.Settings.Name, Note: d.Settings.Note, Access: d.Settings.Access,
		Ports: strings.Join(d.Settings.Ports, ", "), IPv6: d.Settings.IPv6, Icon: d.Settings.Icon, LowPorts: d.Settings.LowPorts,
		Protocols: strings.Join(d.Settings.Protocols, ", "), Schedule: strings.Join(d.Settings.Schedule, "; "),
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
		Icon: text("icon"), Protocols: text("protocols"), Schedule: text("schedule"), LowPorts: text("low_ports") != "",
	}
	mac, read := deviceID(r.PathValue("key")), s.reader(nil)
	body := DeviceSettings{
		Name: f.Name, Note: f.Note, Access: f.Access, Ports: list(f.Ports), IPv6: f.IPv6, Mappings: read.typed("mappings", f.Most),
		MaxLifetimeSeconds: 60 * uint64(read.typed("max_lifetime_seconds", f.Minutes)), Icon: f.Icon,
		Protocols: list(f.Protocols), LowPorts: f.LowPorts, Schedule: windows(f.Schedule),
	}
	u := s.beforeDevice(mac, "undo.device.saved")
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
	s.backToDevice(w, r, mac, u)
	return nil
}

// windows reads the windows of a schedule as people write them into one field. Commas belong to the days.
func windows(text string) (all []string) {
	for w := range strings.SplitSeq(text, ";") {
		if w = strings.TrimSpace(w); w != "" {
			all = append(all, w)
		}
	}
	return all
}
