package config

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// checker collects faults, so that the admin learns of all of them at once.
type checker struct{ faults []error }

func (c *checker) fault(format string, args ...any) {
	c.faults = append(c.faults, fmt.Errorf(format, args...))
}

func (c *checker) port(name string, to *uint16, value *int64) {
	number := int(*to)
	c.number(name, &number, value, 1, 65535)
	*to = uint16(number)
}

func (c *checker) number(name string, to *int, value *int64, low, high int) {
	if value == nil {
		return
	}
	if *value < int64(low) || *value > int64(high) {
		c.fault("%s is %d: allowed are %d to %d", name, *value, low, high)
		return
	}
	*to = int(*value)
}

// certificate checks what is said of the files for TLS. Whether they are there is found out when they are read.
func (c *checker) certificate(w Web) {
	for _, f := range []struct{ name, path string }{{"web.certificate", w.Certificate}, {"web.key", w.Key}} {
		switch {
		case f.path != "" && !filepath.IsAbs(f.path):
			c.fault("%s is %q: allowed is the path of a file from /, or nothing for a certificate that is made", f.name, f.path)
		case f.path != "" && !w.TLS:
			c.fault("%s is given, and web.tls is false: set it to true, or leave the file out", f.name)
		}
	}
	if (w.Certificate == "") != (w.Key == "") {
		c.fault("web.certificate is %q and web.key is %q: allowed are both or none", w.Certificate, w.Key)
	}
}

func (c *checker) choice(name, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		c.fault("%s is %q: allowed are %s", name, value, oneOf(allowed))
	}
}

// oneOf lists what is allowed as people do: "tcp", "udp" and "both".
func oneOf(allowed []string) string {
	texts := make([]string, len(allowed))
	for i, a := range allowed {
		texts[i] = strconv.Quote(a)
	}
	last := len(texts) - 1
	if last < 1 {
		return strings.Join(texts, "")
	}
	return strings.Join(texts[:last], ", ") + " and " + texts[last]
}

// interfaces checks names as the kernel does (dev_valid_name), and refuses what iptables would take for an option
// or a pattern.
func (c *checker) interfaces(name string, names []string) {
	for i, n := range names {
		if err := CheckInterface(n); err != nil {
			c.fault("%s: %w", name, err)
		}
		if slices.Contains(names[:i], n) {
			c.fault("%s names %s twice", name, n)
		}
	}
}

func (c *checker) disjoint(wans, lans []string) {
	for i, n := range wans {
		if slices.Contains(lans, n) && !slices.Contains(wans[:i], n) {
			c.fault("%s is in wan.interfaces and in lan.interfaces: an interface is either outside or inside", n)
		}
	}
}

// uplinks checks which WAN the LANs are given. Where interfaces are listed it must be among them: a name that is
// misspelled would leave mappings without effect.
func (c *checker) uplinks(cfg Config) {
	for _, lan := range slices.Sorted(maps.Keys(cfg.Policy.WANs)) {
		wan := cfg.Policy.WANs[lan]
		c.interfaces("lan.wan", []string{lan})
		c.interfaces("lan.wan."+lan, []string{wan})
		if len(cfg.LANs) > 0 && !slices.Contains(cfg.LANs, lan) {
			c.fault("lan.wan names %s, which is not in lan.interfaces: allowed are %s", lan, oneOf(cfg.LANs))
		}
		if len(cfg.WANs) > 0 && !slices.Contains(cfg.WANs, wan) {
			c.fault("lan.wan.%s is %q, which is not in wan.interfaces: allowed are %s", lan, wan, oneOf(cfg.WANs))
		}
	}
}

// CheckInterface returns an error if a name cannot be that of a network interface.
func CheckInterface(name string) error {
	bad := func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`/:"'+!\`, r) }
	if name == "" || len(name) > 15 || name == "." || name == ".." || strings.HasPrefix(name, "-") || strings.ContainsFunc(name, bad) {
		return fmt.Errorf("%q is no interface name: allowed are 1 to 15 printable ASCII characters without spaces and / : + ! quotes, not starting with a dash", name)
	}
	return nil
}
