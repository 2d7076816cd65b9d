package web_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/web"
)

const prefix = "/api/v1"

// document is docs/openapi.yaml, checked.
var document = sync.OnceValues(func() (*openapi3.T, error) {
	loader := openapi3.NewLoader()
	doc, err := loader.LoadFromFile("../docs/openapi.yaml")
	if err != nil {
		return nil, err
	}
	// The validator's router compares whole URLs with the servers; the tests listen elsewhere.
	doc.Servers = nil
	return doc, doc.Validate(loader.Context, openapi3.IsOpenAPI31OrLater())
})

var operations = sync.OnceValues(func() (routers.Router, error) {
	doc, err := document()
	if err != nil {
		return nil, err
	}
	return legacy.NewRouter(doc, openapi3.IsOpenAPI31OrLater())
})

// contract is a transport that fails the test when the API answers something that is not in the document.
type contract struct {
	t    *testing.T
	next *http.Transport
}

// CloseIdleConnections is called by http.Client.
func (c *contract) CloseIdleConnections() { c.next.CloseIdleConnections() }

// RoundTrip implements http.RoundTripper.
func (c *contract) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := c.next.RoundTrip(r)
	if err != nil || !strings.HasPrefix(r.URL.Path, prefix) {
		return response, err
	}
	if response.Header.Get("Content-Type") == "text/event-stream" { // its body has no end, and is looked at by the tests
		produced.add(theAnswer("getEvents", response.StatusCode))
		return response, nil
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	_ = response.Body.Close()
	response.Body = io.NopCloser(bytes.NewReader(body))
	produced.problem(response, body)
	if err := c.check(r, response, body); err != nil {
		c.t.Errorf("%s %s answered %d %s\n%v", r.Method, r.URL.Path, response.StatusCode, body, err)
	}
	return response, nil
}

func (c *contract) check(r *http.Request, response *http.Response, body []byte) error {
	router, err := operations()
	if err != nil {
		return err
	}
	r = r.Clone(r.Context())
	r.URL.Path = strings.TrimPrefix(r.URL.Path, prefix)
	route, params, err := router.FindRoute(r)
	if err != nil {
		// What the document does not know must be refused, and as a problem.
		if response.StatusCode < 400 || response.Header.Get("Content-Type") != "application/problem+json" {
			return fmt.Errorf("not in the document, and not a problem: %w", err)
		}
		return nil
	}
	produced.answer(route.Operation.OperationID, response, body)
	request := &openapi3filter.RequestValidationInput{
		Request: r, PathParams: params, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc},
	}
	// What is taken is in the document as well.
	if r.GetBody != nil && response.StatusCode < 300 {
		if r.Body, err = r.GetBody(); err != nil {
			return err
		}
		if err := openapi3filter.ValidateRequest(r.Context(), request); err != nil {
			return fmt.Errorf("taken, but not in the document: %w", err)
		}
	}
	return openapi3filter.ValidateResponse(r.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: request,
		Status:                 response.StatusCode, Header: response.Header,
		Body:    io.NopCloser(bytes.NewReader(body)),
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	})
}

func TestRoutesAreThoseOfTheDocument(t *testing.T) {
	doc, err := document()
	must(t, err)
	want := map[string][]string{}
	for path, item := range doc.Paths.Map() {
		for method, operation := range item.Operations() {
			at := []any{"lan", "local"}
			if only, ok := operation.Extensions["x-portreeve-served"]; ok {
				at = only.([]any)
			}
			for _, where := range at {
				want[where.(string)] = append(want[where.(string)], method+" "+prefix+path)
			}
		}
	}
	h := newHome(t)
	for where, got := range web.APIRoutes(h.server) {
		slices.Sort(want[where])
		if d := cmp.Diff(want[where], got); d != "" {
			t.Errorf("routes on %s (-document +served):\n%s", where, d)
		}
	}
}

func TestProblemCodesAreThoseOfTheDocument(t *testing.T) {
	doc, err := document()
	must(t, err)
	var want []string
	for _, code := range doc.Components.Schemas["Problem"].Value.Properties["code"].Value.Enum {
		want = append(want, code.(string))
	}
	var got []string
	for _, code := range web.Codes() {
		got = append(got, string(code))
	}
	slices.Sort(want)
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("codes (-document +source):\n%s", d)
	}
}

func TestProblemCodesAreExplained(t *testing.T) {
	text, err := os.ReadFile("../docs/api.md")
	must(t, err)
	explained := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| ([0-9]{3}) \\| .+ \\|$").FindAllStringSubmatch(string(text), -1) {
		explained[m[1]] = m[2]
	}
	want := map[string]string{}
	for _, code := range web.Codes() {
		want[string(code)] = fmt.Sprint(web.StatusOf(code))
	}
	if d := cmp.Diff(want, explained); d != "" {
		t.Errorf("codes and their statuses (-source +api.md):\n%s", d)
	}
}
