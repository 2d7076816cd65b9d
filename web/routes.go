package web

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"

	"github.com/portreeve/portreeve/lease"
)

// gin is met in this file only: it routes, and the handlers are those of net/http with an error.

// handler answers a request or returns why it cannot; it has written nothing then.
type handler func(w http.ResponseWriter, r *http.Request) error

// lanRoutes is what browsers get.
func (s *Server) lanRoutes() *gin.Engine {
	e := s.newEngine()
	open := e.Group("/api/v1")
	open.GET("/session", s.api(s.getSession))
	open.POST("/setup", s.api(s.postSetup))
	open.POST("/login", s.api(s.postLogin))
	open.POST("/logout", s.api(s.postLogout))
	visitor := access{lease.OriginWeb, s.signedIn, func(r *http.Request) bool { return s.owner.sessions.valid(token(r)) }}
	s.ownerRoutes(open, visitor)

	e.GET("/assets/*name", s.page(s.assets.serve))
	e.GET("/setup", s.page(s.setupPage))
	e.POST("/setup", s.page(s.setupForm))
	e.GET("/login", s.page(s.loginPage))
	e.POST("/login", s.page(s.loginForm))
	e.POST("/logout", s.page(s.logoutForm))
	e.GET("/", s.page(s.redirected(s.leasesPage)))
	e.POST("/leases/:id/close", s.page(s.redirected(s.closeForm)))
	e.GET("/live", s.page(s.signedIn(s.stream(s.pages, visitor.lasts))))
	return e
}

// localRoutes is what the command line gets; whoever comes so far is the owner.
func (s *Server) localRoutes() *gin.Engine {
	e := s.newEngine()
	g := e.Group("/api/v1")
	s.ownerRoutes(g, access{
		lease.OriginCLI, func(h handler) handler { return h }, func(*http.Request) bool { return true },
	})
	g.GET("/setup-code", s.api(s.getSetupCode))
	g.POST("/setup-code", s.api(s.postSetupCode))
	return e
}

// access is a way by which the owner comes in.
type access struct {
	origin lease.Origin
	check  func(handler) handler      // lets only the owner through
	lasts  func(r *http.Request) bool // tells during an event stream whether that is still so
}

// ownerRoutes is the part of the API that both have.
func (s *Server) ownerRoutes(g *gin.RouterGroup, by access) {
	as := func(h handler) gin.HandlerFunc { return s.api(by.check(h)) }
	g.GET("/status", as(s.getStatus))
	g.GET("/leases", as(s.getLeases))
	g.GET("/leases/:id", as(s.getLease))
	g.DELETE("/leases/:id", as(s.deleteLease(by.origin)))
	g.GET("/rules", as(s.getRules))
	g.POST("/rules", as(s.postRule(by.origin)))
	g.GET("/rules/:id", as(s.getRule))
	g.PUT("/rules/:id", as(s.putRule(by.origin)))
	g.DELETE("/rules/:id", as(s.deleteRule(by.origin)))
	g.GET("/addresses", as(s.getAddresses))
	g.POST("/addresses", as(s.postAddress(by.origin)))
	g.GET("/policy", as(s.getPolicy))
	g.POST("/policy/test", as(s.postPolicyTest))
	g.GET("/history", as(s.getHistory))
	g.GET("/events", as(s.stream(jsonFeed{}, by.lasts)))
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
func (s *Server) api(h handler) gin.HandlerFunc { return s.adapt(h, writeProblem) }

func (s *Server) page(h handler) gin.HandlerFunc { return s.adapt(h, s.pages.writeProblem) }

func (s *Server) adapt(h handler, fail func(http.ResponseWriter, *Problem)) gin.HandlerFunc {
	return func(c *gin.Context) {
		for _, p := range c.Params {
			c.Request.SetPathValue(p.Key, p.Value)
		}
		if err := h(c.Writer, c.Request); err != nil {
			fail(c.Writer, s.answerError(c.Request, err))
		}
	}
}

// signedIn lets only the owner's sessions through.
func (s *Server) signedIn(next handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		switch s.sessionState(r) {
		case SessionOpen:
			return next(w, r)
		case SessionSetup:
			return setupRequired()
		default:
			return problem(CodeLogin, "sign in first")
		}
	}
}

// redirected is like signedIn, and sends everybody else to the page that they need.
func (s *Server) redirected(next handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		switch s.sessionState(r) {
		case SessionOpen:
			return next(w, r)
		case SessionSetup:
			http.Redirect(w, r, "/setup", http.StatusSeeOther)
		default:
			http.Redirect(w, r, "/login", http.StatusSeeOther)
		}
		return nil
	}
}

func (s *Server) sessionState(r *http.Request) SessionState {
	switch {
	case !s.owner.configured():
		return SessionSetup
	case s.owner.sessions.use(token(r)):
		return SessionOpen
	default:
		return SessionLogin
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
