package web

import (
	"cmp"
	"math"
	"net/http"

	"github.com/portreeve/portreeve/lease"
)

const (
	defaultHistory = 100
	maxHistory     = 1000
)

func (s *Server) getStatus(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, s.look().status)
}

// maxLeases is how many leases one answer has at most; without a limit it is all of them.
const maxLeases = 10000

func (s *Server) getLeases(w http.ResponseWriter, r *http.Request) error {
	limit, err := number(r, "limit", 1, maxLeases, math.MaxInt)
	if err != nil {
		return err
	}
	after, err := number(r, "after", 1, math.MaxInt64, 0)
	if err != nil {
		return err
	}
	v, list := s.look(), LeaseList{Leases: []Lease{}}
	for _, l := range v.Leases {
		if l.Seq <= after {
			continue
		}
		if uint64(len(list.Leases)) == limit {
			list.Next = list.Leases[limit-1].Seq
			break
		}
		list.Leases = append(list.Leases, v.lease(l))
	}
	return writeJSON(w, list)
}

func (s *Server) getLease(w http.ResponseWriter, r *http.Request) error {
	detail, l, ok := s.look().detail(leaseID(r))
	if !ok {
		return lease.ErrNotFound
	}
	traffic, err := s.Traffic(r.Context(), l)
	if err != nil {
		// The rest of the lease is worth showing all the same.
		s.Logger.Warn("cannot see what goes through a lease", "lease", l.ID, "err", err)
	}
	traffic.Peers, traffic.Minutes = notNil(traffic.Peers), notNil(s.Minutes(l.ID))
	detail.Traffic = traffic
	return writeJSON(w, detail)
}

// deleteLease closes a lease in the name of the owner, who came by origin.
func (s *Server) deleteLease(origin lease.Origin) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		dry, err := flag(r, "dry_run")
		if err != nil {
			return err
		}
		if dry {
			v := s.look()
			l, ok := v.ByID(leaseID(r))
			if !ok {
				return lease.ErrNotFound
			}
			return writeJSON(w, v.lease(l))
		}
		closed, err := s.Leases.CloseID(r.Context(), lease.Actor{Origin: origin}, leaseID(r))
		if err != nil {
			return err
		}
		return writeJSON(w, s.look().lease(closed))
	}
}

func (s *Server) getHistory(w http.ResponseWriter, r *http.Request) error {
	before, limit, err := newestFirst(r)
	if err != nil {
		return err
	}
	wanted, err := wantedEvents(r)
	if err != nil {
		return err
	}
	v := s.look()
	return writeJSON(w, v.history(before, limit, func(e *Event) bool { return wanted(v.line(*e)) }))
}

// newestFirst reads which part of a list that begins with the newest is wanted: so many that are older than one, 0 for all.
func newestFirst(r *http.Request) (before uint64, limit int, err error) {
	most, err := number(r, "limit", 1, maxHistory, defaultHistory)
	if err != nil {
		return 0, 0, err
	}
	before, err = number(r, "before", 1, math.MaxInt64, 0)
	return before, int(most), err
}

func (s *Server) getSession(w http.ResponseWriter, r *http.Request) error {
	return writeJSON(w, s.sessionOf(r))
}

func (s *Server) postSetup(w http.ResponseWriter, r *http.Request) error {
	body, err := readJSON[SetupRequest](r)
	if err != nil {
		return err
	}
	if err := s.setUp(w, r, body); err != nil {
		return err
	}
	u, _ := s.owner.user(cmp.Or(body.User, DefaultUser))
	return writeJSON(w, Session{SessionOpen, u.name, u.role})
}

// setUp sets the password of whoever knows the setup code, and opens a session.
func (s *Server) setUp(w http.ResponseWriter, r *http.Request, body SetupRequest) error {
	v := visitorOf(r)
	token, err := s.owner.setup(r.Context(), v, body.User, body.Code, body.Password)
	who := identity{visitor: v, origin: lease.OriginWeb}
	if err != nil {
		if isWrong(err) {
			s.audit.refused(r.Context(), who, "setup", err)
		}
		return err
	}
	who.name = cmp.Or(body.User, DefaultUser)
	s.audit.add(r.Context(), who, "setup", who.name, "", "password set with the setup code")
	setCookie(w, r, token)
	return nil
}

func (s *Server) postLogin(w http.ResponseWriter, r *http.Request) error {
	body, err := readJSON[LoginRequest](r)
	if err != nil {
		return err
	}
	u, err := s.signIn(w, r, body.User, body.Password)
	if err != nil {
		return err
	}
	return writeJSON(w, Session{SessionOpen, u.name, u.role})
}

// signIn opens a session with a new token and ends the one that the browser came with, if any: a token that
// was known before signing in is worth nothing afterwards.
func (s *Server) signIn(w http.ResponseWriter, r *http.Request, name, password string) (user, error) {
	v := visitorOf(r)
	u, session, err := s.owner.login(r.Context(), v, name, password)
	who := identity{visitor: v, origin: lease.OriginWeb}
	if err != nil {
		if isWrong(err) {
			s.audit.refused(r.Context(), who, "login", err)
		}
		return user{}, err
	}
	s.owner.sessions.end(r.Context(), token(r))
	who.name = u.name
	s.audit.add(r.Context(), who, "login", u.name, "", "")
	setCookie(w, r, session)
	return u, nil
}

func (s *Server) postLogout(w http.ResponseWriter, r *http.Request) error {
	s.signOut(w, r)
	return writeJSON(w, s.sessionOf(r))
}

func (s *Server) signOut(w http.ResponseWriter, r *http.Request) {
	if one, ok := s.owner.sessions.valid(r.Context(), token(r)); ok {
		s.owner.sessions.end(r.Context(), token(r))
		s.audit.add(r.Context(), identity{visitor: visitorOf(r), name: one.user, origin: lease.OriginWeb}, "logout", one.user, "", "")
	}
	setCookie(w, r, "")
}

func (s *Server) getSetupCode(w http.ResponseWriter, _ *http.Request) error {
	code, err := s.owner.currentCode()
	if err != nil {
		return err
	}
	return writeJSON(w, code)
}

func (s *Server) postSetupCode(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, s.owner.newCode())
}
