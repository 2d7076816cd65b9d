package web

import (
	"errors"
	"net/http"

	"github.com/portreeve/portreeve/lease"
)

// postReopen takes back that a lease was closed, in the name of the owner, who came by origin.
func (s *Server) postReopen(origin lease.Origin) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		l, err := s.Leases.Reopen(r.Context(), lease.Actor{Origin: origin}, leaseID(r))
		if errors.Is(err, lease.ErrNotFound) {
			return problem(CodeNoLease, "%s", reasonOf(err))
		}
		if err != nil {
			return err
		}
		return writeJSON(w, s.look().lease(l))
	}
}
