package web

import (
	"net/http"
	"strconv"

	"github.com/portreeve/portreeve/lease"
)

// pauseForm pauses new ports for the minutes of the button that was pressed, 0 until that is ended.
func (s *Server) pauseForm(w http.ResponseWriter, r *http.Request) error {
	if err := readForm(r); err != nil {
		return err
	}
	minutes, err := strconv.ParseUint(r.PostForm.Get("minutes"), 10, 16)
	if err != nil {
		return problem(CodeInvalid, "the minutes of the pause must be a number from 0 to 65535")
	}
	if _, err := s.pause(r, lease.OriginWeb, PauseRequest{Seconds: 60 * minutes, CloseAutomatic: r.PostForm.Get("close") != ""}, false); err != nil {
		return err
	}
	http.Redirect(w, r, link("/", "done", "paused"), http.StatusSeeOther)
	return nil
}

// resumeForm ends the pause.
func (s *Server) resumeForm(w http.ResponseWriter, r *http.Request) error {
	if err := s.Leases.Resume(r.Context(), lease.OriginWeb); err != nil {
		return err
	}
	http.Redirect(w, r, link("/", "done", "resumed"), http.StatusSeeOther)
	return nil
}
