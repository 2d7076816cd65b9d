package iptables

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os/exec"
	"slices"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
)

// Some protocols carry addresses and ports in their payload. The kernel's helpers read along: they let in what the two sides
// have agreed upon, and translate the addresses there. iptables gives them to connections in the table raw, which is passed
// before anything is translated: so a mapping is known there by its port outside.

// The chains for that.
const (
	chainHelpers = "PORTREEVE-HELPERS" // which connections get a helper
	chainHelped  = "PORTREEVE-HELPED"  // leases: those that come in by them
)

// helper is one of the kernel's, and where its servers are.
type helper struct {
	kernel   string // its name there
	protocol lease.Protocol
	port     uint16
}

// helpersOf returns the parts of one of [lease.HelperNames].
func helpersOf(name string) []helper {
	switch name {
	case "ftp":
		return []helper{{name, lease.TCP, 21}}
	case "h323":
		return []helper{{"Q.931", lease.TCP, 1720}, {"RAS", lease.UDP, 1719}}
	case "irc":
		return []helper{{name, lease.TCP, 6667}}
	case "pptp":
		return []helper{{name, lease.TCP, 1723}}
	case "sip":
		return []helper{{name, lease.TCP, 5060}, {name, lease.UDP, 5060}}
	case "tftp":
		return []helper{{name, lease.UDP, 69}}
	default:
		return []helper{{name, lease.TCP, 1}} // which no kernel has
	}
}

// give is a rule's target.
func (h helper) give() string { return "-j CT --helper " + h.kernel }

// at matches a port, in front of which there may be something else.
func (h helper) at(port uint16) string {
	return fmt.Sprintf("-p %s -m %[1]s --dport %d", h.protocol, port)
}

// helped is a helper for a LAN.
type helped struct {
	helper
	lan lease.LAN
}

// eachHelper returns the helpers of a layout for each LAN that has them, each once.
func (y layout) eachHelper(v version) []helped {
	var list []helped
	seen := map[string]bool{}
	for _, want := range y.helpers[v] {
		for _, lan := range y.LANs {
			key := want.Name + " " + lan.Name
			if want.LAN != "" && want.LAN != lan.Name || seen[key] {
				continue
			}
			seen[key] = true
			for _, h := range helpersOf(want.Name) {
				list = append(list, helped{h, lan})
			}
		}
	}
	return list
}

// rawTable returns the frame of the table "raw": which connections get a helper, those that LAN hosts begin, and those that
// come to them by mappings and pinholes. For IPv6, where nothing is translated, these are all that are for a host there.
func rawTable(v version, y layout, grown grown) table {
	t := table{name: "raw"}
	each := y.eachHelper(v)
	if len(each) == 0 || len(y.WANs) == 0 {
		return t
	}
	var rules []string
	for _, h := range each {
		rules = append(rules, ruled(fmt.Sprintf("-i %s %s", h.lan.Name, h.at(h.port)), "from a LAN", h.give()))
		for _, p := range h.lan.Prefixes {
			if v == ipv6 && p.Addr().Is6() {
				rules = append(rules, ruled(fmt.Sprintf("-d %s %s", p.Masked(), h.at(h.port)), "to a LAN", h.give()))
			}
		}
	}
	if v == ipv4 {
		for _, l := range y.those(func(*lease.Lease) bool { return true }) {
			rules = append(rules, y.helped(l)...)
		}
	}
	if v == ipv4 && grown[treeHelped] {
		rules = append(rules, ruled("-m addrtype --dst-type LOCAL", "by a lease", "-j "+chainHelped))
	}
	t.jumps = []jump{{from: "PREROUTING", to: chainHelpers}}
	t.chains = []chain{{name: chainHelpers, rules: rules}}
	return t
}

// helped gives helpers to the connections that come in by a lease of IPv4.
func (y layout) helped(l lease.Lease) []string {
	if len(y.WANs) == 0 || l.Pinhole() {
		return nil
	}
	var texts []string
	for _, h := range y.eachHelper(ipv4) {
		port, leads := h.outside(l)
		inside := slices.ContainsFunc(h.lan.Prefixes, func(p netip.Prefix) bool { return p.Contains(l.Internal.Addr()) })
		if !leads || !inside || isDMZ(&l) && slices.Contains(y.nat.Reserved, lease.Port{Protocol: h.protocol, Number: port}) {
			continue
		}
		local := ""
		if firewall.IsBroad(l) { // else in front of all of them
			local = "-m addrtype --dst-type LOCAL "
		}
		for _, destination := range y.destinations(l) {
			texts = append(texts, fmt.Sprintf("%s%s %s%s %s", destination, h.at(port), local, comment(l), h.give()))
		}
	}
	return texts
}

// outside returns by which port of a lease peers reach the port of the helper's servers.
func (h helper) outside(l lease.Lease) (port uint16, leads bool) {
	if l.Whole() {
		return h.port, (l.Protocol == lease.AllProtocols || l.Protocol == h.protocol) && !l.Except.Contains(h.port)
	}
	n := int(h.port) - int(l.Internal.Port())
	return l.External.Port() + uint16(n), l.Protocol == h.protocol && 0 <= n && n < l.PortCount()
}

// available returns those of some helpers that this kernel has for a version of IP, in all their parts. Of the others the log
// and Check tell, unless they are for IPv6, for which there are not all of them: one that is missing keeps nothing else from
// working. It is asked for again each time, as its module may be installed meanwhile.
func (b *Backend) available(ctx context.Context, f *family, wanted []lease.Helper) ([]lease.Helper, error) {
	if len(wanted) == 0 {
		return nil, nil
	}
	f.program.raw = true
	if err := f.findMade(func(x builtin) bool { return x.table == "raw" }); err != nil {
		return nil, err
	}
	var there []lease.Helper
	for _, w := range wanted {
		lacking, asked := f.helpers[w.Name]
		if !asked || lacking != nil && f.program.version == ipv4 {
			missing, err := f.askForHelper(ctx, w.Name)
			if err != nil {
				return nil, err
			}
			if f.helpers[w.Name] = missing; missing != nil && lacking == nil && f.program.version == ipv4 {
				b.log.Warn("the kernel has no such helper", "helper", w.Name, "err", missing)
			}
			lacking = missing
		}
		if lacking == nil {
			there = append(there, w)
		}
	}
	return there, nil
}

// askForHelper makes a chain with the rules of a helper, to which nothing leads, and takes it away again. The kernel loads its
// module then. It does not load the one that translates addresses in the payload, which some kernels have apart.
func (f *family) askForHelper(ctx context.Context, name string) (missing, err error) {
	const ask = "PORTREEVE-ASK"
	lines := []string{":" + ask + " - [0:0]"}
	for _, h := range helpersOf(name) {
		lines = append(lines, fmt.Sprintf("-A %s %s %s", ask, h.at(h.port), h.give()))
	}
	f.wrote()
	err = f.program.write(ctx, block{"raw", lines})
	switch {
	case err == nil:
		err = f.program.write(ctx, block{"raw", []string{"-F " + ask, "-X " + ask}})
	case errors.Is(err, errUnknown), ctx.Err() != nil:
	default:
		return err, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ask for the helper %s: %w", name, err)
	}
	// Without the program, or where it is part of the kernel, there is nothing to load.
	_ = exec.CommandContext(ctx, "modprobe", "-q", "nf_nat_"+name).Run()
	return nil, nil
}

// helperProblems tells which helpers this kernel lacks.
func (b *Backend) helperProblems() []firewall.Problem {
	var problems []firewall.Problem
	for _, name := range slices.Sorted(maps.Keys(b.four.helpers)) {
		if lacking := b.four.helpers[name]; lacking != nil {
			problems = append(problems, firewall.Problem{
				What: fmt.Sprintf("the kernel cannot read along in %s: %v", name, lacking),
				Do: fmt.Sprintf("install and load the modules xt_CT, nf_conntrack_%s and nf_nat_%[1]s (OpenWrt: opkg install iptables-mod-conntrack-extra kmod-nf-nathelper kmod-nf-nathelper-extra), or take %[1]s out of nat.helpers",
					name),
			})
		}
	}
	return problems
}
