package web

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/web/markup"
)

// templateFiles are the pages and their parts.
const templateFiles = "template/*.html"

// language is the one in which the pages are written until there is a second one.
const language = "en"

// pages renders the pages and, for the live page, the parts of it.
type pages struct {
	templates *markup.Set
}

// page is what every template gets.
type page struct {
	Title   string   // key of the catalogue
	Problem *Problem // what went wrong with the form that was sent; nil: nothing
	Script  bool     // the page needs the script

	// For the page of leases.
	Leases []Lease // newest first
	Status Status

	// For the page of the first password.
	Reset bool // there is a password already
}

func newPages(a *assets) (*pages, error) {
	texts, err := loadCatalogue(language)
	if err != nil {
		return nil, err
	}
	t, err := markup.Parse(files, templateFiles, functions(a, texts))
	if err != nil {
		return nil, err
	}
	return &pages{t}, nil
}

// functions are those that templates may call.
func functions(a *assets, texts catalogue) markup.Functions {
	return markup.Functions{
		"asset":    a.path,
		"t":        texts.text,
		"count":    texts.count,
		"duration": texts.duration,
		"language": func() string { return language },
		"upper":    strings.ToUpper,
		"level":    level,
		"served":   served,
		"path":     func(id lease.ID) string { return url.PathEscape(string(id)) },
		"min":      func() int { return MinPassword },
		"max":      func() int { return MaxPassword },
	}
}

// level tells how bad a verdict is: the class that colours it.
func level(v Verdict) string {
	switch v {
	case VerdictReady:
		return "good"
	case VerdictDoubleNAT, VerdictSharedAddress:
		return "warn"
	default:
		return "bad"
	}
}

// served tells whether there is any protocol by which a device can ask.
func served(all []ProtocolFacts) bool {
	return slices.ContainsFunc(all, func(p ProtocolFacts) bool { return p.Enabled })
}

// write renders wholly before it sends, so that an error never leaves half a page.
func (p *pages) write(w http.ResponseWriter, status int, name string, data page) error {
	body, err := p.render(name, data)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(body) // fails only if the other end has gone
	return nil
}

func (p *pages) render(name string, data any) ([]byte, error) {
	return p.templates.Render(name, data)
}

// writeProblem answers with a page that says what is wrong.
func (p *pages) writeProblem(w http.ResponseWriter, why *Problem) {
	setRetryAfter(w, why)
	if err := p.write(w, why.Status, "problem.html", page{Title: "problem.title", Problem: why}); err != nil {
		http.Error(w, why.Detail, why.Status)
	}
}

// pages is also the feed of the live page: the same templates, in parts.

func (p *pages) leases(all []Lease) ([]byte, error) {
	slices.Reverse(all)
	return p.render("rows", all)
}

func (p *pages) lease(l Lease) ([]byte, error) { return p.render("row", l) }

func (p *pages) status(s Status) ([]byte, error) { return p.render("status", s) }

// The handlers of the pages.

func (s *Server) leasesPage(w http.ResponseWriter, _ *http.Request) error {
	return s.writeLeases(w, http.StatusOK, nil)
}

func (s *Server) writeLeases(w http.ResponseWriter, status int, why *Problem) error {
	now := s.look()
	all := now.leases()
	slices.Reverse(all)
	return s.pages.write(w, status, "leases.html", page{
		Title: "leases.title", Script: true, Problem: why, Leases: all, Status: now.status,
	})
}

// closeForm is the close button of a browser without script.
func (s *Server) closeForm(w http.ResponseWriter, r *http.Request) error {
	_, err := s.Leases.CloseID(r.Context(), lease.Actor{Origin: lease.OriginWeb}, leaseID(r))
	if err != nil {
		if why := s.answerError(r, err); why.Code != CodeNoLease { // closed before is closed
			setRetryAfter(w, why)
			return s.writeLeases(w, why.Status, why)
		}
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
	return nil
}

func (s *Server) setupPage(w http.ResponseWriter, _ *http.Request) error {
	return s.writeSetup(w, http.StatusOK, nil)
}

func (s *Server) writeSetup(w http.ResponseWriter, status int, why *Problem) error {
	return s.pages.write(w, status, "setup.html", page{
		Title: "setup.title", Script: true, Problem: why, Reset: s.owner.configured(),
	})
}

func (s *Server) setupForm(w http.ResponseWriter, r *http.Request) error {
	if err := readForm(r); err != nil {
		return err
	}
	if err := s.setUp(w, r, SetupRequest{r.PostForm.Get("code"), r.PostForm.Get("user"), r.PostForm.Get("password")}); err != nil {
		why := s.answerError(r, err)
		setRetryAfter(w, why)
		return s.writeSetup(w, why.Status, why)
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
	return nil
}

func (s *Server) loginPage(w http.ResponseWriter, r *http.Request) error {
	if s.sessionState(r) != SessionLogin {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return nil
	}
	return s.writeLogin(w, http.StatusOK, nil)
}

func (s *Server) writeLogin(w http.ResponseWriter, status int, why *Problem) error {
	return s.pages.write(w, status, "login.html", page{Title: "login.title", Script: true, Problem: why})
}

func (s *Server) loginForm(w http.ResponseWriter, r *http.Request) error {
	if err := readForm(r); err != nil {
		return err
	}
	if _, err := s.signIn(w, r, r.PostForm.Get("user"), r.PostForm.Get("password")); err != nil {
		why := s.answerError(r, err)
		setRetryAfter(w, why)
		return s.writeLogin(w, why.Status, why)
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
	return nil
}

func (s *Server) logoutForm(w http.ResponseWriter, r *http.Request) error {
	s.signOut(w, r)
	http.Redirect(w, r, "/", http.StatusSeeOther)
	return nil
}

// readForm reads the body of a form; the query counts for nothing.
func readForm(r *http.Request) error {
	if !hasMediaType(r, "application/x-www-form-urlencoded") {
		return problem(CodeMediaType, "the body must be a form")
	}
	if err := r.ParseForm(); err != nil {
		if p := problemOf(err); p.Code == CodeTooLarge {
			return p
		}
		return problem(CodeInvalid, "the form cannot be read")
	}
	return nil
}
