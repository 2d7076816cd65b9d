package lan

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/portreeve/portreeve/lease"
)

// TakenError says that a port cannot be listened on because another socket has it. It wraps EADDRINUSE.
type TakenError struct {
	Network string         // "tcp" or "udp"
	Addr    netip.AddrPort // what was wanted
	By      []Process      // who has it; empty if that could not be found out
}

// Process is a program that runs on the router.
type Process struct {
	Name string // as in ps; cleaned
	PID  int
}

// String returns for example "miniupnpd (pid 812)".
func (p Process) String() string { return fmt.Sprintf("%s (pid %d)", p.Name, p.PID) }

// Error says what is taken by whom and what to do about it.
func (e *TakenError) Error() string {
	if len(e.By) == 0 {
		option := "-ltnp"
		if e.Network == "udp" {
			option = "-lunp"
		}
		return fmt.Sprintf("%s %s is taken by another program: stop it or choose another port "+
			"(as root, \"ss %s 'sport = :%d'\" tells which it is)", e.Network, e.Addr, option, e.Addr.Port())
	}
	names := make([]string, len(e.By))
	for i, p := range e.By {
		names[i] = p.String()
	}
	return fmt.Sprintf("%s %s is taken by %s: stop it or choose another port", e.Network, e.Addr, strings.Join(names, ", "))
}

// Unwrap returns EADDRINUSE.
func (e *TakenError) Unwrap() error { return syscall.EADDRINUSE }

// holders returns the processes with a socket that keeps others from binding to addr on an interface; none if that cannot be
// found out.
func holders(network string, addr netip.AddrPort, index int) []Process {
	protocol, err := lease.ParseProtocol(network)
	if err != nil {
		return nil
	}
	asker := newSocketAsker()
	defer asker.Close()
	sockets, err := waitingSockets(asker, protocol)
	if err != nil {
		return nil // the message then tells how to find out by hand
	}
	wanted := make(map[string]bool)
	for _, s := range sockets {
		sameAddr := s.local.Addr() == addr.Addr() || s.local.Addr().IsUnspecified() || addr.Addr().IsUnspecified()
		sameDevice := s.device == index || s.device == 0
		if s.local.Port() == addr.Port() && sameAddr && sameDevice {
			// proc(5) describes what the symbolic links of descriptors look like.
			wanted[fmt.Sprintf("socket:[%d]", s.inode)] = true
		}
	}
	return processesWith(wanted)
}

// processesWith finds the processes that hold one of the sockets open. Those of other users are seen only by root.
func processesWith(sockets map[string]bool) []Process {
	if len(sockets) == 0 {
		return nil
	}
	// The pattern is well-formed, which is all that Glob can complain about.
	descriptors, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	var found []Process
	for _, d := range descriptors {
		target, err := os.Readlink(d)
		if err != nil || !sockets[target] {
			continue
		}
		dir := filepath.Dir(filepath.Dir(d))
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		if !slices.ContainsFunc(found, func(p Process) bool { return p.PID == pid }) {
			found = append(found, Process{Name: processName(dir), PID: pid})
		}
	}
	return found
}

func processName(dir string) string {
	const maxName = 64
	name, err := os.ReadFile(filepath.Join(dir, "comm"))
	if cleaned := lease.CleanText(string(name), maxName); err == nil && cleaned != "" {
		return cleaned
	}
	return "a program"
}
