package web

import (
	"net/http"
	"slices"

	"github.com/portreeve/portreeve/lease"
)

// Who may open ports, in four choices.
const (
	everyone = "everyone" // what the policy allows
	askMe    = "ask"      // new devices, when the owner has said yes
	only     = "only"     // those that the owner has allowed
	nobody   = "nobody"
)

// whoMay lists the choices as they are shown, the one that is recommended second: the first is how the program comes.
func whoMay() []string { return []string{everyone, askMe, only, nobody} }

// homeDevices is how many devices a page offers to allow at once.
const homeDevices = 40

// whoMay tells which of the choices holds.
func (v view) whoMay() string {
	allowed := false
	for mac, d := range v.Own.Devices {
		allowed = allowed || mac != lease.NewDevices && d.Access == lease.AccessAllow
	}
	switch fresh := v.Own.Devices[lease.NewDevices].Access; {
	case fresh == lease.AccessAsk:
		return askMe
	case fresh == lease.AccessDeny || fresh == lease.AccessInherit && v.Policy.DefaultDeny:
		if allowed {
			return only
		}
		return nobody
	default:
		return everyone
	}
}

// atHome are the devices that are here or have asked, those with a name first.
func (s *Server) atHome() []deviceRow {
	all := slices.DeleteFunc(s.allDevices(true), func(d deviceRow) bool { return d.MAC == "" })
	slices.SortStableFunc(all, func(a, b deviceRow) int {
		rank := func(d deviceRow) int {
			switch {
			case d.Access == string(lease.AccessAllow) || len(d.Open) > 0:
				return 0
			case d.Named:
				return 1
			default:
				return 2
			}
		}
		return rank(a) - rank(b)
	})
	return all[:min(len(all), homeDevices)]
}

// welcomeDevicesForm takes who may open ports, and which devices need not ask.
func (s *Server) welcomeDevicesForm(w http.ResponseWriter, r *http.Request) error {
	if err := readForm(r); err != nil {
		return err
	}
	if err := s.letIn(r, r.PostForm.Get("who")); err != nil {
		return s.showWelcome(w, r, "devices", s.answerError(r, err))
	}
	noteTarget(w, r.PostForm.Get("who"))
	http.Redirect(w, r, "/welcome/check", http.StatusSeeOther)
	return nil
}

// letIn sets a choice: first what single devices may, so that nothing of theirs is closed, then what holds for the others. What
// may not be open any more is closed.
func (s *Server) letIn(r *http.Request, who string) error {
	if !slices.Contains(whoMay(), who) {
		return problem(CodeInvalid, "who may open ports is not one of the choices")
	}
	deny := who == only || who == nobody
	if s.Policy.Declares(lease.SettingDefault) && s.Policy.DefaultDeny != deny {
		return problem(CodeInvalid, "the configuration file says what holds where no rule matches ([policy] default): change it there")
	}
	seen, allow := r.PostForm["seen"], r.PostForm["allow"]
	devices := s.lookAtDevices()
	for _, mac := range devices.known() {
		d := devices.device(mac)
		if mac == lease.NewDevices {
			continue
		}
		if access := accessFor(who, d.Settings.Access, slices.Contains(seen, mac), slices.Contains(allow, mac)); access != d.Settings.Access {
			if err := s.setAccess(r, d, access); err != nil {
				return err
			}
		}
	}
	fresh := map[string]string{everyone: inherit, askMe: string(lease.AccessAsk), only: string(lease.AccessDeny), nobody: string(lease.AccessDeny)}[who]
	if d := devices.device(lease.NewDevices); d.Settings.Access != fresh {
		if err := s.setAccess(r, d, fresh); err != nil {
			return err
		}
	}
	if s.look().Policy.DefaultDeny == deny {
		return nil
	}
	_, err := s.changePolicy(r, lease.PolicyOptions{By: lease.OriginWeb, Close: true}, func(own *lease.OwnPolicy) error {
		if own.DefaultDeny = nil; deny {
			own.DefaultDeny = &deny
		}
		return nil
	})
	return err
}

// accessFor is what a device may after a choice, which has seen it or not, and ticked it or not.
func accessFor(who, now string, seen, ticked bool) string {
	allow, ask := string(lease.AccessAllow), string(lease.AccessAsk)
	switch {
	case who == nobody && (now == allow || now == ask):
		return inherit // which is nothing then; all else that is set of it stays
	case who == everyone || who == nobody || !seen:
		return now
	case ticked:
		return allow
	case now == allow && who == askMe:
		return ask
	case now == allow:
		return inherit
	default:
		return now
	}
}
