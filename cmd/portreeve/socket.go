package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
)

// listenLocal opens the Unix socket for the command line. A socket file that a dead daemon has left is replaced; one
// at which a daemon answers is an error. Everybody may connect: the kernel tells who does, and the API refuses all but
// root and the daemon's own user with a clear message.
func listenLocal(ctx context.Context, path string) (net.Listener, error) {
	if reachable(ctx, path) {
		return nil, fmt.Errorf("another portreeve answers at %s: stop it, or give this one its own --socket and --state-dir", path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("socket directory: %w", err)
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("socket: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("%s exists and is no socket: give another --socket", path)
	default:
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("remove the socket of a dead daemon: %w", err)
		}
	}
	var c net.ListenConfig
	ln, err := c.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		return nil, errors.Join(fmt.Errorf("socket: %w", err), ln.Close())
	}
	return ln, nil
}
