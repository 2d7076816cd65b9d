package web

import (
	"context"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/portreeve/portreeve/lease"
)

// Role is what somebody may do. Each may what the one before may. Which role a route needs is in the table of routes, and
// nowhere else.
type Role string

// The roles.
const (
	RoleViewer   Role = "viewer"   // sees everything but accounts, tokens and the audit log
	RoleOperator Role = "operator" // closes leases, sets rules and devices, answers requests that wait
	RoleAdmin    Role = "admin"    // sets the policy, accounts and tokens, and may restore a backup
)

// Roles returns all roles, the one that may the least first.
func Roles() []Role { return []Role{RoleViewer, RoleOperator, RoleAdmin} }

// includes tells whether the role may what another one may. A role that does not exist may nothing.
func (r Role) includes(other Role) bool {
	own := slices.Index(Roles(), r)
	return own >= 0 && own >= slices.Index(Roles(), other)
}

// Area is a part of the API. A token can be limited to some.
type Area string

// The areas. They are the tags of docs/openapi.yaml.
const (
	AreaState   Area = "state"
	AreaRules   Area = "rules"
	AreaPolicy  Area = "policy"
	AreaDevices Area = "devices"
	AreaAccess  Area = "access"
	AreaSystem  Area = "system"
)

// Areas returns all areas.
func Areas() []Area {
	return []Area{AreaState, AreaRules, AreaPolicy, AreaDevices, AreaAccess, AreaSystem}
}

// visitor is who is at the other end of a connection, whether we know them or not.
type visitor struct {
	from  netip.Addr // not valid: a process on the router itself
	agent string     // what the program calls itself: untrusted, cleaned
}

func visitorOf(r *http.Request) visitor {
	return visitor{source(r), lease.CleanText(r.UserAgent(), maxName)}
}

// identity is somebody whom we know.
type identity struct {
	visitor
	name    string // for people: of the account, with that of the token if it is one; or of the user on the router
	user    string // of the account; "" for a process on the router, and for a token that one has made
	role    Role
	areas   []Area // of a token; none: all
	origin  lease.Origin
	session string // its ID; "" for others
}

// may returns nil if the identity may use a route.
func (i identity) may(rt route) error {
	switch {
	case !i.role.includes(rt.role):
		return problem(CodeRole, "this needs the role %s, and %s has the role %s", rt.role, i.name, i.role)
	case len(i.areas) > 0 && !slices.Contains(i.areas, rt.area):
		return problem(CodeRole, "this belongs to %s, and the token is for %s only", rt.area, joined(i.areas))
	}
	return nil
}

func joined[T ~string](all []T) string {
	texts := make([]string, len(all))
	for i, one := range all {
		texts[i] = string(one)
	}
	return strings.Join(texts, ", ")
}

type identityKey struct{}

// identityOf returns who asks. It is set for every route that needs a role.
func identityOf(r *http.Request) identity {
	who, _ := r.Context().Value(identityKey{}).(identity)
	return who
}

// access is a way by which somebody comes in.
type access struct {
	origin lease.Origin

	// identify says who asks, or returns the problem that they have to solve first. With use it counts as use.
	identify func(r *http.Request, use bool) (identity, error)
}

// lasts tells during an event stream whether who has opened it may still see it.
func (a access) lasts(r *http.Request) bool {
	_, err := a.identify(r, false)
	return err == nil
}

// lanAccess is that of browsers and of programs with a token.
func (s *Server) lanAccess() access { return access{lease.OriginWeb, s.identify} }

func (s *Server) identify(r *http.Request, use bool) (identity, error) {
	if header := r.Header.Get("Authorization"); header != "" {
		return s.identifyToken(r, header)
	}
	if !s.owner.configured() {
		return identity{}, setupRequired()
	}
	find := s.owner.sessions.valid
	if use {
		find = s.owner.sessions.use
	}
	one, ok := find(r.Context(), token(r))
	u, known := s.owner.user(one.user)
	if !ok || !known {
		return identity{}, problem(CodeLogin, "sign in first")
	}
	return identity{visitorOf(r), u.name, u.name, u.role, nil, lease.OriginWeb, one.id}, nil
}

// identifyToken says whose token a header carries. What comes with a header was not sent by a web site of somebody else.
func (s *Server) identifyToken(r *http.Request, header string) (identity, error) {
	scheme, secret, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") || !strings.HasPrefix(secret, tokenPrefix) {
		return identity{}, problem(CodeToken, "the header Authorization must be: Bearer %s...", tokenPrefix)
	}
	t, ok := s.owner.tokens.use(r.Context(), hashOf(secret))
	if !ok {
		return identity{}, problem(CodeToken, "there is no such token, or it has ended")
	}
	who := identity{visitorOf(r), "token " + t.name, t.user, t.role, t.areas, lease.OriginWeb, ""}
	if t.user == "" {
		return who, nil
	}
	u, known := s.owner.user(t.user)
	if !known {
		return identity{}, problem(CodeToken, "the account that has made the token does not exist any more")
	}
	who.name = u.name + ", token " + t.name
	if !u.role.includes(who.role) {
		who.role = u.role // an account that may less has no token that may more
	}
	return who, nil
}

// localAccess is that of the command line: whoever comes so far is root or the user that the daemon runs as.
func (s *Server) localAccess() access {
	return access{lease.OriginCLI, func(r *http.Request, _ bool) (identity, error) {
		p, _ := r.Context().Value(peerKey{}).(peer)
		name := "user " + strconv.FormatUint(uint64(p.uid), 10) + " on the router"
		if p.uid == 0 {
			name = "root"
		}
		return identity{visitor: visitorOf(r), name: name, role: RoleAdmin, origin: lease.OriginCLI}, nil
	}}
}

// gate lets those through who may use a route, and notes what they change.
func (s *Server) gate(by access, rt route) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		who, err := by.identify(r, true)
		if err != nil {
			return err
		}
		r = r.WithContext(lease.WithAccount(context.WithValue(r.Context(), identityKey{}, who), who.name))
		if err := who.may(rt); err != nil {
			s.audit.refused(r.Context(), who, rt.method+" "+r.URL.Path, err)
			return err
		}
		if rt.action == "" {
			return rt.handle(w, r)
		}
		return s.audited(rt, who, w, r)
	}
}
