package web

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"time"

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

// LeaseChange is the body of PATCH leases/{id}. What is absent or null stays as it is.
type LeaseChange struct {
	Note             *string `json:"note"`
	RemainingSeconds *uint64 `json:"remaining_seconds"` // from now on
}

// patchLease changes a lease in the name of the owner, who came by origin.
func (s *Server) patchLease(origin lease.Origin) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		dry, err := flag(r, "dry_run")
		if err != nil {
			return err
		}
		var body LeaseChange
		wrong, err := readMembers(r, &body)
		if err != nil {
			return err
		}
		if err := wrong.problem(); err != nil {
			return err
		}
		l, err := s.Leases.AmendLease(r.Context(), lease.Actor{Origin: origin}, leaseID(r), body.change(dry))
		if err != nil {
			return err
		}
		return writeJSON(w, s.look().lease(l))
	}
}

func (b LeaseChange) change(dry bool) lease.LeaseChange {
	c := lease.LeaseChange{Note: b.Note, DryRun: dry}
	if b.RemainingSeconds != nil {
		const most = math.MaxInt64 / uint64(time.Second)
		left := time.Duration(min(*b.RemainingSeconds, most)) * time.Second
		c.Lifetime = &left
	}
	return c
}

// leaseNoteShort tells in short what the owner can change of a lease.
func (s *Server) leaseNoteShort(id string) string {
	v := s.look()
	l, ok := v.ByID(lease.ID(id))
	if !ok {
		return ""
	}
	text := fmt.Sprintf("%s, %s left", l, l.Remaining(v.now).Round(time.Second))
	if l.Note != "" {
		text += fmt.Sprintf(", note %q", l.Note)
	}
	return text
}
