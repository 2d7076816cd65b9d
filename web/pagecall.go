package web

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
)

// call hands what a form says to a handler of the API, so that pages and programs cannot be told different things. The route
// of the form has checked who asks; with may add to the request what is not in the body. What the handler answers is put into the value that into points at, unless that is nil.
func call[T any](r *http.Request, h handler, id string, body any, into *T, with ...func(*http.Request)) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	inner := r.Clone(r.Context())
	inner.Body = io.NopCloser(bytes.NewReader(text))
	inner.Header.Set("Content-Type", "application/json")
	inner.URL.RawQuery = ""
	inner.SetPathValue("id", id)
	for _, f := range with {
		f(inner)
	}
	var a answerBuffer
	if err := h(&a, inner); err != nil || into == nil {
		return err
	}
	return json.Unmarshal(a.body.Bytes(), into)
}

// answerBuffer keeps what a handler answers.
type answerBuffer struct {
	header http.Header
	body   bytes.Buffer
}

func (a *answerBuffer) Header() http.Header {
	if a.header == nil {
		a.header = http.Header{}
	}
	return a.header
}

func (a *answerBuffer) Write(b []byte) (int, error) { return a.body.Write(b) }

func (a *answerBuffer) WriteHeader(int) {}
