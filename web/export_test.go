package web

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
)

// APIRoutes lists what is served below /api/v1, by where.
func APIRoutes(s *Server) map[string][]string {
	list := func(e *gin.Engine) (routes []string) {
		for _, r := range e.Routes() {
			if strings.HasPrefix(r.Path, "/api/v1/") {
				routes = append(routes, r.Method+" "+strings.ReplaceAll(r.Path, ":id", "{id}"))
			}
		}
		slices.Sort(routes)
		return routes
	}
	return map[string][]string{"lan": list(s.lanRoutes()), "local": list(s.localRoutes())}
}

// Right is what a route of the API needs.
type Right struct {
	Method, Path string // with {id}
	Role         Role
	Area         Area
	Changes      bool // it is in the audit log
}

// Rights lists the routes of the API that need a role, those of the command line alone last.
func Rights(s *Server) (rights []Right) {
	for _, rt := range s.routes(s.lanAccess()) {
		rights = append(rights, Right{rt.method, strings.ReplaceAll(rt.path, ":id", "{id}"), rt.role, rt.area, rt.action != ""})
	}
	return rights
}

// StatusOf is the HTTP status of a problem.
func StatusOf(c Code) int { return httpStatus(c) }

// LocalAs is the handler of the Unix socket for a user, as the kernel would name it.
func LocalAs(s *Server, uid uint32) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.local.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), peerKey{}, peer{uid: uid})))
	})
}

// Picture is when ports were open, line by line, and the bars of the timeline of all of it.
func Picture(s *Server) (stays, bars []string) {
	v := s.look()
	all := v.stays()
	for _, p := range all {
		from, to := "before", "now"
		if !p.From.IsZero() {
			from = p.From.Format(time.TimeOnly)
		}
		if !p.Open {
			to = p.To.Format(time.TimeOnly)
		}
		stays = append(stays, fmt.Sprintf("%s %s %s %s-%s", p.Kind, p.Protocol, p.Ports, from, to))
	}
	for _, l := range v.timeline(all, time.Time{}, time.Time{}).Lanes {
		for _, b := range l.Bars {
			bars = append(bars, fmt.Sprintf("%s %s %s", l.Ports, b.Kind, b.Row.From.Format(time.TimeOnly)))
			if length := b.Row.To.Sub(b.Row.From); length > 0 && b.Width == 1 {
				bars = append(bars, fmt.Sprintf("%s is cut off", length))
			}
		}
	}
	return stays, bars
}
