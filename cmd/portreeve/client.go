package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
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

// do sends a request without a body and decodes the answer into v. Its errors carry the exit code and say what to do.
func (c *client) do(ctx context.Context, method, path string, v any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://portreeve/api/v1"+path, http.NoBody)
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
	if resp.StatusCode == http.StatusOK {
		if err := json.Unmarshal(body, v); err != nil {
			return exit{exitFailure, fmt.Errorf("understand the daemon's answer: %w", err)}
		}
		return nil
	}
	var p web.Problem
	if err := json.Unmarshal(body, &p); err != nil || p.Detail == "" {
		return exit{exitFailure, fmt.Errorf("the daemon answered %s", resp.Status)}
	}
	code := exitFailure
	switch resp.StatusCode {
	case http.StatusNotFound:
		code = exitNotFound
	case http.StatusForbidden:
		code = exitForbidden
	}
	return exit{code, &p}
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
