package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/portreeve/portreeve/notify"
)

// notifyData is the data of the page of notifications.
type notifyData struct {
	Version   uint64
	Settings  NotificationSettings
	Languages []string
	Targets   []notifyTarget
	New       []targetForm // one for each kind that can be added
	Test      *notifyTest  // what has become of a test; nil: there was none
}

// notifyTarget is a target as the page shows it.
type notifyTarget struct {
	Where string // in short
	State TargetState
	Form  targetForm

	Sent, Failed, Next time.Time // zero: not
	WasSent, WillTry   bool
}

// targetForm is a target as it stands in the fields of a form.
type targetForm struct {
	NotificationTarget
	Old        string // the name until now; "": a new one
	Addressees string // with commas
	Kinds      []newsChoice
	Securities []string

	HasToken, HasKey, HasPassword bool

	Open bool // it was filled in, and not accepted
}

type newsChoice struct {
	Kind   string
	Chosen bool
}

type notifyTest struct {
	ID string
	TargetTest
}

func (s *Server) notifyPage(w http.ResponseWriter, r *http.Request) error {
	return s.showNotify(w, r, notifyData{}, nil, nil)
}

// showNotify shows the page. A form that was not accepted is shown as it was filled in.
func (s *Server) showNotify(w http.ResponseWriter, r *http.Request, d notifyData, filled *targetForm, why *Problem) error {
	now := s.look()
	if !identityOf(r).role.includes(RoleAdmin) {
		return problem(CodeRole, "this needs the role %s, and %s has the role %s", RoleAdmin, identityOf(r).name, identityOf(r).role)
	}
	var all Notifications
	if err := call(r, s.getNotifications, "", nil, &all); err != nil {
		return err
	}
	var state NotificationState
	if err := call(r, s.getNotificationState, "", nil, &state); err != nil {
		return err
	}
	if d.Settings.Language == "" {
		d.Settings = all.Settings
	}
	d.Version, d.Languages = all.Version, notify.Languages()
	for i, t := range all.Settings.Targets {
		one := notifyTarget{Where: whereOf(t), State: state.Targets[i], Form: formOfTarget(t)}
		one.Form.Old = t.ID
		one.Sent, one.WasSent = stampTime(one.State.Sent)
		one.Failed, _ = stampTime(one.State.Failed)
		one.Next, one.WillTry = stampTime(one.State.Next)
		if filled != nil && filled.Old == t.ID {
			one.Form = *filled
		}
		d.Targets = append(d.Targets, one)
	}
	for _, k := range notify.TargetKinds() {
		f := formOfTarget(NotificationTarget{Kind: string(k), Enabled: true, Security: string(notify.TLS)})
		if filled != nil && filled.Old == "" && filled.Kind == f.Kind {
			f = *filled
		}
		d.New = append(d.New, f)
	}
	return s.show(w, r, now, "notifications.html", page{Title: "notify.title", At: "settings", Problem: why, Data: d})
}

func stampTime(text string) (time.Time, bool) {
	at, err := time.Parse(time.RFC3339, text)
	return at, err == nil
}

// whereOf says in short where a target is.
func whereOf(t NotificationTarget) string {
	switch notify.TargetKind(t.Kind) {
	case notify.Mail:
		return strings.Join(t.To, ", ")
	case notify.Ntfy:
		return strings.TrimSuffix(t.URL, "/") + "/" + t.Topic
	default:
		at, _, _ := strings.Cut(t.URL, "?")
		return at
	}
}

func formOfTarget(t NotificationTarget) targetForm {
	f := targetForm{
		NotificationTarget: t, Addressees: strings.Join(t.To, ", "), HasToken: slices.Contains(t.Secrets, "token"),
		HasKey: slices.Contains(t.Secrets, "key"), HasPassword: slices.Contains(t.Secrets, "password"),
	}
	for _, k := range notify.Kinds() {
		f.Kinds = append(f.Kinds, newsChoice{string(k), len(t.News) == 0 || slices.Contains(t.News, string(k))})
	}
	for _, one := range notify.Securities() {
		f.Securities = append(f.Securities, string(one))
	}
	return f
}

// readTarget reads the form of a target.
func readTarget(r *http.Request) targetForm {
	text := func(name string) string { return strings.TrimSpace(r.PostForm.Get(name)) }
	t := NotificationTarget{
		ID: text("id"), Kind: text("kind"), Enabled: text("enabled") != "", URL: text("url"), Unencrypted: text("unencrypted") != "",
		Topic: text("topic"), Server: text("server"), Security: text("security"), User: text("user"), From: text("from"),
		Token: secretIn(r, "token"), Key: secretIn(r, "key"), Password: secretIn(r, "password"),
	}
	for to := range strings.FieldsFuncSeq(text("to"), func(r rune) bool { return r == ',' || r == ' ' || r == ';' }) {
		t.To = append(t.To, to)
	}
	for _, k := range notify.Kinds() {
		if slices.Contains(r.PostForm["news"], string(k)) {
			t.News = append(t.News, string(k))
		}
	}
	f := formOfTarget(t)
	f.Old, f.Addressees, f.Open = r.PathValue("id"), text("to"), true
	return f
}

// secretIn is a secret that was typed. A field that was left empty leaves it as it was, unless it is to be forgotten.
func secretIn(r *http.Request, name string) *string {
	typed := r.PostForm.Get(name)
	if typed == "" && r.PostForm.Get("forget-"+name) == "" {
		return nil
	}
	return &typed
}

// notifyForm sets what holds for all targets.
func (s *Server) notifyForm(w http.ResponseWriter, r *http.Request) error {
	if err := readForm(r); err != nil {
		return err
	}
	text := func(name string) string { return strings.TrimSpace(r.PostForm.Get(name)) }
	number := func(name string) int64 {
		n, err := strconv.ParseInt(text(name), 10, 32)
		if err != nil {
			return 0 // is out of every range
		}
		return n
	}
	settings := NotificationSettings{
		Language: text("language"), Link: text("link"), Quiet: strings.ReplaceAll(text("quiet"), " ", ""),
		PauseMinutes: number("pause_minutes"), DMZHours: number("dmz_hours"), Refusals: number("refusals"),
	}
	err := s.changeNotify(r, func(next *NotificationSettings) {
		settings.Targets = next.Targets
		*next = settings
	})
	if err != nil {
		return s.showNotify(w, r, notifyData{Settings: settings}, nil, s.answerError(r, err))
	}
	http.Redirect(w, r, link("/notifications", "done", "notify"), http.StatusSeeOther)
	return nil
}

// targetForm adds a target or changes one.
func (s *Server) targetForm(w http.ResponseWriter, r *http.Request) error {
	if err := readForm(r); err != nil {
		return err
	}
	f := readTarget(r)
	if len(f.News) == 0 {
		p := problem(CodeInvalid, "news has none, allowed is one and more: or switch the target off")
		p.Faults = []Fault{{"news", "has none, allowed is one and more: or switch the target off"}}
		return s.showNotify(w, r, notifyData{}, &f, p)
	}
	if len(f.News) == len(notify.Kinds()) {
		f.News = nil // also what there will be in later versions
	}
	err := s.changeNotify(r, func(next *NotificationSettings) {
		i := slices.IndexFunc(next.Targets, func(t NotificationTarget) bool { return t.ID == f.Old })
		if f.Old == "" || i < 0 {
			next.Targets = append(next.Targets, f.NotificationTarget)
			return
		}
		f.Secrets = next.Targets[i].Secrets
		next.Targets[i] = f.NotificationTarget
	})
	if err != nil {
		p := *s.answerError(r, err)
		p.Faults = slices.Clone(p.Faults)
		for i := range p.Faults { // which target it is can be seen
			if _, member, inTarget := strings.Cut(p.Faults[i].Member, "]."); inTarget {
				p.Faults[i].Member = member
			}
		}
		return s.showNotify(w, r, notifyData{}, &f, &p)
	}
	http.Redirect(w, r, link("/notifications", "done", "notify"), http.StatusSeeOther)
	return nil
}

func (s *Server) targetRemoveForm(w http.ResponseWriter, r *http.Request) error {
	err := s.changeNotify(r, func(next *NotificationSettings) {
		next.Targets = slices.DeleteFunc(next.Targets, func(t NotificationTarget) bool { return t.ID == r.PathValue("id") })
	})
	if err != nil {
		return s.showNotify(w, r, notifyData{}, nil, s.answerError(r, err))
	}
	http.Redirect(w, r, link("/notifications", "done", "notifyremoved"), http.StatusSeeOther)
	return nil
}

// changeNotify changes the settings as they are now, as a program would by the API.
func (s *Server) changeNotify(r *http.Request, change func(next *NotificationSettings)) error {
	var now Notifications
	if err := call(r, s.getNotifications, "", nil, &now); err != nil {
		return err
	}
	change(&now.Settings)
	return call[json.RawMessage](r, s.putNotifications, "", now.Settings, nil, func(inner *http.Request) {
		inner.Header.Set("If-Match", etag(now.Version))
	})
}

// targetTestForm sends a test message and shows what has become of it.
func (s *Server) targetTestForm(w http.ResponseWriter, r *http.Request) error {
	d := notifyData{Test: &notifyTest{ID: r.PathValue("id")}}
	if err := call(r, s.postTargetTest, r.PathValue("id"), nil, &d.Test.TargetTest); err != nil {
		return s.showNotify(w, r, notifyData{}, nil, s.answerError(r, fmt.Errorf("test: %w", err)))
	}
	noteTarget(w, d.Test.ID)
	return s.showNotify(w, r, d, nil, nil)
}
