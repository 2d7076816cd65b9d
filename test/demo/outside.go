package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/portreeve/portreeve/test/netns"
)

const (
	// firstPort is the port of the admin page, here as on a router. If it is taken the
	// next one that is free is used.
	firstPort = 8351
	portTries = 100
)

// What outside hands to inside, as file descriptors.
const (
	listenerFD = 3 + iota // the listening socket on the machine's loopback
	procFD                // the machine's /proc
)

// outside is the part of the demo that stays on the machine: it only holds the
// listening socket and waits for the rest.
func outside(ctx context.Context) (code int, err error) {
	if err := checkTools(exec.LookPath); err != nil {
		return 1, err
	}
	listener, err := listenLoopback(ctx)
	if err != nil {
		return 1, err
	}
	defer listener.Close()
	socket, err := listener.File()
	if err != nil {
		return 1, fmt.Errorf("hand the listening socket on: %w", err)
	}
	defer socket.Close()
	proc, err := os.Open("/proc")
	if err != nil {
		return 1, fmt.Errorf("hand /proc on: %w", err)
	}
	defer proc.Close()
	go endWithGo()
	return netns.Reexec(socket, proc)
}

// listenLoopback listens on the first free port of the machine's loopback.
func listenLoopback(ctx context.Context) (*net.TCPListener, error) {
	var config net.ListenConfig
	for port := uint16(firstPort); port < firstPort+portTries; port++ {
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
		listener, err := config.Listen(ctx, "tcp4", addr.String())
		if err == nil {
			return listener.(*net.TCPListener), nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("all ports from %d to %d of 127.0.0.1 are taken: free one", firstPort, firstPort+portTries-1)
}

// tool is a program that the demo cannot do without.
type tool struct{ name, from string }

func tools() []tool {
	const debian = "Debian package %s; as root: apt-get install %[1]s"
	return []tool{
		{"go", "https://go.dev/doc/install"},
		{"ip", fmt.Sprintf(debian, "iproute2")},
		{"iptables-nft-restore", fmt.Sprintf(debian, "iptables")},
	}
}

// checkTools says which programs are missing and where they come from.
func checkTools(find func(name string) (path string, err error)) error {
	var missing []error
	for _, t := range tools() {
		if _, err := find(t.name); err == nil {
			continue
		}
		// Debian keeps them out of an ordinary user's path; netns puts them there.
		found := false
		for _, dir := range []string{"/usr/local/sbin/", "/usr/sbin/", "/sbin/"} {
			if _, err := find(dir + t.name); err == nil {
				found = true
			}
		}
		if !found {
			missing = append(missing, fmt.Errorf("the program %q is missing (%s)", t.name, t.from))
		}
	}
	return errors.Join(missing...)
}

// endWithGo ends this program when "go run", which started it, is gone: that
// passes on Ctrl-C, but dies of SIGTERM alone. For others it does nothing.
func endWithGo() {
	parent := os.Getppid()
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", parent))
	if err != nil || strings.TrimSpace(string(name)) != "go" {
		return
	}
	for os.Getppid() == parent {
		time.Sleep(200 * time.Millisecond)
	}
	// An error is impossible: this process may always signal itself.
	_ = syscall.Kill(os.Getpid(), syscall.SIGTERM)
}
