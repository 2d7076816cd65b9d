package web_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/web"
)

// covered runs the tests, and fails if they have not produced all that docs/openapi.yaml promises: each answer of each
// operation, each code of a problem and each kind of event. What nothing produces does not belong into the document. Where
// only some tests are run nothing can be said.
type covered struct{ *testing.M }

// Run runs the tests.
func (c covered) Run() int {
	code := c.M.Run()
	for _, name := range []string{"test.run", "test.skip", "test.list", "test.fuzz", "test.bench"} {
		if code != 0 || flag.Lookup(name).Value.String() != "" {
			return code
		}
	}
	missing, err := produced.missing()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for _, what := range missing {
		fmt.Fprintf(os.Stderr, "docs/openapi.yaml promises what no test of this package has seen: %s\n", what)
	}
	return min(1, len(missing))
}

// production is what the API has answered to the tests of this package.
type production struct {
	mu   sync.Mutex
	seen map[string]bool
}

var produced = production{seen: map[string]bool{}}

func (p *production) add(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen[what] = true
}

func theAnswer(operation string, status int) string {
	return fmt.Sprintf("%s answers %d", operation, status)
}
func theCode(code any) string  { return fmt.Sprintf("the problem %v", code) }
func theEvent(kind any) string { return fmt.Sprintf("an event of the kind %v", kind) }

// answer notes what an operation has answered.
func (p *production) answer(operation string, response *http.Response, body []byte) {
	p.add(theAnswer(operation, response.StatusCode))
	var history struct {
		Events []struct{ Kind lease.EventKind }
	}
	if operation == "getHistory" && json.Unmarshal(body, &history) == nil {
		for _, e := range history.Events {
			p.add(theEvent(e.Kind))
		}
	}
}

// problem notes the code of a problem, whatever the address.
func (p *production) problem(response *http.Response, body []byte) {
	var problem struct{ Code web.Code }
	if response.Header.Get("Content-Type") == "application/problem+json" && json.Unmarshal(body, &problem) == nil {
		p.add(theCode(problem.Code))
	}
}

// missing returns what the document names and nothing has produced.
func (p *production) missing() ([]string, error) {
	doc, err := document()
	if err != nil {
		return nil, err
	}
	want := map[string]bool{}
	for _, item := range doc.Paths.Map() {
		for _, operation := range item.Operations() {
			for status := range operation.Responses.Map() {
				if status != "default" {
					want[fmt.Sprintf("%s answers %s", operation.OperationID, status)] = true
				}
			}
		}
	}
	for _, code := range doc.Components.Schemas["Problem"].Value.Properties["code"].Value.Enum {
		want[theCode(code)] = true
	}
	for _, kind := range doc.Components.Schemas["Event"].Value.Properties["kind"].Value.Enum {
		want[theEvent(kind)] = true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(want, func(what string, _ bool) bool { return p.seen[what] })
	return slices.Sorted(maps.Keys(want)), nil
}
