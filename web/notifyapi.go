package web

import (
	"time"

	"github.com/portreeve/portreeve/notify"
)

// The JSON of notifications.

// Notifications answers GET notifications.
type Notifications struct {
	Version  uint64               `json:"version"` // also the ETag; 0: nothing was ever set
	Settings NotificationSettings `json:"settings"`
}

// NotificationSettings is the body of PUT notifications: all that the owner sets. What is absent is as the program comes.
type NotificationSettings struct {
	Language     string               `json:"language"`      // "en" or "zh"
	Link         string               `json:"link"`          // address of the admin page, to be clicked; "": none
	PauseMinutes int64                `json:"pause_minutes"` // at most one message to a target in that time
	Quiet        string               `json:"quiet"`         // "22:00-07:00": nothing is sent then, by the router's clock; "": no such time
	DMZHours     int64                `json:"dmz_hours"`     // after how long a DMZ host is news
	Refusals     int64                `json:"refusals"`      // how many within an hour, of one device, are news
	Targets      []NotificationTarget `json:"targets"`
}

// NotificationTarget is where news goes. Which members there are depends on the kind.
type NotificationTarget struct {
	ID      string   `json:"id"`
	Kind    string   `json:"kind"` // "webhook", "ntfy" or "mail"
	Enabled bool     `json:"enabled"`
	News    []string `json:"news"` // the kinds that it gets; none: all

	URL         string   `json:"url"`         // webhook; ntfy: of the server
	Unencrypted bool     `json:"unencrypted"` // others on the way may read and change what is sent
	Topic       string   `json:"topic"`       // ntfy
	Server      string   `json:"server"`      // mail: host:port
	Security    string   `json:"security"`    // mail: "tls", "starttls" or "none"
	User        string   `json:"user"`        // mail
	From        string   `json:"from"`        // mail
	To          []string `json:"to"`          // mail

	// The secrets are taken and never told. Absent: as it was; "": none.
	Token    *string `json:"token,omitempty"`    // webhook, ntfy
	Key      *string `json:"key,omitempty"`      // webhook: for the signature
	Password *string `json:"password,omitempty"` // mail

	Secrets []string `json:"secrets"` // which of the three are set; in PUT those that have to be given, unless they stay
}

// NotificationState answers GET notifications/state.
type NotificationState struct {
	Targets []TargetState `json:"targets"` // in the order of the settings
}

// TargetState tells how it goes with a target.
type TargetState struct {
	ID        string `json:"id"`
	Sent      string `json:"sent"`       // when a message was accepted last, RFC 3339; "": never
	Failed    string `json:"failed"`     // when the last attempt failed; "": it did not
	LastError string `json:"last_error"` // why; "" if it did not
	Waiting   int    `json:"waiting"`    // news that waits
	Dropped   int    `json:"dropped"`    // news that was only counted since the start, because there was too much of it
	Next      string `json:"next"`       // when it is tried next; "": nothing waits
}

// TargetTest answers POST notifications/{id}/test.
type TargetTest struct {
	Sent   bool   `json:"sent"`   // the other end has accepted the message
	Answer string `json:"answer"` // what it has said, or why it could not be sent
}

func notificationSettingsOf(s notify.Settings) NotificationSettings {
	out := NotificationSettings{
		Language: s.Language, Link: s.Link, PauseMinutes: int64(s.Pause / time.Minute), Quiet: quietText(s),
		DMZHours: int64(s.DMZAfter / time.Hour), Refusals: int64(s.Refusals), Targets: []NotificationTarget{},
	}
	for _, t := range s.Targets {
		one := NotificationTarget{
			ID: t.ID, Kind: string(t.Kind), Enabled: t.Enabled, News: []string{}, URL: t.URL, Unencrypted: t.Unencrypted, Topic: t.Topic,
			Server: t.Server, Security: string(t.Security), User: t.User, From: t.From, To: notNil(t.To), Secrets: []string{},
		}
		for _, k := range t.News {
			one.News = append(one.News, string(k))
		}
		for _, secret := range []struct{ name, value string }{{"token", t.Token}, {"key", t.Key}, {"password", t.Password}} {
			if secret.value != "" {
				one.Secrets = append(one.Secrets, secret.name)
			}
		}
		out.Targets = append(out.Targets, one)
	}
	return out
}

// reveal adds the secrets, for a backup that shall have them.
func (s *NotificationSettings) reveal(all notify.Settings) {
	secret := func(value string) *string {
		if value == "" {
			return nil
		}
		return &value
	}
	for i, t := range all.Targets {
		s.Targets[i].Token, s.Targets[i].Key, s.Targets[i].Password = secret(t.Token), secret(t.Key), secret(t.Password)
	}
}

// quietText writes the quiet time as a person would.
func quietText(s notify.Settings) string {
	if s.QuietFrom == s.QuietTo {
		return ""
	}
	clock := func(minutes int) string {
		return time.Date(2000, 1, 1, minutes/60, minutes%60, 0, 0, time.UTC).Format("15:04")
	}
	return clock(s.QuietFrom) + "-" + clock(s.QuietTo)
}

func targetStateOf(id string, s notify.TargetState) TargetState {
	text := func(at time.Time) string {
		if at.IsZero() {
			return ""
		}
		return at.Format(time.RFC3339)
	}
	return TargetState{id, text(s.Sent), text(s.Failed), s.LastError, s.Waiting, s.Dropped, text(s.Next)}
}
