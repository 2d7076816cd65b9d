package web

import (
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// Setting is something that the configuration file can set, as it holds.
type Setting struct {
	Name, Value string // the name is that of the file
	Set         bool   // the file sets it to something else than the program comes with
}

// settingsData is the data of the page of settings.
type settingsData struct {
	Themes    []string
	Languages []string
	File      []Setting
	Roles     []Role
	Areas     []Area

	Sessions []SessionInfo // that may be seen
	Users    []User        // for those who may set accounts, as is what follows
	Tokens   []Token
	Audit    []AuditEntry
	Older    []AuditEntry // behind these, folded
	Secret   string       // of a token that was just made; "": none was
	URL      string       // of the router, as the browser calls it
	Restored *Restored    // what a backup has changed, or would; nil: none was given
	Backup   string       // that was given, to be given again
}

// settingsAudit is how many entries of the audit log stand open on the page.
const settingsAudit = 10

func (s *Server) settingsPage(w http.ResponseWriter, r *http.Request) error {
	return s.showSettings(w, r, settingsData{}, nil)
}

func (s *Server) showSettings(w http.ResponseWriter, r *http.Request, d settingsData, why *Problem) error {
	d.Themes, d.Languages, d.Roles, d.Areas = themes(), languages(), Roles(), Areas()
	d.File = slices.Clone(s.Settings)
	slices.SortStableFunc(d.File, func(a, b Setting) int {
		switch {
		case a.Set == b.Set:
			return 0
		case a.Set: // what the file sets comes first
			return -1
		default:
			return 1
		}
	})
	var sessions SessionList
	if err := call(r, s.getSessions, "", nil, &sessions); err != nil {
		return err
	}
	d.Sessions = sessions.Sessions
	if identityOf(r).role.includes(RoleAdmin) {
		var users UserList
		if err := call(r, s.getUsers, "", nil, &users); err != nil {
			return err
		}
		var tokens TokenList
		if err := call(r, s.getTokens, "", nil, &tokens); err != nil {
			return err
		}
		var audit AuditList
		if err := call(r, s.getAudit, "", nil, &audit); err != nil {
			return err
		}
		d.Users, d.Tokens, d.Audit = users.Users, tokens.Tokens, audit.Entries[:min(settingsAudit, len(audit.Entries))]
		d.Older = audit.Entries[len(d.Audit):]
	}
	return s.show(w, r, s.look(), "settings.html", page{Title: "settings.title", At: "settings", Problem: why, Data: d})
}

// settled ends a form of the settings: with the page and what went wrong, or with what has been done.
func (s *Server) settled(w http.ResponseWriter, r *http.Request, err error, done string) error {
	if err != nil {
		return s.showSettings(w, r, settingsData{}, s.answerError(r, err))
	}
	http.Redirect(w, r, link("/settings", "done", done), http.StatusSeeOther)
	return nil
}

func (s *Server) passwordForm(w http.ResponseWriter, r *http.Request) error {
	if err := readForm(r); err != nil {
		return err
	}
	body := PasswordChange{r.PostForm.Get("old"), r.PostForm.Get("new")}
	return s.settled(w, r, call[User](r, s.postPassword, "", body, nil), "password")
}

func (s *Server) sessionEndForm(w http.ResponseWriter, r *http.Request) error {
	return s.settled(w, r, call[SessionInfo](r, s.deleteSession, r.PathValue("id"), nil, nil), "ended")
}

func (s *Server) userAddForm(w http.ResponseWriter, r *http.Request) error {
	if err := readForm(r); err != nil {
		return err
	}
	body := NewUser{strings.TrimSpace(r.PostForm.Get("name")), Role(r.PostForm.Get("role")), r.PostForm.Get("password")}
	err := call[User](r, s.postUser, "", body, nil)
	if err == nil {
		noteTarget(w, body.Name)
	}
	return s.settled(w, r, err, "user")
}

// userForm changes the role of an account, and its password where one was typed.
func (s *Server) userForm(w http.ResponseWriter, r *http.Request) error {
	if err := readForm(r); err != nil {
		return err
	}
	body := UserSettings{Role(r.PostForm.Get("role")), r.PostForm.Get("password")}
	return s.settled(w, r, call[User](r, s.putUser, r.PathValue("id"), body, nil), "user")
}

func (s *Server) userRemoveForm(w http.ResponseWriter, r *http.Request) error {
	return s.settled(w, r, call[User](r, s.deleteUser, r.PathValue("id"), nil, nil), "userremoved")
}

// tokenForm makes a token, whose secret is shown this once.
func (s *Server) tokenForm(w http.ResponseWriter, r *http.Request) error {
	if err := readForm(r); err != nil {
		return err
	}
	const day = 24 * time.Hour
	body := TokenRequest{Name: strings.TrimSpace(r.PostForm.Get("name")), Role: Role(r.PostForm.Get("role")), Areas: r.PostForm["area"]}
	if days, err := strconv.ParseUint(r.PostForm.Get("days"), 10, 64); err == nil && days < math.MaxUint32 {
		body.LifetimeSeconds = days * uint64(day/time.Second)
	}
	var made NewToken
	if err := call(r, s.postToken, "", body, &made); err != nil {
		return s.settled(w, r, err, "")
	}
	noteTarget(w, made.Token.ID)
	here := url.URL{Scheme: "http", Host: r.Host}
	if r.TLS != nil {
		here.Scheme = "https"
	}
	return s.showSettings(w, r, settingsData{Secret: made.Secret, URL: here.String()}, nil)
}

func (s *Server) tokenRemoveForm(w http.ResponseWriter, r *http.Request) error {
	return s.settled(w, r, call[Token](r, s.deleteToken, r.PathValue("id"), nil, nil), "tokenremoved")
}

// restoreForm takes a backup: first it tells what that would change, and does it when a word was typed.
func (s *Server) restoreForm(w http.ResponseWriter, r *http.Request) error {
	if err := readForm(r); err != nil {
		return err
	}
	d := settingsData{Backup: r.PostForm.Get("backup"), Restored: new(Restored)}
	do := r.PostForm.Get("confirm") == restoreWord
	err := call(r, s.postBackup(lease.OriginWeb), "", json.RawMessage(strings.TrimSpace(d.Backup)), d.Restored, func(inner *http.Request) {
		if !do {
			inner.URL.RawQuery = "dry_run=true"
		}
	})
	var syntax *json.MarshalerError
	if errors.As(err, &syntax) {
		err = problem(CodeInvalid, "the backup is not one JSON object")
	}
	if err != nil {
		d.Restored = nil
		return s.showSettings(w, r, d, s.answerError(r, err))
	}
	if do {
		noteTarget(w, "")
		d.Backup = ""
	}
	return s.showSettings(w, r, d, nil)
}

// restoreWord is what must be typed to restore a backup, in any language.
const restoreWord = "restore"
