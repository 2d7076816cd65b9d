package web

import "net/http"

// The pages for those who have not signed in: the first password, and signing in and out.

// firstPassword is the data of the page that sets a password.
type firstPassword struct {
	Reset bool // there is a password already
}

func (s *Server) setupPage(w http.ResponseWriter, r *http.Request) error {
	return s.writeSetup(w, r, http.StatusOK, nil)
}

func (s *Server) writeSetup(w http.ResponseWriter, r *http.Request, status int, why *Problem) error {
	return s.pages.write(w, r, status, "setup.html", page{
		Title: "setup.title", Script: true, Problem: why, Look: look{Back: "/setup"}, Data: firstPassword{s.owner.configured()},
	})
}

func (s *Server) setupForm(w http.ResponseWriter, r *http.Request) error {
	if err := readForm(r); err != nil {
		return err
	}
	first := !s.owner.configured()
	if err := s.setUp(w, r, SetupRequest{r.PostForm.Get("code"), r.PostForm.Get("user"), r.PostForm.Get("password")}); err != nil {
		why := s.answerError(r, err)
		setRetryAfter(w, why)
		return s.writeSetup(w, r, why.Status, why)
	}
	next := "/"
	if first {
		next = "/welcome"
	}
	http.Redirect(w, r, next, http.StatusSeeOther)
	return nil
}

func (s *Server) loginPage(w http.ResponseWriter, r *http.Request) error {
	if s.sessionState(r) != SessionLogin {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return nil
	}
	return s.writeLogin(w, r, http.StatusOK, nil)
}

func (s *Server) writeLogin(w http.ResponseWriter, r *http.Request, status int, why *Problem) error {
	return s.pages.write(w, r, status, "login.html", page{Title: "login.title", Script: true, Problem: why, Look: look{Back: "/login"}})
}

func (s *Server) loginForm(w http.ResponseWriter, r *http.Request) error {
	if err := readForm(r); err != nil {
		return err
	}
	if _, err := s.signIn(w, r, r.PostForm.Get("user"), r.PostForm.Get("password")); err != nil {
		why := s.answerError(r, err)
		setRetryAfter(w, why)
		return s.writeLogin(w, r, why.Status, why)
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
	return nil
}

func (s *Server) logoutForm(w http.ResponseWriter, r *http.Request) error {
	s.signOut(w, r)
	http.Redirect(w, r, "/", http.StatusSeeOther)
	return nil
}
