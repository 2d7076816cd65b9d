package web

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"

	"golang.org/x/sys/unix"
)

// peer is who is at the other end of a Unix socket, as the kernel says.
type peer struct {
	uid uint32
	err error
}

type peerKey struct{}

// withPeer is http.Server's ConnContext: it asks the kernel once for each connection.
func withPeer(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, peerKey{}, peerOf(conn))
}

func peerOf(conn net.Conn) peer {
	if wrapped, ok := conn.(interface{ NetConn() net.Conn }); ok { // as that of a lan.Limiter
		conn = wrapped.NetConn()
	}
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return peer{err: fmt.Errorf("%T is not a Unix socket", conn)}
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return peer{err: err}
	}
	var cred *unix.Ucred
	var errCred error
	if err := raw.Control(func(fd uintptr) {
		cred, errCred = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return peer{err: err}
	}
	if errCred != nil {
		return peer{err: fmt.Errorf("SO_PEERCRED: %w", errCred)}
	}
	return peer{uid: cred.Uid}
}

// peersOnly lets nobody in but root and the user that the daemon runs as. Whoever is either could change the
// daemon and its files anyway, so this opens nothing that was closed.
func (s *Server) peersOnly(next http.Handler) http.Handler {
	own := uint32(os.Geteuid())
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, ok := r.Context().Value(peerKey{}).(peer)
		switch {
		case !ok:
			writeProblem(w, problem(CodeNotOwner, "only for processes on the router itself"))
		case p.err != nil:
			s.Logger.Error("who is at the Unix socket", "err", p.err)
			writeProblem(w, problem(CodeNotOwner, "the kernel did not tell who is asking"))
		case p.uid != 0 && p.uid != own:
			writeProblem(w, problem(CodeNotOwner,
				"user %d may not control portreeve; run the command as root or as user %d, which portreeve runs as", p.uid, own))
		default:
			next.ServeHTTP(w, r)
		}
	})
}
