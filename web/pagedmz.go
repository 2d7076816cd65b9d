package web

import (
	"net/http"
	"strings"

	"github.com/portreeve/portreeve/lease"
)

func (s *Server) dmzPage(w http.ResponseWriter, r *http.Request) error {
	return s.showDMZ(w, r, ruleData{Form: ruleForm{For: "4h", Hairpin: true, Target: r.URL.Query().Get("target")}}, nil)
}

func (s *Server) showDMZ(w http.ResponseWriter, r *http.Request, d ruleData, why *Problem) error {
	now := s.look()
	d.Rules, d.Choices = now.rulesOf(lease.RuleDMZ), now.choices()
	return s.show(w, r, now, "dmz.html", page{Title: "dmz.title", At: "dmz", Problem: why, Data: d})
}

// dmzForm first tells what it would change and asks for a word, and does it when that was typed: nobody shall open a host
// wholly by a slip of the finger.
func (s *Server) dmzForm(w http.ResponseWriter, r *http.Request) error {
	if err := readForm(r); err != nil {
		return err
	}
	f := formOf(r)
	f.Enabled, f.Hairpin, f.ID, f.Version = true, true, "", 0
	for _, old := range s.look().Rules { // it takes the place of what there is
		if old.Kind == lease.RuleDMZ && old.IPv6 == f.IPv6 && old.WAN == f.WAN && old.Origin != lease.OriginConfig {
			f.ID, f.Version = old.ID, old.Version
		}
	}
	d := ruleData{Form: f}
	change, err := s.putForm(r, f, lease.RuleDMZ, lease.RuleOptions{DryRun: true})
	if err != nil {
		return s.showDMZ(w, r, d, s.formProblem(r, s.look(), err, &d))
	}
	d.Change, d.Confirm = &change, confirmation(change.Rule)
	typed := strings.TrimSpace(r.PostForm.Get("confirm"))
	switch {
	case r.PostForm.Get("do") != "save":
		return s.showDMZ(w, r, d, nil)
	case !strings.EqualFold(typed, d.Confirm):
		return s.showDMZ(w, r, d, problem(CodeInvalid, "to open the host, type %s", d.Confirm))
	}
	if change, err = s.putForm(r, f, lease.RuleDMZ, lease.RuleOptions{}); err != nil {
		return s.showDMZ(w, r, d, s.formProblem(r, s.look(), err, &d))
	}
	noteTarget(w, string(change.Rule.ID))
	http.Redirect(w, r, link("/dmz", "done", "dmz"), http.StatusSeeOther)
	return nil
}

// confirmation is what must be typed to open a host: what it is called.
func confirmation(r Rule) string {
	switch {
	case r.DeviceName != "":
		return r.DeviceName
	case r.LastAddress.IsValid():
		return r.LastAddress.String()
	default:
		return r.Settings.Device
	}
}

func (s *Server) dmzOffForm(w http.ResponseWriter, r *http.Request) error {
	if _, err := s.Leases.RemoveRule(r.Context(), ruleID(r), lease.RuleOptions{By: lease.OriginWeb}); err != nil {
		if err = s.ruleProblem(err, lease.RuleChange{}); !isProblem(err, CodeNoRule) { // what is off is off
			return s.showDMZ(w, r, ruleData{}, s.answerError(r, err))
		}
	}
	http.Redirect(w, r, link("/dmz", "done", "dmzoff"), http.StatusSeeOther)
	return nil
}
