package web

import "net/http"

// settingsData is the data of the page of settings.
type settingsData struct {
	Themes    []string
	Languages []string
	Policy    Policy
}

func (s *Server) settingsPage(w http.ResponseWriter, r *http.Request) error {
	now := s.look()
	d := settingsData{Themes: themes(), Languages: languages(), Policy: s.policyOf(now.Policy, now.Own)}
	return s.show(w, r, now, "settings.html", page{Title: "settings.title", At: "settings", Data: d})
}
