package web

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/web/markup"
)

// templateFiles are the pages and their parts.
const templateFiles = "template/*.html"

// pages renders the pages, and for pages that follow the router the parts of them, in each language.
type pages struct {
	sets map[setKey]*markup.Set
}

// setKey tells for whom pages are: in which language, and who may do what.
type setKey struct {
	language string
	role     Role
}

// page is what every template gets.
type page struct {
	Title   string   // key of the catalogue
	At      string   // the entry of the navigation that it belongs to
	Problem *Problem // what went wrong with the form that was sent; nil: nothing
	Done    string   // key of what has just been done; "": nothing
	Live    string   // how it follows the router: "rows", "parts", or "" for a page that stands still
	Script  bool     // the page needs the script

	Look   look
	Status Status

	Data any // of the page itself
}

// pageRoute is a page, or a form of one.
type pageRoute struct {
	method, path string
	handler      handler
	role         Role   // the least that may use it; "": any for what only shows, an operator for forms
	action       string // what the audit log calls what a form does, as that of the API which does the same; "": nothing is noted
}

// doors are the pages for those who have not signed in.
func (s *Server) doors() []pageRoute {
	return []pageRoute{
		{http.MethodGet, "/setup", s.setupPage, "", ""},
		{http.MethodPost, "/setup", s.setupForm, "", ""},
		{http.MethodGet, "/login", s.loginPage, "", ""},
		{http.MethodPost, "/login", s.loginForm, "", ""},
		{http.MethodPost, "/logout", s.logoutForm, "", ""},
		{http.MethodPost, "/appearance", s.appearanceForm, "", ""},
	}
}

// ownerPages are all others. Who has not signed in is sent to the door.
func (s *Server) ownerPages() []pageRoute {
	return []pageRoute{
		{http.MethodGet, "/", s.overviewPage, "", ""},
		{http.MethodPost, "/pause", s.pauseForm, "", "pause.set"},
		{http.MethodPost, "/resume", s.resumeForm, "", "pause.end"},
		{http.MethodGet, "/welcome", s.welcomeStart, "", ""},
		{http.MethodGet, "/welcome/:step", s.welcomePage, "", ""},
		{http.MethodPost, "/welcome/devices", s.welcomeDevicesForm, RoleAdmin, "welcome.devices"},
		{http.MethodGet, "/leases", s.leasesPage, "", ""},
		{http.MethodGet, "/leases.csv", s.leasesCSV, "", ""},
		{http.MethodGet, "/leases.json", s.leasesJSON, "", ""},
		{http.MethodPost, "/leases/selection", s.selectionForm, "", "lease.close.selected"},
		{http.MethodPost, "/leases/undo", s.undoForm, "", "lease.reopen"},
		{http.MethodGet, "/leases/:id", s.leasePage, "", ""},
		{http.MethodPost, "/leases/:id", s.leaseForm, "", "lease.change"},
		{http.MethodPost, "/leases/:id/close", s.closeForm, "", "lease.close"},
		{http.MethodPost, "/leases/:id/block", s.blockForm, "", "device.set"},
		{http.MethodPost, "/leases/:id/forbid", s.forbidForm, RoleAdmin, "policy.change"},
		{http.MethodGet, "/forwards", s.forwardsPage, "", ""},
		{http.MethodPost, "/forwards", s.forwardForm, "", "rule.add"},
		{http.MethodGet, "/forwards/:id", s.forwardPage, "", ""},
		{http.MethodPost, "/forwards/:id", s.forwardForm, "", "rule.change"},
		{http.MethodPost, "/forwards/:id/switch", s.switchForm, "", "rule.change"},
		{http.MethodPost, "/forwards/:id/remove", s.removeForm, "", "rule.remove"},
		{http.MethodGet, "/dmz", s.dmzPage, "", ""},
		{http.MethodPost, "/dmz", s.dmzForm, "", "rule.change"},
		{http.MethodPost, "/dmz/:id/off", s.dmzOffForm, "", "rule.remove"},
		{http.MethodGet, "/addresses", s.addressesPage, "", ""},
		{http.MethodPost, "/addresses", s.addressForm, "", "address.assign"},
		{http.MethodPost, "/addresses/release", s.releaseForm, "", "address.release"},
		{http.MethodGet, "/policy", s.policyPage, "", ""},
		{http.MethodGet, "/policy/rules/:id", s.policyRulePage, "", ""},
		{http.MethodPost, "/policy/rules/:id", s.policyRuleForm, RoleAdmin, "policy.change"},
		{http.MethodPost, "/policy/rules/:id/move", s.policyMoveForm, RoleAdmin, "policy.change"},
		{http.MethodPost, "/policy/rules/:id/switch", s.policySwitchForm, RoleAdmin, "policy.change"},
		{http.MethodPost, "/policy/rules/:id/remove", s.policyRemoveForm, RoleAdmin, "policy.change"},
		{http.MethodPost, "/policy/undo", s.policyUndoForm, RoleAdmin, "policy.change"},
		{http.MethodPost, "/policy/settings", s.policySettingsForm, RoleAdmin, "policy.change"},
		{http.MethodGet, "/devices", s.devicesPage, "", ""},
		{http.MethodGet, "/devices/:key", s.devicePage, "", ""},
		{http.MethodPost, "/devices/:key", s.deviceSetForm, "", "device.set"},
		{http.MethodPost, "/devices/:key/access", s.deviceAccessForm, "", "device.set"},
		{http.MethodPost, "/devices/:key/close", s.deviceCloseForm, "", "lease.close.selected"},
		{http.MethodPost, "/devices/:key/forget", s.deviceForgetForm, "", "device.forget"},
		{http.MethodPost, "/devices/:key/undo", s.deviceUndoForm, "", "device.set"},
		{http.MethodGet, "/requests", s.requestsPage, "", ""},
		{http.MethodPost, "/requests/:id", s.requestForm, "", "request.answer"},
		{http.MethodGet, "/activity", s.activityPage, "", ""},
		{http.MethodGet, "/activity.csv", s.activityCSV, "", ""},
		{http.MethodGet, "/activity.json", s.activityJSON, "", ""},
		{http.MethodGet, "/exposure", s.exposurePage, "", ""},
		{http.MethodGet, "/settings", s.settingsPage, "", ""},
		{http.MethodPost, "/settings/password", s.passwordForm, RoleViewer, "password.change"},
		{http.MethodPost, "/settings/sessions/:id/end", s.sessionEndForm, RoleViewer, "session.end"},
		{http.MethodPost, "/settings/restore", s.restoreForm, RoleAdmin, "backup.restore"},
		{http.MethodPost, "/settings/users", s.userAddForm, RoleAdmin, "user.add"},
		{http.MethodPost, "/settings/users/:id", s.userForm, RoleAdmin, "user.change"},
		{http.MethodPost, "/settings/users/:id/remove", s.userRemoveForm, RoleAdmin, "user.remove"},
		{http.MethodPost, "/settings/tokens", s.tokenForm, RoleAdmin, "token.create"},
		{http.MethodPost, "/settings/tokens/:id/remove", s.tokenRemoveForm, RoleAdmin, "token.revoke"},
		{http.MethodGet, "/notifications", s.notifyPage, "", ""},
		{http.MethodPost, "/notifications", s.notifyForm, RoleAdmin, "notifications.change"},
		{http.MethodPost, "/notifications/targets", s.targetForm, RoleAdmin, "notifications.change"},
		{http.MethodPost, "/notifications/targets/:id", s.targetForm, RoleAdmin, "notifications.change"},
		{http.MethodPost, "/notifications/targets/:id/remove", s.targetRemoveForm, RoleAdmin, "notifications.change"},
		{http.MethodPost, "/notifications/targets/:id/test", s.targetTestForm, RoleAdmin, "notifications.test"},
		{http.MethodGet, "/help", s.helpPage, "", ""},
	}
}

func newPages(a *assets) (*pages, error) {
	p := &pages{sets: map[setKey]*markup.Set{}}
	var first *markup.Set
	for _, language := range languages() {
		texts, err := loadCatalogue(language)
		if err != nil {
			return nil, err
		}
		core, err := loadCoreWords(language)
		if err != nil {
			return nil, err
		}
		if first == nil {
			if first, err = markup.Parse(files, templateFiles, functions(a, language, texts, core, "")); err != nil {
				return nil, err
			}
		}
		for _, role := range append(Roles(), "") {
			if p.sets[setKey{language, role}], err = first.With(functions(a, language, texts, core, role)); err != nil {
				return nil, err
			}
		}
	}
	return p, nil
}

// functions are those that templates may call.
func functions(a *assets, language string, texts catalogue, core coreWords, role Role) markup.Functions {
	return markup.Functions{
		"asset":    a.path,
		"t":        texts.text,
		"known":    texts.known,
		"count":    texts.count,
		"duration": texts.duration,
		"round":    texts.round,
		"moment":   func(at time.Time) string { return at.Format(texts["time.moment"]) },
		"day":      func(at time.Time) string { return at.Format(texts["time.day"]) },
		"core":     core.translate,
		"segment":  url.PathEscape,
		"clock":    func(at time.Time) string { return at.Format("15:04:05") },
		"minute":   func(at time.Time) string { return at.Format("15:04") },
		"between":  func(from, to time.Time) string { return between(from, to, texts["time.moment"]) },
		"iso":      func(at time.Time) string { return at.Format(time.RFC3339) },
		"stamp":    func(at string) string { return stamp(at, texts["time.moment"]) },
		"among": func(all []choice, value string) bool {
			return slices.ContainsFunc(all, func(c choice) bool { return c.Value == value })
		},
		"addr":     addressText,
		"size":     size,
		"may":      func(needs string) bool { return role.includes(Role(needs)) },
		"language": func() string { return language },
		"upper":    strings.ToUpper,
		"join":     func(all []string) string { return strings.Join(all, ", ") },
		"level":    level,
		"served":   served,
		"link":     link,
		"path":     func(id lease.ID) string { return url.PathEscape(string(id)) },
		"min":      func() int { return MinPassword },
		"max":      func() int { return MaxPassword },
	}
}

// between writes a time from one moment to another; the day only once if it is one.
func between(from, to time.Time, layout string) string {
	end := layout
	if from.Format(time.DateOnly) == to.Format(time.DateOnly) {
		end = "15:04"
	}
	return from.Format(layout) + " – " + to.Format(end)
}

// stamp writes a time of the API as pages write times, in the zone in which it is given.
func stamp(text, layout string) string {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return text
	}
	return at.Format(layout)
}

// link makes an address out of one of ours and names with values for its query. What is empty is left out.
func link(path string, pairs ...string) string {
	query := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			query.Set(pairs[i], pairs[i+1])
		}
	}
	if len(query) == 0 {
		return path
	}
	return path + "?" + query.Encode()
}

// level tells how bad a verdict is: the class that colours it.
func level(v Verdict) string {
	switch v {
	case VerdictReady:
		return "good"
	case VerdictDoubleNAT, VerdictSharedAddress, VerdictPaused:
		return "warn"
	default:
		return "bad"
	}
}

// served tells whether there is any protocol by which a device can ask.
func served(all []ProtocolFacts) bool {
	return slices.ContainsFunc(all, func(p ProtocolFacts) bool { return p.Enabled })
}

// write renders wholly before it sends, so that an error never leaves half a page.
func (p *pages) write(w http.ResponseWriter, r *http.Request, status int, name string, data page) error {
	data.Look = lookOf(r, data.Look)
	body, err := p.render(setKey{data.Look.Language, data.Look.Role}, name, data)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(body) // fails only if the other end has gone
	return nil
}

func (p *pages) render(key setKey, name string, data any) ([]byte, error) {
	return p.sets[key].Render(name, data)
}

// writeProblem answers with a page that says what is wrong.
func (p *pages) writeProblem(w http.ResponseWriter, r *http.Request, why *Problem) {
	setRetryAfter(w, why)
	if err := p.write(w, r, why.Status, "problem.html", page{Title: "problem.title", Problem: why}); err != nil {
		http.Error(w, why.Detail, why.Status)
	}
}

// show writes a page of the owner's: with the frame, the state, and what went wrong, if anything did.
func (s *Server) show(w http.ResponseWriter, r *http.Request, now view, name string, data page) error {
	data.Status, data.Script = now.status, true
	data.Look.State = s.streams.number(now.Snapshot)
	if done := r.URL.Query().Get("done"); data.Done == "" && slices.Contains(doneTexts(), done) {
		data.Done = "done." + done
	}
	status := http.StatusOK
	if data.Problem != nil {
		status = data.Problem.Status
		setRetryAfter(w, data.Problem)
	}
	return s.pages.write(w, r, status, name, data)
}

// doneTexts are the things of which a page may say that they have been done, when it is told so by its address.
func doneTexts() []string {
	return []string{"closed", "undone", "lease", "saved", "switched", "dmz", "dmzoff", "assigned", "released", "policy", "password", "ended", "user", "userremoved", "tokenremoved", "device", "answered", "paused", "resumed", "notify", "notifyremoved"}
}

// readForm reads the body of a form; the query counts for nothing.
func readForm(r *http.Request) error {
	if !hasMediaType(r, "application/x-www-form-urlencoded") {
		return problem(CodeMediaType, "the body must be a form")
	}
	if err := r.ParseForm(); err != nil {
		if p := problemOf(err); p.Code == CodeTooLarge {
			return p
		}
		return problem(CodeInvalid, "the form cannot be read")
	}
	return nil
}
