package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/notify"
)

// Notify is what the package needs of [notify.Notifier].
type Notify interface {
	Settings() notify.Settings
	Set(ctx context.Context, s notify.Settings, ifVersion uint64) (notify.Settings, error)
	State() map[string]notify.TargetState
	Test(ctx context.Context, id string) (answer string, err error)
}

// noNotify is that of a server without one.
type noNotify struct{}

var errNoNotify = fmt.Errorf("%w: this portreeve sends no notifications", lease.ErrUnavailable)

func (noNotify) Settings() notify.Settings { return notify.Defaults() }

func (noNotify) Set(context.Context, notify.Settings, uint64) (notify.Settings, error) {
	return notify.Settings{}, errNoNotify
}

func (noNotify) State() map[string]notify.TargetState { return nil }

func (noNotify) Test(context.Context, string) (string, error) { return "", errNoNotify }

func (s *Server) notifyRoutes(access) []route {
	return []route{
		{http.MethodGet, "/notifications", RoleAdmin, AreaSystem, "", nil, s.getNotifications},
		{http.MethodPut, "/notifications", RoleAdmin, AreaSystem, "notifications.change", nil, s.putNotifications},
		{http.MethodGet, "/notifications/state", RoleAdmin, AreaSystem, "", nil, s.getNotificationState},
		{http.MethodPost, "/notifications/:id/test", RoleAdmin, AreaSystem, "notifications.test", s.targetShort, s.postTargetTest},
	}
}

// targetShort tells in short what a target is. Addresses may have secrets in them.
func (s *Server) targetShort(id string) string {
	for _, t := range s.Notify.Settings().Targets {
		if t.ID == id {
			return string(t.Kind)
		}
	}
	return ""
}

func (s *Server) getNotifications(w http.ResponseWriter, _ *http.Request) error {
	settings := s.Notify.Settings()
	return writeTagged(w, http.StatusOK, settings.Version, Notifications{settings.Version, notificationSettingsOf(settings)})
}

func (s *Server) putNotifications(w http.ResponseWriter, r *http.Request) error {
	dry, err := flag(r, "dry_run")
	if err != nil {
		return err
	}
	old := s.Notify.Settings()
	if _, err := ifMatch(r).of("settings of notifications", old.Version); err != nil {
		return err
	}
	body := newNotificationBody()
	wrong, err := readMembers(r, &body)
	if err != nil {
		return err
	}
	read := s.reader(wrong)
	next, lost := read.notifications(body, old)
	for _, one := range lost {
		read.add(one.member, "was set for another address: give it again, or an empty one to do without")
	}
	if err := read.problem(); err != nil {
		return err
	}
	next.Version = old.Version
	if !dry {
		if next, err = s.Notify.Set(r.Context(), next, old.Version); err != nil {
			return notifyProblem(err)
		}
	}
	answer := Notifications{next.Version, notificationSettingsOf(next)}
	if dry {
		return writeJSON(w, answer)
	}
	return writeTagged(w, http.StatusOK, next.Version, answer)
}

// notifyProblem is the answer for an error of package notify.
func notifyProblem(err error) error {
	switch {
	case errors.Is(err, notify.ErrChanged):
		return problem(CodeChanged, "%v", err)
	case errors.Is(err, notify.ErrNoTarget):
		return problem(CodeNoTarget, "%v", err)
	case errors.Is(err, notify.ErrBusy):
		return problem(CodeBusy, "%v", err).after(5 * time.Second)
	default:
		return err
	}
}

func (s *Server) getNotificationState(w http.ResponseWriter, _ *http.Request) error {
	state, list := s.Notify.State(), NotificationState{Targets: []TargetState{}}
	for _, t := range s.Notify.Settings().Targets {
		list.Targets = append(list.Targets, targetStateOf(t.ID, state[t.ID]))
	}
	return writeJSON(w, list)
}

// postTargetTest sends a message now. That it could not be sent is the answer, and no error: it is what was asked.
func (s *Server) postTargetTest(w http.ResponseWriter, r *http.Request) error {
	answer, err := s.Notify.Test(r.Context(), r.PathValue("id"))
	switch {
	case errors.Is(err, notify.ErrNoTarget), errors.Is(err, notify.ErrBusy), errors.Is(err, errNoNotify):
		return notifyProblem(err)
	case err != nil:
		return writeJSON(w, TargetTest{false, err.Error()})
	default:
		return writeJSON(w, TargetTest{true, answer})
	}
}
