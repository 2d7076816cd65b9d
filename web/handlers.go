package web

import (
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

func (s *Server) getLeases(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, LeaseList{s.look().leases()})
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
	if detail.Traffic = traffic; traffic.Peers == nil {
		detail.Traffic.Peers = []Peer{}
	}
	return writeJSON(w, detail)
}

// deleteLease closes a lease in the name of the owner, who came by origin.
func (s *Server) deleteLease(origin lease.Origin) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		closed, err := s.Leases.CloseID(r.Context(), lease.Actor{Origin: origin}, leaseID(r))
		if err != nil {
			return err
		}
		return writeJSON(w, s.look().lease(closed))
	}
}

func (s *Server) getHistory(w http.ResponseWriter, r *http.Request) error {
	limit, err := number(r, "limit", 1, maxHistory, defaultHistory)
	if err != nil {
		return err
	}
	before, err := number(r, "before", 1, math.MaxInt64, 0)
	if err != nil {
		return err
	}
	id := lease.ID(r.URL.Query().Get("lease"))
	return writeJSON(w, s.look().history(before, int(limit), id))
}

func (s *Server) getSession(w http.ResponseWriter, r *http.Request) error {
	return writeJSON(w, Session{s.sessionState(r)})
}

func (s *Server) postSetup(w http.ResponseWriter, r *http.Request) error {
	body, err := readJSON[SetupRequest](r)
	if err != nil {
		return err
	}
	session, err := s.owner.setup(r.Context(), source(r), body.Code, body.Password)
	if err != nil {
		return err
	}
	setCookie(w, r, session)
	return writeJSON(w, Session{SessionOpen})
}

func (s *Server) postLogin(w http.ResponseWriter, r *http.Request) error {
	body, err := readJSON[LoginRequest](r)
	if err != nil {
		return err
	}
	if err := s.signIn(w, r, body.Password); err != nil {
		return err
	}
	return writeJSON(w, Session{SessionOpen})
}

// signIn opens a session with a new token and ends the one that the browser came with, if any: a token that
// was known before signing in is worth nothing afterwards.
func (s *Server) signIn(w http.ResponseWriter, r *http.Request, password string) error {
	session, err := s.owner.login(r.Context(), source(r), password)
	if err != nil {
		return err
	}
	s.owner.sessions.end(token(r))
	setCookie(w, r, session)
	return nil
}

func (s *Server) postLogout(w http.ResponseWriter, r *http.Request) error {
	s.signOut(w, r)
	return writeJSON(w, Session{s.sessionState(r)})
}

func (s *Server) signOut(w http.ResponseWriter, r *http.Request) {
	s.owner.sessions.end(token(r))
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
