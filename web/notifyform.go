package web

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/notify"
)

// notificationBody is [NotificationSettings] as it comes: what is wrong with one target shall not hide what is wrong with
// the next.
type notificationBody struct {
	Language     string            `json:"language"`
	Link         string            `json:"link"`
	PauseMinutes int64             `json:"pause_minutes"`
	Quiet        string            `json:"quiet"`
	DMZHours     int64             `json:"dmz_hours"`
	Refusals     int64             `json:"refusals"`
	Targets      []json.RawMessage `json:"targets"`
}

// newNotificationBody is what holds for what is absent.
func newNotificationBody() notificationBody {
	s := notificationSettingsOf(notify.Defaults())
	return notificationBody{
		Language: s.Language, Link: s.Link, PauseMinutes: s.PauseMinutes, Quiet: s.Quiet, DMZHours: s.DMZHours, Refusals: s.Refusals,
	}
}

// notifications reads the settings. Secrets that are absent are those of before, if the target has the same address; else
// they are lost.
func (r *reader) notifications(b notificationBody, old notify.Settings) (s notify.Settings, lost []lostSecret) {
	s = notify.Settings{
		Language: b.Language, Link: b.Link, Pause: times(b.PauseMinutes, time.Minute), DMZAfter: times(b.DMZHours, time.Hour), Refusals: int(b.Refusals),
	}
	s.QuietFrom, s.QuietTo = r.quiet(b.Quiet)
	names := []string{}
	for i, raw := range r.few("targets", b.Targets, notify.MaxTargets) {
		name := fmt.Sprintf("targets[%d]", i)
		one := NotificationTarget{Enabled: true}
		r.element(name, raw, &one, func(r *reader) {
			t, missing := r.notifyTarget(one, old)
			s.Targets = append(s.Targets, t)
			for _, m := range missing {
				m.member = name + "." + m.name
				lost = append(lost, m)
			}
		})
		if len(s.Targets) > len(names) {
			names = append(names, name)
		}
	}
	for _, f := range s.Check() {
		member := f.Member
		if f.Target >= 0 {
			member = names[f.Target] + "." + f.Member
		}
		if !r.has(member) {
			r.add(member, "%s", f.Text)
		}
	}
	return s, lost
}

// times is a number of units, and what is out of every range for a number that is.
func times(n int64, unit time.Duration) time.Duration {
	const most = 1 << 20
	return time.Duration(min(max(n, -1), most)) * unit
}

// quiet reads a time of the day like "22:00-07:00", as minutes.
func (r *reader) quiet(text string) (from, to int) {
	if text == "" {
		return 0, 0
	}
	first, last, _ := strings.Cut(text, "-")
	a, errA := time.Parse("15:04", strings.TrimSpace(first))
	b, errB := time.Parse("15:04", strings.TrimSpace(last))
	if errA != nil || errB != nil || a.Equal(b) {
		r.add("quiet", "is %q, allowed is a time of the day like 22:00-07:00", lease.CleanText(text, maxName))
		return 0, 0
	}
	return a.Hour()*60 + a.Minute(), b.Hour()*60 + b.Minute()
}

// lostSecret is a secret that a target had, or shall have, and has no more.
type lostSecret struct{ id, member, name string }

func (r *reader) notifyTarget(t NotificationTarget, old notify.Settings) (out notify.Target, lost []lostSecret) {
	out = notify.Target{
		ID: t.ID, Kind: notify.TargetKind(t.Kind), Enabled: t.Enabled, URL: t.URL, Unencrypted: t.Unencrypted, Topic: t.Topic,
		Server: t.Server, Security: notify.Security(t.Security), User: t.User, From: t.From, To: append([]string(nil), t.To...),
	}
	for _, k := range t.News {
		out.News = append(out.News, notify.Kind(k))
	}
	var before notify.Target
	for _, one := range old.Targets {
		if one.ID == t.ID {
			before = one
		}
	}
	same := before.SameEnd(out)
	for _, secret := range []struct {
		name        string
		given       *string
		before, now *string
	}{
		{"token", t.Token, &before.Token, &out.Token}, {"key", t.Key, &before.Key, &out.Key}, {"password", t.Password, &before.Password, &out.Password},
	} {
		// A secret of before goes nowhere else unasked: who may change where news goes could read it there.
		switch {
		case secret.given != nil:
			*secret.now = *secret.given
		case same:
			*secret.now = *secret.before
		case *secret.before != "" || slices.Contains(t.Secrets, secret.name):
			lost = append(lost, lostSecret{id: t.ID, name: secret.name})
		}
	}
	return out, lost
}
