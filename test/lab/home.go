// Package lab builds a home out of network namespaces: a router, the internet
// beyond it, and two hosts on the LAN. Packets between them are real, made and
// filtered by the kernel; nothing of it touches the network of the machine.
//
//	peers 93.184.216.34, 151.101.1.69
//	[ internet ]  eth0 81.2.69.1/24
//	      |
//	      |       wan0 81.2.69.10/24
//	[  router  ]
//	      |       br-lan 192.168.1.1/24
//	   +--+------------+
//	[ lan1 ]        [ lan2 ]
//	eth0 .10        eth0 .11
//
// A program uses it after netns.Enter, a test package through netns.Main.
package lab

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/portreeve/portreeve/test/netns"
)

// Options chooses among the homes that can be built. The zero value is good.
type Options struct {
	// IPTables is the variant in which the router's own rules are written, and
	// that "iptables" means on the router. Empty means NFT.
	IPTables Variant
}

// Home is a running home. Its methods and its hosts may be used from many
// goroutines; Close ends it.
type Home struct {
	// Router is the machine that portreeve runs on. Its own firewall is that of an
	// ordinary Linux router (see rules): the LAN may go out, the WAN may not come in,
	// the router itself is open on every side, so that nothing but portreeve
	// decides whether portreeve answers.
	Router *Host
	// Internet stands for every host beyond the router. It has a route to the LAN, so
	// only the router's firewall keeps it out.
	Internet *Host
	// LAN1 and LAN2 are hosts on the LAN, say a console and a computer.
	LAN1, LAN2 *Host

	// WAN is the router's address on its interface wan0.
	WAN netip.Addr
	// Gateway is the next router towards the internet, an address of Internet.
	Gateway netip.Addr
	// Peers are addresses of Internet that lie beyond Gateway.
	Peers [2]netip.Addr

	variant Variant
	dir     string
	hosts   []*Host
}

// New builds a home for a test and takes it away when the test ends. It is an
// error of the test if a process is then left in it, or if it cannot be taken
// away.
func New(t testing.TB, o Options) *Home {
	t.Helper()
	home, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := home.Close(); err != nil {
			t.Error(err)
		}
	})
	return home
}

// Start builds a home for a program, which must be inside netns (see netns.Enter).
// If it fails nothing is left of it. ctx bounds the building only.
func Start(ctx context.Context, o Options) (*Home, error) {
	inside, err := netns.Enter()
	if err != nil {
		return nil, err
	}
	if !inside {
		return nil, errors.New("lab: refusing to build a home in the network of the machine: call netns.Main or netns.Enter first")
	}
	dir, err := os.MkdirTemp("", "lab")
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	h := &Home{
		WAN:     netip.MustParseAddr("81.2.69.10"),
		Gateway: netip.MustParseAddr("81.2.69.1"),
		Peers:   [2]netip.Addr{netip.MustParseAddr("93.184.216.34"), netip.MustParseAddr("151.101.1.69")},
		variant: o.IPTables,
		dir:     dir,
	}
	if h.variant == "" {
		h.variant = NFT
	}
	suffix := "-" + strings.ToLower(rand.Text()[:6])
	host := func(name string, addr netip.Addr) *Host {
		return &Host{Name: name, Namespace: name + suffix, Addr: addr, bin: filepath.Join(dir, "bin", name)}
	}
	h.Router = host("router", netip.MustParseAddr("192.168.1.1"))
	h.Internet = host("internet", h.Peers[0])
	h.LAN1 = host("lan1", netip.MustParseAddr("192.168.1.10"))
	h.LAN2 = host("lan2", netip.MustParseAddr("192.168.1.11"))
	h.hosts = []*Host{h.Router, h.Internet, h.LAN1, h.LAN2}
	if err := h.build(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("lab: %w", err), h.Close())
	}
	return h, nil
}

// build makes the namespaces, their links, addresses, settings and rules.
func (h *Home) build(ctx context.Context) error {
	var create strings.Builder
	for _, host := range h.hosts {
		fmt.Fprintln(&create, "netns add", host.Namespace)
	}
	if err := ip(ctx, "", create.String()); err != nil {
		return err
	}
	for _, s := range []struct {
		host        *Host
		name, value string
	}{
		{h.Router, "net/ipv4/ip_forward", "1"},
		// No test may pass because the kernel dropped a spoofed packet for us.
		{h.Router, "net/ipv4/conf/all/rp_filter", "0"},
		{h.Router, "net/ipv4/conf/default/rp_filter", "0"},
		{h.Internet, "net/ipv4/conf/all/rp_filter", "0"},
		{h.Internet, "net/ipv4/conf/default/rp_filter", "0"},
	} {
		if err := s.host.Sysctl(s.name, s.value); err != nil {
			return err
		}
	}
	// Where bridged packets pass iptables (on machines with Docker, say) the router's
	// FORWARD policy would keep the LAN hosts from each other.
	err := h.Router.Sysctl("net/bridge/bridge-nf-call-iptables", "0")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, host := range h.hosts {
		if err := ip(ctx, host.Namespace, h.wiring(host)); err != nil {
			return err
		}
	}
	if err := h.linkVariant(); err != nil {
		return err
	}
	return h.restore(ctx, h.rules())
}

// wiring is what ip(8) is told on a host, in its batch format. The router comes
// first: it makes both ends of every cable.
func (h *Home) wiring(host *Host) string {
	switch host {
	case h.Router:
		// The WAN address must look public: clients such as miniupnpc call a router with
		// a private, shared or documentation address "not connected".
		return strings.NewReplacer("INTERNET", h.Internet.Namespace, "LAN1", h.LAN1.Namespace, "LAN2", h.LAN2.Namespace).Replace(`
link set lo up
link add br-lan type bridge
addr add 192.168.1.1/24 dev br-lan
link set br-lan up
link add wan0 type veth peer name eth0 netns INTERNET
link add lan1 type veth peer name eth0 netns LAN1
link add lan2 type veth peer name eth0 netns LAN2
link set lan1 master br-lan up
link set lan2 master br-lan up
addr add 81.2.69.10/24 dev wan0
link set wan0 up
route add default via 81.2.69.1 dev wan0
`)
	case h.Internet:
		return `
link set lo up
addr add 93.184.216.34/32 dev lo
addr add 151.101.1.69/32 dev lo
addr add 81.2.69.1/24 dev eth0
link set eth0 up
route add 192.168.1.0/24 via 81.2.69.10 dev eth0
route add 224.0.0.0/4 dev eth0
`
	default:
		return `
link set lo up
addr add ` + host.Addr.String() + `/24 dev eth0
link set eth0 up
route add default via 192.168.1.1 dev eth0
`
	}
}

// Close takes the home away. The error names processes that were still running
// in it (they are killed) and whatever could not be removed. Closing again does
// nothing.
func (h *Home) Close() error {
	// Not the context of a test: that is cancelled when it ends.
	ctx := context.Background()
	var errs []error
	for _, host := range slices.Backward(h.hosts) {
		if _, err := os.Stat(filepath.Join("/run/netns", host.Namespace)); errors.Is(err, os.ErrNotExist) {
			continue // building failed before this one, or closed already
		}
		errs = append(errs, host.evict(ctx), ip(ctx, "", "netns del "+host.Namespace))
	}
	errs = append(errs, os.RemoveAll(h.dir))
	h.hosts = nil
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("lab: close: %w", err)
	}
	return nil
}

// evict waits a moment for the processes that are still on the host (a program
// that a killed daemon had started, say), kills those that stay, and returns an
// error that names them.
func (h *Host) evict(ctx context.Context) error {
	deadline := time.Now().Add(time.Second)
	for {
		pids, err := h.pids(ctx)
		if err != nil || len(pids) == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return h.kill(pids)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// pids are the IDs of the processes on the host.
func (h *Host) pids(ctx context.Context) ([]int, error) {
	out, err := exec.CommandContext(ctx, "ip", "netns", "pids", h.Namespace).Output()
	if err != nil {
		return nil, fmt.Errorf("%s: which processes are left: %w", h.Name, err)
	}
	var pids []int
	for _, field := range strings.Fields(string(out)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			return nil, fmt.Errorf("%s: which processes are left: %w", h.Name, err)
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// kill ends processes and returns an error that names them.
func (h *Host) kill(pids []int) error {
	var errs []error
	for _, pid := range pids {
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if err != nil {
			continue // it has just ended
		}
		errs = append(errs, fmt.Errorf("%s: process %d (%s) was still running", h.Name, pid, strings.TrimSpace(string(name))))
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			errs = append(errs, fmt.Errorf("%s: kill %d: %w", h.Name, pid, err))
		}
	}
	return errors.Join(errs...)
}

// ip runs a batch of ip(8) in a namespace, or in our own if that is empty.
func ip(ctx context.Context, namespace, batch string) error {
	args := []string{"-batch", "-"}
	if namespace != "" {
		args = append([]string{"-n", namespace}, args...)
	}
	cmd := exec.CommandContext(ctx, "ip", args...)
	cmd.Stdin = strings.NewReader(batch)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}
