package web

import (
	"cmp"
	"fmt"
	"net/http"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// UserList answers GET users.
type UserList struct {
	Users []User `json:"users"` // by name
}

// User is an account.
type User struct {
	Name    string    `json:"name"`
	Role    Role      `json:"role"`
	Created time.Time `json:"created"`
	Version uint64    `json:"version"` // also the ETag
}

// NewUser is the body of POST users.
type NewUser struct {
	Name     string `json:"name"`
	Role     Role   `json:"role"`
	Password string `json:"password"`
}

// UserSettings is the body of PUT users/{id}. What is absent stays as it is.
type UserSettings struct {
	Role     Role   `json:"role"`
	Password string `json:"password"`
}

// PasswordChange is the body of POST password.
type PasswordChange struct {
	Old string `json:"old"`
	New string `json:"new"`
}

// SessionList answers GET sessions.
type SessionList struct {
	Sessions []SessionInfo `json:"sessions"` // the one that was used last first
}

// SessionInfo is one session of a browser.
type SessionInfo struct {
	ID      string    `json:"id"`
	User    string    `json:"user"`
	From    string    `json:"from"`  // address
	Agent   string    `json:"agent"` // what the browser calls itself: untrusted
	Began   time.Time `json:"began"`
	Current bool      `json:"current"` // the one that asks

	IdleSeconds int64 `json:"idle_seconds"`
	EndsSeconds int64 `json:"ends_seconds"` // when it ends at the latest
}

func (s *Server) userRoutes(access) []route {
	return []route{
		{http.MethodGet, "/users", RoleAdmin, AreaAccess, "", nil, s.getUsers},
		{http.MethodPost, "/users", RoleAdmin, AreaAccess, "user.add", s.userShort, s.postUser},
		{http.MethodGet, "/users/:id", RoleAdmin, AreaAccess, "", nil, s.getUser},
		{http.MethodPut, "/users/:id", RoleAdmin, AreaAccess, "user.change", s.userShort, s.putUser},
		{http.MethodDelete, "/users/:id", RoleAdmin, AreaAccess, "user.remove", s.userShort, s.deleteUser},
		{http.MethodPost, "/password", RoleViewer, AreaAccess, "password.change", nil, s.postPassword},
		{http.MethodGet, "/sessions", RoleViewer, AreaAccess, "", nil, s.getSessions},
		{http.MethodDelete, "/sessions/:id", RoleViewer, AreaAccess, "session.end", s.sessionShort, s.deleteSession},
		{http.MethodGet, "/audit", RoleAdmin, AreaAccess, "", nil, s.getAudit},
	}
}

// userShort tells in short what an account is.
func (s *Server) userShort(name string) string {
	u, ok := s.owner.user(name)
	if !ok {
		return ""
	}
	return fmt.Sprintf("%s, version %d", u.role, u.version)
}

func userOf(u user) User { return User{u.name, u.role, u.created, u.version} }

func (s *Server) getUsers(w http.ResponseWriter, _ *http.Request) error {
	list := UserList{Users: []User{}}
	for _, u := range s.owner.list() {
		list.Users = append(list.Users, userOf(u))
	}
	return writeJSON(w, list)
}

func (s *Server) getUser(w http.ResponseWriter, r *http.Request) error {
	u, ok := s.owner.user(r.PathValue("id"))
	if !ok {
		return noUser()
	}
	return writeTagged(w, http.StatusOK, u.version, userOf(u))
}

func (s *Server) postUser(w http.ResponseWriter, r *http.Request) error {
	dry, err := flag(r, "dry_run")
	if err != nil {
		return err
	}
	var body NewUser
	wrong, err := readMembers(r, &body)
	if err != nil {
		return err
	}
	if err := checkUserName(body.Name); err != nil && !wrong.has("name") {
		wrong = append(wrong, problemOf(err).Faults...)
	}
	wrong.role(body.Role, false)
	if err := wrong.problem(); err != nil {
		return err
	}
	if err := checkPassword(body.Password); err != nil {
		return err
	}
	u := user{name: body.Name, role: body.Role}
	if !dry {
		if u.hash, err = s.owner.hash(r.Context(), body.Password); err != nil {
			return err
		}
	}
	if u, err = s.owner.addUser(r.Context(), u, dry); err != nil {
		return err
	}
	if dry {
		return writeJSON(w, userOf(u))
	}
	w.Header().Set("Location", "/api/v1/users/"+u.name)
	return writeTagged(w, http.StatusCreated, u.version, userOf(u))
}

// role checks a role; none is allowed where it may stay as it is.
func (f *faults) role(r Role, none bool) {
	if (!none || r != "") && !r.includes(RoleViewer) && !f.has("role") {
		f.add("role", "is %q, allowed are %s", lease.CleanText(string(r), 32), joined(Roles()))
	}
}

func (s *Server) putUser(w http.ResponseWriter, r *http.Request) error {
	dry, err := flag(r, "dry_run")
	if err != nil {
		return err
	}
	var body UserSettings
	wrong, err := readMembers(r, &body)
	if err != nil {
		return err
	}
	wrong.role(body.Role, true)
	if err := wrong.problem(); err != nil {
		return err
	}
	hash := ""
	if body.Password != "" {
		if err := checkPassword(body.Password); err != nil {
			return err
		}
		if hash, err = s.owner.hash(r.Context(), body.Password); err != nil {
			return err
		}
	}
	who, name := identityOf(r), r.PathValue("id")
	what := userChange{name: name, ifMatch: ifMatch(r), dryRun: dry, change: func(u *user) {
		u.role, u.hash = cmp.Or(body.Role, u.role), cmp.Or(hash, u.hash)
	}}
	if hash != "" { // whoever knew the old password is out
		what.also = func(c changes) { s.owner.endOthers(c, name, who.session) }
	}
	u, err := s.owner.changeUser(r.Context(), what)
	if err != nil {
		return err
	}
	if dry {
		return writeJSON(w, userOf(u))
	}
	return writeTagged(w, http.StatusOK, u.version, userOf(u))
}

func (s *Server) deleteUser(w http.ResponseWriter, r *http.Request) error {
	dry, err := flag(r, "dry_run")
	if err != nil {
		return err
	}
	name := r.PathValue("id")
	var was user
	_, err = s.owner.changeUser(r.Context(), userChange{
		name: name, ifMatch: ifMatch(r), dryRun: dry,
		change: func(u *user) { was, u.role = *u, "" },
		also: func(c changes) {
			s.owner.endOthers(c, name, "")
			s.owner.tokens.drop(c, func(t *apiToken) bool { return t.user == name })
		},
	})
	if err != nil {
		return err
	}
	return writeJSON(w, userOf(was))
}

// postPassword changes the password of who asks. The session that asks goes on, the others of the account end.
func (s *Server) postPassword(w http.ResponseWriter, r *http.Request) error {
	body, err := readJSON[PasswordChange](r)
	if err != nil {
		return err
	}
	who := identityOf(r)
	if who.session == "" {
		return problem(CodeRole, "only somebody who has signed in has a password to change; for others: portreeve user set-password")
	}
	if err := checkPassword(body.New); err != nil {
		return err
	}
	proven, err := s.owner.prove(r.Context(), who.visitor, who.user, body.Old)
	if err != nil {
		if isWrong(err) {
			s.audit.refused(r.Context(), who, "password.change", err)
		}
		return err
	}
	hash, err := s.owner.hash(r.Context(), body.New)
	if err != nil {
		return err
	}
	u, err := s.owner.changeUser(r.Context(), userChange{
		name: who.user, ifMatch: versions(etag(proven.version)),
		change: func(u *user) { u.hash = hash },
		also:   func(c changes) { s.owner.endOthers(c, who.user, who.session) },
	})
	if err != nil {
		return err
	}
	s.owner.limiter.forgive(who.from, who.user)
	return writeJSON(w, userOf(u))
}

func (s *Server) getSessions(w http.ResponseWriter, r *http.Request) error {
	who, now := identityOf(r), s.Leases.Now()
	list := SessionList{Sessions: []SessionInfo{}}
	for _, one := range s.owner.sessions.list() {
		if who.seesSession(one) {
			list.Sessions = append(list.Sessions, sessionInfo(one, now, who.session))
		}
	}
	return writeJSON(w, list)
}

// seesSession tells whether somebody may see and end a session: their own, and who sets accounts those of everybody.
func (i identity) seesSession(one session) bool {
	return i.role.includes(RoleAdmin) || i.user != "" && one.user == i.user
}

func sessionInfo(one session, now time.Time, current string) SessionInfo {
	idle := now.Sub(one.used)
	return SessionInfo{
		ID: one.id, User: one.user, From: addrText(one.from), Agent: one.agent, Began: one.began, Current: one.id == current,
		IdleSeconds: seconds(idle), EndsSeconds: seconds(min(sessionLife-now.Sub(one.created), sessionIdle-idle)),
	}
}

func (s *Server) deleteSession(w http.ResponseWriter, r *http.Request) error {
	who, id := identityOf(r), r.PathValue("id")
	dry, err := flag(r, "dry_run")
	if err != nil {
		return err
	}
	for _, one := range s.owner.sessions.list() {
		if one.id != id || !who.seesSession(one) {
			continue
		}
		if !dry {
			c := changes{}
			s.owner.sessions.drop(c, func(o *session) bool { return o.id == id })
			_ = s.owner.sessions.outbox.put(r.Context(), c) // it has ended, and that is stored as soon as it can be
		}
		return writeJSON(w, sessionInfo(one, s.Leases.Now(), who.session))
	}
	return problem(CodeNoSession, "there is no such session (any more)")
}

func (s *Server) sessionShort(id string) string {
	for _, one := range s.owner.sessions.list() {
		if one.id == id {
			return one.user + " at " + addrText(one.from)
		}
	}
	return ""
}

// writeTagged answers with something that has a version.
func writeTagged(w http.ResponseWriter, status int, version uint64, v any) error {
	w.Header().Set("ETag", etag(version))
	return writeJSONStatus(w, status, v)
}
