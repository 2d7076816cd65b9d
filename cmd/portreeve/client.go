package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/portreeve/portreeve/web"
)

// defaultSocket is where the daemon listens for its command line.
const defaultSocket = "/run/portreeve/portreeve.sock"

// client speaks the daemon's API over its Unix socket.
type client struct {
	socket string
	http   http.Client
}

// addClientFlags gives a command the flag that every client of the daemon has.
func addClientFlags(cmd *cobra.Command) *client {
	c := &client{}
	c.http = http.Client{
		Timeout: 30 * time.Second,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, "unix", c.socket)
			},
		},
	}
	cmd.PersistentFlags().StringVar(&c.socket, "socket", defaultSocket, "Unix socket of the daemon")
	return c
}

// call is a request to the daemon.
type call struct {
	method, path string
	body         any    // is sent as JSON; nil: none
	version      uint64 // of the rule that is to be changed, as it was seen; 0: whatever it has
}

// do sends a request without a body and decodes the answer into v. Its errors carry the exit code and say what to do.
func (c *client) do(ctx context.Context, method, path string, v any) error {
	return c.send(ctx, call{method: method, path: path}, v)
}

// send is do for requests of all kinds.
func (c *client) send(ctx context.Context, r call, v any) error {
	req, err := newHTTPRequest(ctx, r)
	if err != nil {
		return exit{exitFailure, err}
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return c.unreachable(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return exit{exitFailure, fmt.Errorf("read the daemon's answer: %w", err)}
	}
	if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusCreated {
		if err := json.Unmarshal(body, v); err != nil {
			return exit{exitFailure, fmt.Errorf("understand the daemon's answer: %w", err)}
		}
		return nil
	}
	var p web.Problem
	if err := json.Unmarshal(body, &p); err != nil || p.Detail == "" {
		return exit{exitFailure, fmt.Errorf("the daemon answered %s", resp.Status)}
	}
	return refusal(&p, resp.StatusCode)
}

func newHTTPRequest(ctx context.Context, r call) (*http.Request, error) {
	body := []byte{}
	if r.body != nil {
		var err error
		if body, err = json.Marshal(r.body); err != nil {
			return nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, r.method, "http://portreeve/api/v1"+r.path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.version != 0 {
		req.Header.Set("If-Match", fmt.Sprintf("%q", strconv.FormatUint(r.version, 10)))
	}
	return req, nil
}

// refusal is the error for a problem: everything that is wrong by the names of the options, and what is in the way.
func refusal(p *web.Problem, status int) error {
	code := exitFailure
	switch status {
	case http.StatusNotFound:
		code = exitNotFound
	case http.StatusForbidden:
		code = exitForbidden
	case http.StatusBadRequest:
		code = exitUsage
	}
	var texts []string
	for _, f := range p.Faults {
		texts = append(texts, optionOf(f.Member)+" "+f.Text)
	}
	if len(texts) == 0 {
		texts = []string{p.Detail}
	}
	if p.Code == web.CodeReserved {
		texts[0] += ": --take-from-router takes it"
	}
	for _, l := range p.InTheWay {
		texts = append(texts, fmt.Sprintf("in the way is the lease %s: %s %s to %s, of %s; --take-over closes it", l.ID, l.Protocol, external(l), to(l), device(l)))
	}
	return exit{code, &told{p, strings.Join(texts, "\n  ")}}
}

// told is a problem in the words of the command line.
type told struct {
	*web.Problem
	text string
}

func (t *told) Error() string { return t.text }

// optionOf is the option by which a member of a body is set.
func optionOf(member string) string {
	if _, of, inRule := strings.Cut(member, "]."); inRule && (strings.HasPrefix(member, "rules[") || strings.HasPrefix(member, "targets[")) {
		member = of
	} else if strings.HasPrefix(member, "lifetimes") {
		return "--lifetime (" + cmp.Or(of, strings.TrimPrefix(member, "lifetimes.")) + ")"
	}
	options := map[string]string{
		"enabled": "--disabled", "hairpin": "--no-hairpin", "when_gone": "--close-when-gone", "lifetime_seconds": "--for",
		"external_port": "--port", "via": "--by", "protocols": "--protocol", "max_lifetime_seconds": "--max-lifetime",
		"id": "the name", "token": "--token-file", "key": "--key-file", "password": "--password-file", "pause_minutes": "--pause", "dmz_hours": "--dmz-after",
	}
	return cmp.Or(options[member], "--"+strings.ReplaceAll(member, "_", "-"))
}

func (c *client) unreachable(err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return exit{exitForbidden, fmt.Errorf("may not use %s: run the command as root", c.socket)}
	case errors.Is(err, context.DeadlineExceeded):
		return exit{exitUnreachable, fmt.Errorf("the daemon at %s does not answer", c.socket)}
	default:
		return exit{exitUnreachable, fmt.Errorf("no daemon answers at %s: is it running? (systemctl status portreeve, or name its --socket)", c.socket)}
	}
}

// reachable tells whether a daemon listens on the socket.
func reachable(ctx context.Context, socket string) bool {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}
