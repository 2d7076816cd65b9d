package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/portreeve/portreeve/test/lab"
	"github.com/portreeve/portreeve/web"
)

const (
	ui            = "http://192.168.1.1:8351"
	ownerPassword = "correct horse battery"
)

// owner is the owner's session at a computer on the LAN, without a browser: what a page says can be read a hundred times
// while others change what it is about.
type owner struct {
	t    *testing.T
	http http.Client
}

// newOwner sets the password from a LAN host.
func newOwner(t *testing.T, d *lab.Daemon, from *lab.Host) *owner {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DialContext: from.Dial}
	t.Cleanup(transport.CloseIdleConnections)
	o := &owner{t: t, http: http.Client{Jar: jar, Transport: transport}}
	o.api(http.MethodPost, "/setup", web.SetupRequest{Code: strings.TrimSpace(d.MustCLI(t, "setup-code")), Password: ownerPassword}, nil)
	return o
}

// do sends a request and returns the answer, whose body the caller closes.
func (o *owner) do(ctx context.Context, method, path, contentType string, body io.Reader) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, ui+path, body)
	if err != nil {
		return nil, err
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return o.http.Do(r)
}

// try sends a request and returns the body of the answer.
func (o *owner) try(method, path, contentType string, body io.Reader) ([]byte, error) {
	ctx, cancel := context.WithTimeout(o.t.Context(), 2*time.Minute)
	defer cancel()
	a, err := o.do(ctx, method, path, contentType, body)
	if err != nil {
		return nil, err
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err == nil && a.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s: %.500s", method, path, a.Status, text)
	}
	return text, err
}

// must sends a request that has to succeed, and returns the body.
func (o *owner) must(method, path, contentType string, body io.Reader) []byte {
	o.t.Helper()
	text, err := o.try(method, path, contentType, body)
	if err != nil {
		o.t.Fatal(err)
	}
	return text
}

// tryAPI uses the API: in is what is sent, and the answer is put into out.
func (o *owner) tryAPI(method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	text, err := o.try(method, "/api/v1"+path, "application/json", body)
	if err != nil || out == nil {
		return err
	}
	return json.Unmarshal(text, out)
}

// api is tryAPI for what has to succeed.
func (o *owner) api(method, path string, in, out any) {
	o.t.Helper()
	if err := o.tryAPI(method, path, in, out); err != nil {
		o.t.Fatalf("%s: %v", path, err)
	}
}

// post sends a form.
func (o *owner) post(path, values string) error {
	_, err := o.try(http.MethodPost, path, "application/x-www-form-urlencoded", strings.NewReader(values))
	return err
}

// page reads a page.
func (o *owner) page(path string) *html.Node {
	o.t.Helper()
	return parsePage(o.t, o.must(http.MethodGet, path, "", nil))
}

func parsePage(t *testing.T, text []byte) *html.Node {
	t.Helper()
	root, err := html.Parse(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// attribute returns an attribute of an element, "" if it has none.
func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// elements returns those of a kind, in their order; with class those that have it.
func elements(n *html.Node, kind, class string) (all []*html.Node) {
	for one := range n.Descendants() {
		if one.Type == html.ElementNode && one.Data == kind && (class == "" || strings.Contains(" "+attribute(one, "class")+" ", " "+class+" ")) {
			all = append(all, one)
		}
	}
	return all
}

// byID returns the element with an ID; the test ends if there is none.
func byID(t *testing.T, n *html.Node, id string) *html.Node {
	t.Helper()
	for one := range n.Descendants() {
		if one.Type == html.ElementNode && attribute(one, "id") == id {
			return one
		}
	}
	t.Fatalf("the page has no #%s", id)
	return nil
}

// words returns what is written in an element, with one space between words.
func words(n *html.Node) string {
	var b strings.Builder
	for one := range n.Descendants() {
		if one.Type == html.TextNode {
			b.WriteString(one.Data + " ")
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// cookie is the session.
func (o *owner) cookie() *http.Cookie {
	o.t.Helper()
	u, err := url.Parse(ui)
	if err != nil {
		o.t.Fatal(err)
	}
	all := o.http.Jar.Cookies(u)
	if len(all) != 1 {
		o.t.Fatalf("cookies: %v", all)
	}
	return all[0]
}
