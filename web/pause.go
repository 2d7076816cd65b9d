package web

import (
	"math"
	"net/http"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// Paused says whether devices may open nothing new for now.
type Paused struct {
	On               bool  `json:"on"`
	UntilResumed     bool  `json:"until_resumed"`     // it does not end by itself
	RemainingSeconds int64 `json:"remaining_seconds"` // until it does, rounded up; 0 if it is off or does not
}

// PauseRequest is the body of PUT pause.
type PauseRequest struct {
	Seconds        uint64 `json:"seconds"`         // how long; 0: until it is ended
	CloseAutomatic bool   `json:"close_automatic"` // close what devices have open, too
}

// PauseChange answers PUT pause.
type PauseChange struct {
	Paused Paused  `json:"paused"`  // as it is then
	DryRun bool    `json:"dry_run"` // nothing has changed
	Closed []Lease `json:"closed"`  // because of it
}

func pausedOf(p lease.Pause, now time.Time) Paused {
	switch {
	case !p.On:
		return Paused{}
	case p.Until.IsZero():
		return Paused{On: true, UntilResumed: true}
	case !now.Before(p.Until):
		return Paused{} // it is about to be ended
	default:
		return Paused{On: true, RemainingSeconds: seconds(p.Until.Sub(now) + time.Second - 1)}
	}
}

func (s *Server) pauseRoutes(by access) []route {
	return []route{
		{http.MethodGet, "/pause", RoleViewer, AreaState, "", nil, s.getPause},
		{http.MethodPut, "/pause", RoleOperator, AreaState, "pause.set", s.pauseShort, s.putPause(by.origin)},
		{http.MethodDelete, "/pause", RoleOperator, AreaState, "pause.end", s.pauseShort, s.deletePause(by.origin)},
	}
}

// pauseShort tells in short whether there is a pause.
func (s *Server) pauseShort(string) string {
	switch p := s.look().status.Paused; {
	case !p.On:
		return ""
	case p.UntilResumed:
		return "paused until that is ended"
	default:
		return "paused for " + (time.Duration(p.RemainingSeconds) * time.Second).String()
	}
}

func (s *Server) getPause(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, s.look().status.Paused)
}

// putPause pauses in the name of the owner, who came by origin.
func (s *Server) putPause(origin lease.Origin) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		dry, err := flag(r, "dry_run")
		if err != nil {
			return err
		}
		var body PauseRequest
		wrong, err := readMembers(r, &body)
		if err != nil {
			return err
		}
		if err := wrong.problem(); err != nil {
			return err
		}
		change, err := s.pause(r, origin, body, dry)
		if err != nil {
			return err
		}
		return writeJSON(w, change)
	}
}

// pause is what PUT pause and the pages do.
func (s *Server) pause(r *http.Request, origin lease.Origin, body PauseRequest, dry bool) (PauseChange, error) {
	const most = math.MaxInt64 / uint64(time.Second)
	o := lease.PauseOptions{By: origin, For: time.Duration(min(body.Seconds, most)) * time.Second, Close: body.CloseAutomatic, DryRun: dry}
	done, err := s.Leases.Pause(r.Context(), o)
	if err != nil {
		return PauseChange{}, err
	}
	v := s.look()
	change := PauseChange{pausedOf(done.Pause, v.now), dry, []Lease{}}
	for _, l := range done.Closed {
		change.Closed = append(change.Closed, v.lease(l))
	}
	return change, nil
}

func (s *Server) deletePause(origin lease.Origin) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := s.Leases.Resume(r.Context(), origin); err != nil {
			return err
		}
		return s.getPause(w, r)
	}
}
