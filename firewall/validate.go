package firewall

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/portreeve/portreeve/lease"
)

// ValidateTopology checks what a backend will write into rules: names of interfaces and IPv4 addresses. The names come
// from the kernel or from the owner, yet a name may hold what means something else in a rule ("wan+" is every
// interface that begins with wan).
func ValidateTopology(t lease.Topology) error {
	var errs []error
	for _, w := range t.WANs {
		errs = append(errs, validateInterface(w.Name))
		for _, a := range w.Addrs {
			if !a.Is4() {
				errs = append(errs, fmt.Errorf("interface %s: address %s is not IPv4", w.Name, a))
			}
		}
	}
	for _, l := range t.LANs {
		errs = append(errs, validateInterface(l.Name))
		for _, p := range l.Prefixes {
			if !p.IsValid() || !p.Addr().Is4() {
				errs = append(errs, fmt.Errorf("interface %s: prefix %s is not IPv4", l.Name, p))
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

// ValidateLease checks that a backend can make rules of a lease: an ID of letters and digits, TCP or UDP, ports from
// 1, an IPv4 host inside, and at most [lease.MaxFilters] filters of IPv4 prefixes.
func ValidateLease(l lease.Lease) error {
	fault := func(format string, args ...any) error {
		return fmt.Errorf("lease %q (%s): "+format, append([]any{lease.CleanText(string(l.ID), 16), l.Mapping}, args...)...)
	}
	if l.ID == "" || len(l.ID) > 16 || strings.Trim(string(l.ID), "0123456789abcdefghijklmnopqrstuvwxyz") != "" {
		return fault("the ID must be 1 to 16 of 0-9 and a-z")
	}
	if l.Protocol != lease.TCP && l.Protocol != lease.UDP {
		return fault("the protocol must be tcp or udp")
	}
	if l.External.Port() == 0 || l.Internal.Port() == 0 {
		return fault("ports must be 1 to 65535")
	}
	if a := l.Internal.Addr(); !a.Is4() || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return fault("the internal address must be the IPv4 address of a host")
	}
	if len(l.Filters) > lease.MaxFilters {
		return fault("%d filters, at most %d are possible", len(l.Filters), lease.MaxFilters)
	}
	for _, f := range l.Filters {
		if !f.Prefix.IsValid() || !f.Prefix.Addr().Is4() {
			return fault("filter %s is not an IPv4 prefix", f.Prefix)
		}
	}
	return nil
}
