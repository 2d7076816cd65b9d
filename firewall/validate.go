package firewall

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/portreeve/portreeve/lease"
)

// ValidateTopology checks what a backend will write into rules: names of interfaces and addresses. The names come
// from the kernel or from the owner, yet a name may hold what means something else in a rule ("wan+" is every
// interface that begins with wan).
func ValidateTopology(t lease.Topology) error {
	var errs []error
	for _, w := range t.WANs {
		errs = append(errs, validateInterface(w.Name))
		for _, a := range w.Addrs {
			if !isPlain(a) {
				errs = append(errs, fmt.Errorf("interface %s: address %s is neither IPv4 nor IPv6 without zone", w.Name, a))
			}
		}
	}
	for _, l := range t.LANs {
		errs = append(errs, validateInterface(l.Name))
		for _, p := range l.Prefixes {
			if !p.IsValid() || !isPlain(p.Addr()) {
				errs = append(errs, fmt.Errorf("interface %s: prefix %s is neither IPv4 nor IPv6", l.Name, p))
			}
		}
	}
	return errors.Join(errs...)
}

// validateInterface accepts what Linux accepts as an interface's name (1 to 15 bytes), without the characters that
// have a meaning in rules, and not at the beginning what looks like an option.
func validateInterface(name string) error {
	const longest = 15 // IFNAMSIZ of if.h, without the final zero
	allowed := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("._-", r)
	}
	if name == "" || len(name) > longest || name[0] == '-' ||
		strings.ContainsFunc(name, func(r rune) bool { return !allowed(r) }) {
		return fmt.Errorf("interface name %q cannot be used in rules: 1 to %d of the characters a-z A-Z 0-9 . _ -, not beginning with -", lease.CleanText(name, 2*longest), longest)
	}
	return nil
}

func isPlain(a netip.Addr) bool { return a.IsValid() && !a.Is4In6() && a.Zone() == "" }

// ValidateLease checks that a backend can make rules of a lease: an ID of letters and digits, a protocol with ports from 1 to
// 65535, or all of one or of all without, a host inside, the same outside for IPv6, a WAN whose name can be written, and at most
// [lease.MaxFilters] filters with prefixes of the host's family. More than [lease.MaxPorts] ports must be the same outside
// and inside.
func ValidateLease(l lease.Lease) error {
	fault := func(format string, args ...any) error {
		return fmt.Errorf("lease %q (%s): "+format, append([]any{lease.CleanText(string(l.ID), 16), l.Mapping}, args...)...)
	}
	if l.ID == "" || len(l.ID) > 16 || strings.Trim(string(l.ID), "0123456789abcdefghijklmnopqrstuvwxyz") != "" {
		return fault("the ID must be 1 to 16 of 0-9 and a-z")
	}
	low, high := min(l.External.Port(), l.Internal.Port()), max(l.External.Port(), l.Internal.Port())
	switch {
	case l.Whole():
		if high != 0 || l.Ports != 0 {
			return fault("what is for all ports has none")
		}
		if l.Protocol != lease.AllProtocols && (!l.External.Addr().Is4() || len(l.Except) > 0) {
			return fault("all of one protocol is for IPv4, at an address beside the WAN's own, without exceptions")
		}
	case l.Protocol.HasPorts():
		if low == 0 || int(high)+l.PortCount()-1 > 65535 {
			return fault("ports must be 1 to 65535")
		}
		if l.PortCount() > lease.MaxPorts && low != high {
			return fault("%d ports, at most %d can be others inside", l.PortCount(), lease.MaxPorts)
		}
		if len(l.Except) > 0 {
			return fault("exceptions are for all protocols")
		}
	default:
		return fault("%s has no ports", l.Protocol)
	}
	a, outside := l.Internal.Addr(), l.External.Addr()
	if !isPlain(a) || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return fault("the internal address must be that of a host")
	}
	if l.Pinhole() && l.External != l.Internal || !l.Pinhole() && outside.IsValid() && !outside.Is4() {
		return fault("an IPv6 mapping must be the same outside (%s), one of IPv4 have an IPv4 address there or none", l.External)
	}
	if l.WAN != "" {
		if err := validateInterface(l.WAN); err != nil {
			return fault("%w", err)
		}
	}
	if len(l.Filters) > lease.MaxFilters {
		return fault("%d filters, at most %d are possible", len(l.Filters), lease.MaxFilters)
	}
	for _, f := range l.Filters {
		if !f.Prefix.IsValid() || !isPlain(f.Prefix.Addr()) || f.Prefix.Addr().Is4() != a.Is4() {
			return fault("filter %s is not a prefix of the family of the internal address", f.Prefix)
		}
	}
	return nil
}
