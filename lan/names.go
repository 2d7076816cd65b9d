package lan

import (
	"bufio"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// NameFiles are the files in which others write down what the machines of the LAN are called. Those that do not exist are
// no trouble, and those that may not be read neither: the log of debugging tells of them. A path may be a pattern, as of
// [filepath.Glob].
type NameFiles struct {
	Leases []string // of dnsmasq, and of what writes like it: end, MAC address, address, name
	Kea    []string // of Kea, its table of leases
	Dhcpd  []string // of ISC's dhcpd, dhcpd.leases(5)
	Ethers []string // ethers(5): MAC address and name
	Hosts  []string // hosts(5), as odhcpd writes them too: address and names
}

// UsualNameFiles are those of Debian and OpenWrt.
func UsualNameFiles() NameFiles {
	return NameFiles{
		Leases: []string{"/tmp/dhcp.leases", "/var/lib/misc/dnsmasq.leases", "/var/lib/dnsmasq/dnsmasq.leases"},
		Kea:    []string{"/var/lib/kea/kea-leases4.csv", "/var/lib/kea/kea-leases6.csv"},
		Dhcpd:  []string{"/var/lib/dhcp/dhcpd.leases", "/var/lib/dhcpd/dhcpd.leases"},
		Ethers: []string{"/etc/ethers"},
		Hosts:  []string{"/tmp/hosts/*", "/etc/hosts"}, // on OpenWrt those of odhcpd, and what the owner has named
	}
}

// Names knows what the machines of the LAN are called. Its methods may be used from several goroutines.
type Names struct {
	files NameFiles
	now   func() time.Time
	log   *slog.Logger

	mu      sync.Mutex
	checked time.Time // when the files were last looked at
	seen    map[string]stamp
	byMAC   map[string]string
	byAddr  map[netip.Addr]string
}

// stamp tells whether a file has changed.
type stamp struct {
	size  int64
	mtime time.Time
}

const (
	namesEach    = 5 * time.Second // how old what is known may be
	maxNames     = 4096
	maxNameFile  = 1 << 20
	maxNameFiles = 64 // of one pattern
	maxNameBytes = 64
)

// NewNames returns the names that are in some files. Now has a monotonic reading; log may be nil.
func NewNames(files NameFiles, now func() time.Time, log *slog.Logger) *Names {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Names{files: files, now: now, log: log}
}

// Name returns what a machine is called, "" when unknown: by its MAC address, else by the first of its addresses that has a
// name. What it returns comes from the machine itself: it is bounded and printable, and not to be believed.
func (n *Names) Name(mac string, addrs ...netip.Addr) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if now := n.now(); n.byMAC == nil || now.Sub(n.checked) >= namesEach {
		n.checked = now
		n.refresh()
	}
	if name := n.byMAC[mac]; name != "" {
		return name
	}
	for _, a := range addrs {
		if name := n.byAddr[a]; name != "" {
			return name
		}
	}
	return ""
}

// refresh reads the files anew if one of them has changed.
func (n *Names) refresh() {
	seen := map[string]stamp{}
	files := NameFiles{expand(n.files.Leases), expand(n.files.Kea), expand(n.files.Dhcpd), expand(n.files.Ethers), expand(n.files.Hosts)}
	for _, files := range [][]string{files.Leases, files.Kea, files.Dhcpd, files.Ethers, files.Hosts} {
		for _, path := range files {
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
				seen[path] = stamp{info.Size(), info.ModTime()}
			}
		}
	}
	if n.byMAC != nil && maps.Equal(seen, n.seen) {
		return
	}
	n.seen, n.byMAC, n.byAddr = seen, map[string]string{}, map[netip.Addr]string{}
	n.read(files.Leases, n.lease)
	for _, path := range files.Kea {
		n.readKea(path)
	}
	for _, path := range files.Dhcpd {
		n.readDhcpd(path)
	}
	n.read(files.Ethers, func(fields []string) {
		if len(fields) == 2 {
			n.add(fields[0], "", fields[1])
		}
	})
	n.read(files.Hosts, func(fields []string) {
		if len(fields) > 1 {
			n.add("", fields[0], fields[1])
		}
	})
}

// expand returns the files that patterns stand for.
func expand(patterns []string) (files []string) {
	for _, pattern := range patterns {
		found, err := filepath.Glob(pattern)
		if err == nil { // else there is something in it that is no pattern
			files = append(files, found[:min(len(found), maxNameFiles)]...)
		}
	}
	return files
}

// lease reads a line of dnsmasq: when the lease ends, the MAC address, the address, the name, the client's ID. Lines of
// IPv6 have a number instead of the MAC address.
func (n *Names) lease(fields []string) {
	if len(fields) >= 4 {
		n.add(fields[1], fields[2], fields[3])
	}
}

// add notes a name, unless one is known already: the first file that has it counts.
func (n *Names) add(mac, addr, name string) {
	if name = lease.CleanText(name, maxNameBytes); name == "" || name == "*" || name == "localhost" {
		return
	}
	if hardware, err := net.ParseMAC(mac); err == nil && len(n.byMAC) < maxNames && n.byMAC[hardware.String()] == "" {
		n.byMAC[hardware.String()] = name
	}
	if a, err := netip.ParseAddr(addr); err == nil && !a.IsLoopback() && len(n.byAddr) < maxNames && n.byAddr[a.Unmap()] == "" {
		n.byAddr[a.Unmap()] = name
	}
}

// read calls line with the fields of each line of some files, without comments.
func (n *Names) read(files []string, line func(fields []string)) {
	for _, path := range files {
		if _, ok := n.seen[path]; !ok {
			continue
		}
		f, err := os.Open(path)
		if err != nil {
			n.log.Debug("names of devices cannot be read", "file", path, "err", err)
			continue
		}
		lines := bufio.NewScanner(io.LimitReader(f, maxNameFile))
		for lines.Scan() {
			text, _, _ := strings.Cut(lines.Text(), "#")
			line(strings.Fields(text))
		}
		if err := lines.Err(); err != nil {
			n.log.Debug("names of devices cannot be read to the end", "file", path, "err", err)
		}
		_ = f.Close() // it was only read
	}
}
