package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Host is a machine of the home: a network namespace with a name. Its methods
// may be called from any goroutine.
type Host struct {
	// Name is what the machine is to the home: "router", "internet", "lan1", "lan2".
	Name string
	// Namespace is the name by which ip(8) knows it, unique to this home.
	Namespace string
	// Addr is its address: of a LAN host the one on the LAN, of the router the one
	// on the LAN, of the internet host Peers[0].
	Addr netip.Addr
	// Addr6 is its global IPv6 address in the same place.
	Addr6 netip.Addr

	// bin is a folder whose programs come before those of the path.
	bin string
}

// Command is a command that runs on this host, not yet started, ended when ctx is.
// No shell is involved. The process ID of the started command is that of the
// program itself. To run the test binary again use os.Executable: "/proc/self/exe"
// would be ip(8), which enters the namespace.
func (h *Host) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	if own := filepath.Join(h.bin, name); !strings.Contains(name, "/") {
		if _, err := os.Stat(own); err == nil {
			name = own
		}
	}
	cmd := exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", h.Namespace, name}, args...)...)
	cmd.Env = append(os.Environ(), "PATH="+h.bin+":"+os.Getenv("PATH"))
	return cmd
}

// Output runs a command on this host and returns what it wrote to standard
// output. The error names the host and the command and holds what it wrote to
// standard error.
func (h *Host) Output(ctx context.Context, name string, args ...string) (string, error) {
	cmd := h.Command(ctx, name, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("%s: %s %s: %w\n%s", h.Name, name, strings.Join(args, " "), err, stderr.String())
	}
	return string(out), nil
}

// Run is Output for tests: an error ends the test.
func (h *Host) Run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := h.Output(t.Context(), name, args...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return out
}

// Do calls f on a thread that is in this host's network and returns its error.
// Sockets that f opens belong to the host for good. Goroutines and processes that f
// starts, and names that it resolves, do not: for a client library that starts
// goroutines of its own run the test binary again by Command.
func (h *Host) Do(f func() error) (err error) {
	runtime.LockOSThread()
	before, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("%s: enter: %w", h.Name, err)
	}
	defer before.Close()
	if err := h.enter(); err != nil {
		runtime.UnlockOSThread()
		return err
	}
	// Also if f ends the test or panics.
	defer func() {
		if err := unix.Setns(int(before.Fd()), unix.CLONE_NEWNET); err != nil {
			panic(fmt.Sprintf("lab: %s: this thread cannot leave: %v", h.Name, err))
		}
		runtime.UnlockOSThread()
	}()
	return f()
}

// enter moves the calling thread into the host's network.
func (h *Host) enter() error {
	there, err := os.Open(filepath.Join("/run/netns", h.Namespace))
	if err != nil {
		return fmt.Errorf("%s: enter: %w", h.Name, err)
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("%s: enter: %w", h.Name, err)
	}
	return nil
}

// LinkLocal is the link-local IPv6 address of one of the host's interfaces. Its zone
// is the interface's number, as Dial needs it: a name would be looked up on another
// host.
func (h *Host) LinkLocal(t testing.TB, name string) netip.Addr {
	t.Helper()
	var found netip.Addr
	// The kernel makes it by itself once the interface is up.
	Eventually(t, reachable, h.Name+": link-local address of "+name, func() error {
		return h.Do(func() (err error) {
			found, err = linkLocal(name)
			return err
		})
	})
	return found
}

func linkLocal(name string) (netip.Addr, error) {
	ifc, err := net.InterfaceByName(name)
	if err != nil {
		return netip.Addr{}, err
	}
	addrs, err := ifc.Addrs()
	if err != nil {
		return netip.Addr{}, err
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is6() && p.Addr().IsLinkLocalUnicast() {
			return p.Addr().WithZone(strconv.Itoa(ifc.Index)), nil
		}
	}
	return netip.Addr{}, errors.New("there is none")
}

// Dial connects from this host. The address must be numeric, also a zone in it. It
// fits http.Transport's DialContext.
func (h *Host) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	return h.dialFrom(ctx, network, netip.AddrPort{}, addr)
}

// dialFrom is Dial from a local address; if that is the zero value the kernel chooses.
func (h *Host) dialFrom(ctx context.Context, network string, local netip.AddrPort, addr string) (conn net.Conn, err error) {
	if _, err := netip.ParseAddrPort(addr); err != nil {
		return nil, fmt.Errorf("%s: dial: want a numeric address: %w", h.Name, err)
	}
	var dialer net.Dialer
	if local.IsValid() {
		switch network {
		case "tcp":
			dialer.LocalAddr = net.TCPAddrFromAddrPort(local)
		case "udp":
			dialer.LocalAddr = net.UDPAddrFromAddrPort(local)
		default:
			return nil, errors.ErrUnsupported
		}
	}
	err = h.bind(ctx, func() error {
		conn, err = dialer.DialContext(ctx, network, addr)
		return err
	})
	return conn, err
}

// Listen accepts connections on this host.
func (h *Host) Listen(ctx context.Context, network, addr string) (ln net.Listener, err error) {
	err = h.bind(ctx, func() error {
		ln, err = (&net.ListenConfig{}).Listen(ctx, network, addr)
		return err
	})
	return ln, err
}

// ListenPacket receives datagrams on this host.
func (h *Host) ListenPacket(ctx context.Context, network, addr string) (conn net.PacketConn, err error) {
	err = h.bind(ctx, func() error {
		conn, err = (&net.ListenConfig{}).ListenPacket(ctx, network, addr)
		return err
	})
	return conn, err
}

// bind is Do for what opens a socket on an address. That of one just closed may be in
// use for another moment: a process that a test beside this one starts has, between
// fork and exec, a copy of all that is open here.
func (h *Host) bind(ctx context.Context, f func() error) error {
	const patience, pause = 2 * time.Second, 5 * time.Millisecond
	for until := time.Now().Add(patience); ; time.Sleep(pause) {
		err := h.Do(f)
		if !errors.Is(err, unix.EADDRINUSE) || ctx.Err() != nil || time.Now().After(until) {
			return err
		}
	}
}

// Sysctl sets a kernel setting of this host, named as in sysctl(8) but with slashes
// ("net/ipv4/ip_forward"), because names of interfaces may hold dots.
func (h *Host) Sysctl(name, value string) error {
	return h.Do(func() error {
		// The files under /proc/sys/net show the network of the thread that opens them.
		if err := os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0); err != nil {
			return fmt.Errorf("%s: set %s to %s: %w", h.Name, name, value, err)
		}
		return nil
	})
}
