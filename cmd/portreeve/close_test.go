package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/web"
)

// One lease that cannot be closed does not keep the others open.
func TestCloseTriesAll(t *testing.T) {
	var asked []string
	api := http.NewServeMux()
	api.HandleFunc("DELETE /api/v1/leases/{id}", func(w http.ResponseWriter, r *http.Request) {
		id := r.PathValue("id")
		asked = append(asked, id)
		answer := any(web.Lease{ID: lease.ID(id)})
		if id == "gone" {
			w.WriteHeader(http.StatusNotFound)
			answer = web.Problem{Detail: "no such mapping"}
		}
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			t.Error(err)
		}
	})
	socket := filepath.Join(t.TempDir(), "s")
	var listen net.ListenConfig
	ln, err := listen.Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server, ended := &http.Server{Handler: api}, make(chan error, 1)
	go func() { ended <- server.Serve(ln) }()

	var stdout, stderr bytes.Buffer
	code := execute([]string{"lease", "close", "first", "gone", "last", "--socket", socket}, &stdout, &stderr)
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
	if code != exitNotFound || !slices.Equal(asked, []string{"first", "gone", "last"}) {
		t.Errorf("exit code %d after %q, want %d after all three", code, asked, exitNotFound)
	}
	if out := stdout.String(); strings.Count(out, "closed ") != 2 {
		t.Errorf("said %q, want two lines", out)
	}
	if out := stderr.String(); !strings.Contains(out, "close gone: no such mapping") {
		t.Errorf("complained %q, want which one and why", out)
	}
}
