package web

import "net/http"

// helpData is the data of the page that explains words.
type helpData struct {
	Words []string // the keys of the glossary
}

// glossary lists the words that are explained.
func glossary() []string {
	return []string{
		"port", "forward", "lease", "nat", "double_nat", "cgnat", "upnp", "nat_pmp", "pcp", "pinhole", "dmz", "one_to_one",
		"policy", "mac", "hairpin", "protocol",
	}
}

func (s *Server) helpPage(w http.ResponseWriter, r *http.Request) error {
	return s.show(w, r, s.look(), "help.html", page{Title: "help.title", At: "help", Data: helpData{glossary()}})
}
