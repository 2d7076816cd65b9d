// Package lab builds a home out of network namespaces: a router, the internet
// beyond it, and two hosts on the LAN. Packets between them are real, made and
// filtered by the kernel; nothing of it touches the network of the machine.
//
//	peers 93.184.216.34, 151.101.1.69      2001:db8:a::34, 2001:db8:b::69
//	[ internet ]  eth0 81.2.69.1/24        2001:db8:ffff::1/64
//	      |
//	      |       wan0 81.2.69.10/24       2001:db8:ffff::10/64
//	[  router  ]
//	      |       br-lan 192.168.1.1/24    2001:db8:1:1::1/64, of 2001:db8:1::/48
//	   +--+------------+
//	[ lan1 ]        [ lan2 ]
//	eth0 .10        eth0 .11               ::10 and ::11 of the same prefix
//
// There is no duplicate address detection: addresses can be used as soon as they
// are there.
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

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/test/netns"
)

// Options chooses among the homes that can be built. The zero value is good.
type Options struct {
	// IPTables is the variant in which the router's own rules are written, and
	// that "iptables" means on the router. Empty means NFT.
	IPTables Variant

	// SecondWAN gives the router a second line to the internet, see [Home.Second].
	SecondWAN bool
}

// Line is a line from the router to the internet, as the router sees it.
type Line struct {
	// Name is the router's interface.
	Name string
	// Addr and Addr6 are the router's addresses on it.
	Addr, Addr6 netip.Addr
	// Gateway and Gateway6 are the next router, addresses of Internet.
	Gateway, Gateway6 netip.Addr
}

// Home is a running home. Its methods and its hosts may be used from many
// goroutines; Close ends it.
type Home struct {
	// Router is the machine that portreeve runs on. Its own firewall is that of an
	// ordinary Linux router (see rules): the LAN may go out, the WAN may not come in,
	// the router itself is open on every side, so that nothing but portreeve
	// decides whether portreeve answers.
	Router *Host
	// Internet stands for every host beyond the router. It has routes to the LAN, so
	// only the router's firewall keeps it out.
	Internet *Host
	// LAN1 and LAN2 are hosts on the LAN, say a console and a computer.
	LAN1, LAN2 *Host

	// WAN and WAN6 are the router's addresses on its interface wan0.
	WAN, WAN6 netip.Addr
	// Gateway and Gateway6 are the next router towards the internet, addresses of
	// Internet. In IPv6 the router's default route leads to its link-local address.
	Gateway, Gateway6 netip.Addr
	// Peers and Peers6 are addresses of Internet that lie beyond Gateway.
	Peers, Peers6 [2]netip.Addr
	// Delegated is what the provider routes to the router, see Host.Addr6 for what
	// it has made of it.
	Delegated netip.Prefix
	// Second is the second line, wan1; the zero value without Options.SecondWAN. It is
	// used by what is sent to the addresses at its ends: the default route of the router
	// and the routes of Internet to the LAN use the first.
	Second Line

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
		WAN:       netip.MustParseAddr("81.2.69.10"),
		WAN6:      netip.MustParseAddr("2001:db8:ffff::10"),
		Gateway:   netip.MustParseAddr("81.2.69.1"),
		Gateway6:  netip.MustParseAddr("2001:db8:ffff::1"),
		Peers:     [2]netip.Addr{netip.MustParseAddr("93.184.216.34"), netip.MustParseAddr("151.101.1.69")},
		Peers6:    [2]netip.Addr{netip.MustParseAddr("2001:db8:a::34"), netip.MustParseAddr("2001:db8:b::69")},
		Delegated: netip.MustParsePrefix("2001:db8:1::/48"),
		variant:   o.IPTables,
		dir:       dir,
	}
	if o.SecondWAN {
		h.Second = Line{
			Name: "wan1",
			Addr: netip.MustParseAddr("81.3.70.10"), Addr6: netip.MustParseAddr("2001:db8:fffe::10"),
			Gateway: netip.MustParseAddr("81.3.70.1"), Gateway6: netip.MustParseAddr("2001:db8:fffe::1"),
		}
	}
	if h.variant == "" {
		h.variant = NFT
	}
	suffix := "-" + strings.ToLower(rand.Text()[:6])
	host := func(name, addr, addr6 string) *Host {
		return &Host{
			Name: name, Namespace: name + suffix, bin: filepath.Join(dir, "bin", name),
			Addr: netip.MustParseAddr(addr), Addr6: netip.MustParseAddr(addr6),
		}
	}
	h.Router = host("router", "192.168.1.1", "2001:db8:1:1::1")
	h.Internet = host("internet", h.Peers[0].String(), h.Peers6[0].String())
	h.LAN1 = host("lan1", "192.168.1.10", "2001:db8:1:1::10")
	h.LAN2 = host("lan2", "192.168.1.11", "2001:db8:1:1::11")
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
	if err := h.settings(); err != nil {
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
	return h.restore(ctx)
}

// settings sets what must be set before there are links.
func (h *Home) settings() error {
	type setting struct{ name, value string }
	// Without duplicate address detection (RFC 4862, section 5.4), which takes a second.
	common := setting{"net/ipv6/conf/default/accept_dad", "0"}
	// No test may pass because the kernel dropped a spoofed packet for us.
	trusting := []setting{{"net/ipv4/conf/all/rp_filter", "0"}, {"net/ipv4/conf/default/rp_filter", "0"}, common}
	for host, settings := range map[*Host][]setting{
		h.Router:   append(trusting, setting{"net/ipv4/ip_forward", "1"}, setting{"net/ipv6/conf/all/forwarding", "1"}),
		h.Internet: trusting,
		h.LAN1:     {common},
		h.LAN2:     {common},
	} {
		for _, s := range settings {
			if err := host.Sysctl(s.name, s.value); err != nil {
				return err
			}
		}
	}
	// Where bridged packets pass iptables (on machines with Docker, say) the router's
	// FORWARD policy would keep the LAN hosts from each other.
	for _, name := range []string{"iptables", "ip6tables"} {
		err := h.Router.Sysctl("net/bridge/bridge-nf-call-"+name, "0")
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// wiring is what ip(8) is told on a host, in its batch format. The router comes
// first: it makes both ends of every cable. Each default route of IPv6 leads to a
// link-local address, as those do that routers announce; the two addresses come
// from the MAC addresses here (RFC 4291, appendix A).
func (h *Home) wiring(host *Host) string {
	switch host {
	case h.Router:
		// The WAN address must look public: clients such as miniupnpc call a router with
		// a private, shared or documentation address "not connected".
		return strings.NewReplacer("INTERNET", h.Internet.Namespace, "LAN1", h.LAN1.Namespace, "LAN2", h.LAN2.Namespace).Replace(`
link set lo up
link add br-lan address 02:00:00:00:00:01 type bridge
addr add 192.168.1.1/24 dev br-lan
addr add 2001:db8:1:1::1/64 dev br-lan nodad
link set br-lan up
link add wan0 type veth peer name eth0 address 02:00:00:00:00:02 netns INTERNET
link add lan1 type veth peer name eth0 netns LAN1
link add lan2 type veth peer name eth0 netns LAN2
link set lan1 master br-lan up
link set lan2 master br-lan up
addr add 81.2.69.10/24 dev wan0
addr add 2001:db8:ffff::10/64 dev wan0 nodad
link set wan0 up
route add default via 81.2.69.1 dev wan0
route add default via fe80::ff:fe00:2 dev wan0
` + h.ifSecond(`
link add wan1 type veth peer name eth1 netns INTERNET
addr add 81.3.70.10/24 dev wan1
addr add 2001:db8:fffe::10/64 dev wan1 nodad
link set wan1 up
`))
	case h.Internet:
		return `
link set lo up
addr add 93.184.216.34/32 dev lo
addr add 151.101.1.69/32 dev lo
addr add 2001:db8:a::34/128 dev lo nodad
addr add 2001:db8:b::69/128 dev lo nodad
addr add 81.2.69.1/24 dev eth0
addr add 2001:db8:ffff::1/64 dev eth0 nodad
link set eth0 up
route add 192.168.1.0/24 via 81.2.69.10 dev eth0
route add 2001:db8:1::/48 via 2001:db8:ffff::10 dev eth0
route add 224.0.0.0/4 dev eth0
` + h.ifSecond(`
addr add 81.3.70.1/24 dev eth1
addr add 2001:db8:fffe::1/64 dev eth1 nodad
link set eth1 up
`)
	default:
		return `
link set lo up
addr add ` + host.Addr.String() + `/24 dev eth0
addr add ` + host.Addr6.String() + `/64 dev eth0 nodad
link set eth0 up
route add default via 192.168.1.1 dev eth0
route add default via fe80::ff:fe00:1 dev eth0
`
	}
}

// ifSecond returns text for a home with a second line, else nothing.
func (h *Home) ifSecond(text string) string {
	if h.Second.Name == "" {
		return ""
	}
	return text
}

// MustForget waits until the router remembers no connection to a port that a mapping has let in, at most 5 s, and ends the test if one stays.
// What goes on from before a mapping was closed ends soon, not at once, and meanwhile nothing may be sent: an answer that is
// on its way when its connection ends is the beginning of another one, of the host's own.
func (h *Home) MustForget(t testing.TB, network string, port uint16) {
	t.Helper()
	mark := fmt.Sprintf("%#x/%#x", firewall.Mark, firewall.Mark)
	Eventually(t, reachable, "the router forgets", func() error {
		for _, family := range []string{"ipv4", "ipv6"} {
			out := h.Router.Run(t, "conntrack", "-L", "-f", family, "-p", network, "-m", mark, "--orig-port-dst", strconv.Itoa(int(port)))
			if out != "" {
				return fmt.Errorf("it remembers\n%s", out)
			}
		}
		return nil
	})
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
