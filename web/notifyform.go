package web

import (
	"encoding/json"
	"fmt"
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

// notifications reads the settings. Secrets that are absent are those of before.
func (r *reader) notifications(b notificationBody, old notify.Settings) notify.Settings {
	s := notify.Settings{
		Language: b.Language, Link: b.Link, Pause: times(b.PauseMinutes, time.Minute), DMZAfter: times(b.DMZHours, time.Hour), Refusals: int(b.Refusals),
	}
	s.QuietFrom, s.QuietTo = r.quiet(b.Quiet)
	names := []string{}
	for i, raw := range r.few("targets", b.Targets, notify.MaxTargets) {
		name := fmt.Sprintf("targets[%d]", i)
		one := NotificationTarget{Enabled: true}
		r.element(name, raw, &one, func(r *reader) { s.Targets = append(s.Targets, r.notifyTarget(one, old)) })
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
	return s
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

func (r *reader) notifyTarget(t NotificationTarget, old notify.Settings) notify.Target {
	out := notify.Target{
		ID: t.ID, Kind: notify.TargetKind(t.Kind), Enabled: t.Enabled, URL: t.URL, Unencrypted: t.Unencrypted, Topic: t.Topic,
		Server: t.Server, Security: notify.Security(t.Security), User: t.User, From: t.From, To: t.To,
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
	out.Token = r.secret("token", t.Token, before.Token, same)
	out.Key = r.secret("key", t.Key, before.Key, same)
	out.Password = r.secret("password", t.Password, before.Password, same)
	return out
}

// secret is a new one, or that of before. A secret of before goes nowhere else unasked: who may change where news goes could
// read it there.
func (r *reader) secret(member string, given *string, before string, same bool) string {
	switch {
	case given != nil:
		return *given
	case same || before == "":
		return before
	default:
		r.add(member, "was set for another address: give it again, or an empty one to do without")
		return ""
	}
}
