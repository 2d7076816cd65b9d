package lab

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
)

const (
	// reachable is how long a packet that should arrive may take: any time that a
	// loaded machine needs.
	reachable = 5 * time.Second
	// unreachable is how long to wait for an answer that should not come. The kernel
	// carries packets between namespaces in microseconds.
	unreachable = 500 * time.Millisecond
	// resend is the pause between datagrams, of which some may be lost.
	resend = 100 * time.Millisecond
)

// Probe is a question to the network: does a payload from here reach an echo
// server there, and whom does the server see?
type Probe struct {
	// Network is "tcp" or "udp".
	Network string
	// From is the host that sends.
	From *Host
	// Local is the address that it sends from. The kernel chooses if it is the zero
	// value, and the port if that is 0.
	Local netip.AddrPort
	// To is where the payload is sent: the server's address, or what is translated
	// to it.
	To netip.AddrPort
}

// Reach sends a payload, waits for its echo, and returns the sender's address as
// the server saw it. Datagrams are repeated while it waits. It fails when ctx ends,
// after 5 s at the latest, and at once if the kernel refuses or an ICMP error or TCP
// reset says that nobody is there.
func (p Probe) Reach(ctx context.Context) (seen netip.AddrPort, err error) {
	ctx, cancel := context.WithTimeout(ctx, reachable)
	defer cancel()
	conn, err := p.From.dialFrom(ctx, p.Network, p.Local, p.To.String())
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%s: %w", p, err)
	}
	defer conn.Close()
	if tcp, ok := conn.(*net.TCPConn); ok {
		// Close by a reset, or the next probe from the same port would have to wait.
		if err := tcp.SetLinger(0); err != nil {
			return netip.AddrPort{}, fmt.Errorf("%s: %w", p, err)
		}
	}
	payload := rand.Text()
	for {
		seen, err = exchange(ctx, conn, payload)
		// Only a datagram is worth repeating, and only if nothing came back.
		if p.Network == "udp" && errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil {
			continue
		}
		if err != nil {
			return netip.AddrPort{}, fmt.Errorf("%s: %w", p, err)
		}
		return seen, nil
	}
}

// exchange sends the payload once and waits for its echo, for datagrams only until
// it is time to send another.
func exchange(ctx context.Context, conn net.Conn, payload string) (seen netip.AddrPort, err error) {
	deadline, _ := ctx.Deadline()
	_, datagram := conn.(*net.UDPConn)
	if next := time.Now().Add(resend); datagram && next.Before(deadline) {
		deadline = next
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return netip.AddrPort{}, err
	}
	if _, err := fmt.Fprintf(conn, "%s\n", payload); err != nil {
		return netip.AddrPort{}, err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return netip.AddrPort{}, err
	}
	seen, echoed, err := parseEcho(strings.TrimSuffix(answer, "\n"))
	if err != nil {
		return netip.AddrPort{}, err
	}
	if echoed != payload {
		return netip.AddrPort{}, fmt.Errorf("sent %q, the echo is of %q", payload, echoed)
	}
	return seen, nil
}

// MustReach repeats Reach until it succeeds, at most 5 s, and ends the test if it
// does not.
func (p Probe) MustReach(t testing.TB) (seen netip.AddrPort) {
	t.Helper()
	Eventually(t, reachable, "packets", func() (err error) {
		seen, err = p.Reach(t.Context())
		return err
	})
	return seen
}

// MustNotReach is an error of the test if an echo comes back within half a second.
// A test that expects this should first show that the same probe succeeds in other
// circumstances: silence has many causes.
func (p Probe) MustNotReach(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), unreachable)
	defer cancel()
	if seen, err := p.Reach(ctx); err == nil {
		t.Errorf("%s: a payload arrived (from %s) and should not have", p, seen)
	}
}

// String says what is sent where.
func (p Probe) String() string {
	from := p.From.Name
	if p.Local.IsValid() {
		from += " (" + p.Local.String() + ")"
	}
	return fmt.Sprintf("%s from %s to %s", p.Network, from, p.To)
}
