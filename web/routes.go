package web

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/portreeve/portreeve/docs"
	"github.com/portreeve/portreeve/lease"
)

// gin is met in this file only: it routes, and the handlers are those of net/http with an error.

// handler answers a request or returns why it cannot; it has written nothing then.
type handler func(w http.ResponseWriter, r *http.Request) error

// route is one operation of the API, or a page.
type route struct {
	method, path string // below /api/v1, or of the page
	role         Role   // the least that may use it
	area         Area   // for tokens that are not for all of them
	action       string // what the audit log calls it; "" changes nothing

	// short tells in short what there is of a name, "" if nothing, for the audit log. Nil: nothing is told.
	short  func(id string) string
	handle handler
}

// routes is the part of the API that browsers, programs and the command line have: who may do what is in this table and
// nowhere else.
func (s *Server) routes(by access) []route {
	return slices.Concat([]route{
		{http.MethodGet, "/status", RoleViewer, AreaState, "", nil, s.getStatus},
		{http.MethodGet, "/self-check", RoleViewer, AreaState, "", nil, s.getSelfCheck},
		{http.MethodGet, "/heard", RoleViewer, AreaState, "", nil, s.getHeard},
		{http.MethodGet, "/leases", RoleViewer, AreaState, "", nil, s.getLeases},
		{http.MethodGet, "/leases/:id", RoleViewer, AreaState, "", nil, s.getLease},
		{http.MethodDelete, "/leases/:id", RoleOperator, AreaState, "lease.close", s.leaseShort, s.deleteLease(by.origin)},
		{http.MethodPost, "/leases/close", RoleOperator, AreaState, "lease.close.selected", nil, s.postClose(by.origin)},
		{http.MethodPatch, "/leases/:id", RoleOperator, AreaState, "lease.change", s.leaseNoteShort, s.patchLease(by.origin)},
		{http.MethodPost, "/leases/:id/reopen", RoleOperator, AreaState, "lease.reopen", s.leaseShort, s.postReopen(by.origin)},
		{http.MethodGet, "/history", RoleViewer, AreaState, "", nil, s.getHistory},
		{http.MethodGet, "/events", RoleViewer, AreaState, "", nil, s.stream(jsonFeed{}, by.lasts)},
		{http.MethodGet, "/rules", RoleViewer, AreaRules, "", nil, s.getRules},
		{http.MethodPost, "/rules", RoleOperator, AreaRules, "rule.add", s.ruleShort, s.postRule(by.origin)},
		{http.MethodGet, "/rules/:id", RoleViewer, AreaRules, "", nil, s.getRule},
		{http.MethodPut, "/rules/:id", RoleOperator, AreaRules, "rule.change", s.ruleShort, s.putRule(by.origin)},
		{http.MethodDelete, "/rules/:id", RoleOperator, AreaRules, "rule.remove", s.ruleShort, s.deleteRule(by.origin)},
		{http.MethodGet, "/addresses", RoleViewer, AreaRules, "", nil, s.getAddresses},
		{http.MethodPost, "/addresses", RoleOperator, AreaRules, "address.assign", s.addressShort, s.postAddress(by.origin)},
		{http.MethodGet, "/policy", RoleViewer, AreaPolicy, "", nil, s.getPolicy},
		{http.MethodPut, "/policy", RoleAdmin, AreaPolicy, "policy.change", s.policyShort, s.putPolicy(by.origin)},
		{http.MethodPost, "/policy/test", RoleViewer, AreaPolicy, "", nil, s.postPolicyTest},
	}, s.pauseRoutes(by), s.deviceRoutes(by), s.backupRoutes(by), s.userRoutes(by), s.notifyRoutes(by), s.tokenRoutes(by))
}

// lanRoutes is what browsers and programs get.
func (s *Server) lanRoutes() *gin.Engine {
	e, by := s.newEngine(), s.lanAccess()
	open := e.Group("/api/v1")
	s.document(e)
	open.GET("/session", s.api(s.getSession))
	open.POST("/setup", s.api(s.postSetup))
	open.POST("/login", s.api(s.postLogin))
	open.POST("/logout", s.api(s.postLogout))
	shorts := map[string]func(string) string{"address.release": s.addressShort} // the API has no operation of its own for that
	for _, rt := range s.routes(by) {
		shorts[rt.action] = rt.short
		open.Handle(rt.method, rt.path, s.api(s.gate(by, rt)))
	}

	e.GET("/assets/*name", s.page(s.assets.serve))
	for _, p := range s.doors() {
		e.Handle(p.method, p.path, s.page(p.handler))
	}
	for _, p := range s.ownerPages() {
		e.Handle(p.method, p.path, s.page(s.redirected(s.gate(by, s.pageRoute(p, shorts)))))
	}
	live := func(w http.ResponseWriter, r *http.Request) error { return s.stream(s.feedFor(r), by.lasts)(w, r) }
	e.GET("/live", s.page(s.gate(by, route{http.MethodGet, "/live", RoleViewer, AreaState, "", nil, live})))
	return e
}

// localRoutes is what the command line gets.
func (s *Server) localRoutes() *gin.Engine {
	e, by := s.newEngine(), s.localAccess()
	g := e.Group("/api/v1")
	s.document(e)
	for _, rt := range slices.Concat(s.routes(by), []route{
		{http.MethodGet, "/setup-code", RoleAdmin, AreaAccess, "", nil, s.getSetupCode},
		{http.MethodPost, "/setup-code", RoleAdmin, AreaAccess, "setup-code.make", nil, s.postSetupCode},
	}) {
		g.Handle(rt.method, rt.path, s.api(s.gate(by, rt)))
	}
	return e
}

// pageRoute says who may use a page: whoever may see the same by the API, and do it. For the audit log it tells of things what
// the API tells of them, which shorts has by the action.
func (s *Server) pageRoute(p pageRoute, shorts map[string]func(string) string) route {
	rt := route{p.method, p.path, RoleViewer, AreaState, "", nil, p.handler}
	if p.method == http.MethodGet {
		return rt
	}
	rt.role, rt.action = cmp.Or(p.role, RoleOperator), p.action
	rt.handle = func(w http.ResponseWriter, r *http.Request) error {
		noteForm(w)
		return p.handler(w, r)
	}
	rt.short = shorts[p.action]
	return rt
}

// policyShort tells in short what the owner has set of the policy.
func (s *Server) policyShort(string) string {
	return strings.Join(s.Leases.Snapshot().Own.Lines(), "; ")
}

// document serves the description of the API. It is no secret: whoever has the program has it too.
func (s *Server) document(e *gin.Engine) {
	e.GET("/api/openapi.yaml", s.api(func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Content-Type", "application/yaml") // RFC 9512
		_, _ = w.Write(docs.OpenAPI())                     // fails only if the other end has gone
		return nil
	}))
}

// leaseShort tells in short what a lease is.
func (s *Server) leaseShort(id string) string {
	l, ok := s.Leases.Snapshot().ByID(lease.ID(id))
	if !ok {
		return ""
	}
	return l.String()
}

// ruleShort tells in short what a rule is.
func (s *Server) ruleShort(id string) string {
	state, ok := s.look().ruleByID(lease.ID(id))
	if !ok {
		return ""
	}
	text := state.String()
	if !state.Enabled {
		text += ", switched off"
	}
	return text
}

func (s *Server) newEngine() *gin.Engine {
	gin.SetMode(gin.ReleaseMode) // otherwise gin prints each route on standard output
	e := gin.New()
	e.HandleMethodNotAllowed = true
	e.RedirectTrailingSlash = false
	e.ForwardedByClientIP = false
	e.NoRoute(s.missing(problem(CodeNotFound, "there is nothing at this address")))
	e.NoMethod(s.missing(problem(CodeMethod, "this address does not understand the method")))
	return e
}

func (s *Server) missing(p *Problem) gin.HandlerFunc {
	return gin.WrapH(s.refuse(p))
}

// api makes a handler one whose errors are problem+json, page one whose errors are pages.
func (s *Server) api(h handler) gin.HandlerFunc {
	return s.adapt(h, func(w http.ResponseWriter, _ *http.Request, p *Problem) { writeProblem(w, p) })
}

func (s *Server) page(h handler) gin.HandlerFunc { return s.adapt(h, s.pages.writeProblem) }

func (s *Server) adapt(h handler, fail func(http.ResponseWriter, *http.Request, *Problem)) gin.HandlerFunc {
	return func(c *gin.Context) {
		for _, p := range c.Params {
			c.Request.SetPathValue(p.Key, p.Value)
		}
		if err := h(c.Writer, c.Request); err != nil {
			fail(c.Writer, c.Request, s.answerError(c.Request, err))
		}
	}
}

// redirected sends those who have to sign in first to the page where they can.
func (s *Server) redirected(next handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		err := next(w, r)
		switch p, _ := errors.AsType[*Problem](err); {
		case p == nil:
			return err
		case p.Code == CodeSetup:
			http.Redirect(w, r, "/setup", http.StatusSeeOther)
		case p.Code == CodeLogin:
			http.Redirect(w, r, "/login", http.StatusSeeOther)
		default:
			return err
		}
		return nil
	}
}

func (s *Server) sessionState(r *http.Request) SessionState { return s.sessionOf(r).State }

// sessionOf tells what a visitor has to do next.
func (s *Server) sessionOf(r *http.Request) Session {
	who, err := s.identify(r, true)
	switch p, _ := errors.AsType[*Problem](err); {
	case err == nil:
		return Session{SessionOpen, who.user, who.role}
	case p != nil && p.Code == CodeSetup:
		return Session{State: SessionSetup}
	default:
		return Session{State: SessionLogin}
	}
}

func writeJSON(w http.ResponseWriter, v any) error { return writeJSONStatus(w, http.StatusOK, v) }

func writeJSONStatus(w http.ResponseWriter, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // fails only if the other end has gone
	return nil
}

// readJSON reads a body that is exactly one object with known members.
func readJSON[T any](r *http.Request) (T, error) {
	var v T
	if !hasMediaType(r, "application/json") {
		return v, problem(CodeMediaType, "the body must be application/json")
	}
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	err := d.Decode(&v)
	if err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("more than one value")
		}
	}
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return v, tooLarge
	}
	if err != nil {
		return v, problem(CodeInvalid, "the body is not the expected JSON: %v", err)
	}
	return v, nil
}

// leaseID reads the ID of the path. What cannot be one names no lease.
func leaseID(r *http.Request) lease.ID { return lease.ID(r.PathValue("id")) }

// number reads a query parameter between low and high; absent is the given default.
func number(r *http.Request, name string, low, high, absent uint64) (uint64, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return absent, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n < low || n > high {
		return 0, problem(CodeInvalid, "%s must be a number from %d to %d", name, low, high)
	}
	return n, nil
}
