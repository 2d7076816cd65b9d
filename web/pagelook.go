package web

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// look is how a page appears to whoever looks at it.
type look struct {
	Language string
	Theme    string // "light", "dark", or "" for what the system says
	Path     string // of the page, with its query
	Role     Role   // of who has signed in; "": nobody
	User     string
	State    string // the ID of the state that the page shows
	Back     string // where the form of the appearance leads back to
}

const (
	languageCookie = "portreeve_language"
	themeCookie    = "portreeve_theme"
)

// languages are those of the pages. The first is for everybody who understands none of them.
func languages() []string { return []string{"en", "zh"} }

// themes are those that can be chosen; "" follows the system.
func themes() []string { return []string{"", "light", "dark"} }

// lookOf reads from a request what its sender wants to see.
func lookOf(r *http.Request, l look) look {
	l.Language, l.Path = languageOf(r), r.URL.RequestURI()
	who := identityOf(r)
	l.Role, l.User = who.role, who.name
	if c, err := r.Cookie(themeCookie); err == nil && slices.Contains(themes(), c.Value) {
		l.Theme = c.Value
	}
	switch {
	case l.Back != "":
	case r.Method == http.MethodGet:
		l.Back = l.Path
	default:
		l.Back = "/"
	}
	return l
}

// languageOf is the language that was chosen, else the one that the browser asks for.
func languageOf(r *http.Request) string {
	if c, err := r.Cookie(languageCookie); err == nil && slices.Contains(languages(), c.Value) {
		return c.Value
	}
	return preferred(r.Header.Get("Accept-Language"))
}

// preferred reads an Accept-Language header (RFC 9110, section 12.5.4). Of a language its kinds are not told apart.
func preferred(header string) string {
	type wish struct {
		language string
		weight   float64
	}
	var wishes []wish
	for item := range strings.SplitSeq(header, ",") {
		tag, parameter, _ := strings.Cut(strings.TrimSpace(item), ";")
		language, _, _ := strings.Cut(strings.ToLower(strings.TrimSpace(tag)), "-")
		w := wish{language, 1}
		if q, ok := strings.CutPrefix(strings.TrimSpace(parameter), "q="); ok {
			w.weight, _ = strconv.ParseFloat(q, 64) // what is no number counts as 0
		}
		if w.weight > 0 && slices.Contains(languages(), language) {
			wishes = append(wishes, w)
		}
	}
	slices.SortStableFunc(wishes, func(a, b wish) int { return cmp.Compare(b.weight, a.weight) })
	for _, w := range wishes {
		return w.language
	}
	return languages()[0]
}

// appearanceForm keeps in the browser which language and colours it wants, and leads back to where the form was.
func (s *Server) appearanceForm(w http.ResponseWriter, r *http.Request) error {
	if err := readForm(r); err != nil {
		return err
	}
	for _, choice := range []struct {
		name, cookie string
		allowed      []string
	}{{"language", languageCookie, languages()}, {"theme", themeCookie, themes()}} {
		if value, ok := r.PostForm[choice.name]; ok && slices.Contains(choice.allowed, value[0]) {
			keep(w, r, choice.cookie, value[0])
		}
	}
	http.Redirect(w, r, ownPath(r.PostForm.Get("back")), http.StatusSeeOther)
	return nil
}

func keep(w http.ResponseWriter, r *http.Request, name, value string) {
	const year = 365 * 24 * time.Hour
	c := &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: int(year / time.Second),
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil,
	}
	if value == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

// ownPath returns a path of this server, and the start page for whatever else somebody has put into a form. Browsers take
// both slashes for the beginning of a host name.
func ownPath(path string) string {
	if !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || strings.ContainsAny(path, "\\\r\n\t") {
		return "/"
	}
	return path
}
