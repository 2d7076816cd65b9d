package iptables

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// legacyTables asks the kernel about the tables of the legacy variant, over sockets that stay open. It takes CAP_NET_ADMIN and
// CAP_NET_RAW. The zero value is ready.
type legacyTables struct {
	sockets [versions]*int
	seed    *maphash.Seed
}

// tableSize is what tells most changes of a table.
type tableSize struct{ entries, bytes uint32 }

// watched returns the names of the tables that are looked at. Asking for the table raw makes it.
func watched(v version, raw bool) []string {
	return slices.DeleteFunc(ourTables(v), func(name string) bool { return name == "raw" && !raw })
}

// each calls f with each of our tables, of both versions of IP or of IPv4 only.
func (l *legacyTables) each(both bool, raw [versions]bool, f func(socket int, v version, name string) error) error {
	for v := range versions {
		if v == ipv6 && !both {
			break
		}
		if l.sockets[v] == nil {
			fd, err := unix.Socket([versions]int{unix.AF_INET, unix.AF_INET6}[v], unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
			if err != nil {
				return fmt.Errorf("open a raw socket of %s: %w", v, err)
			}
			l.sockets[v] = &fd
		}
		for _, name := range watched(v, raw[v]) {
			if err := f(*l.sockets[v], v, name); err != nil {
				return fmt.Errorf("look at table %s of %s: %w", name, v, err)
			}
		}
	}
	return nil
}

// close closes the sockets, until something is asked again.
func (l *legacyTables) close() {
	for v, fd := range l.sockets {
		if fd != nil {
			_ = unix.Close(*fd) // nothing is left to be written
		}
		l.sockets[v] = nil
	}
}

// sizes returns those of our tables.
func (l *legacyTables) sizes(both bool) (sizes []tableSize, err error) {
	err = l.each(both, [versions]bool{}, func(socket int, v version, name string) error {
		size, err := sizeOf(socket, v, name)
		sizes = append(sizes, size)
		return err
	})
	return sizes, err
}

// hash returns a number that is another one when a rule of our tables is another one, whatever it has counted. The tables raw
// are looked at where we have some.
func (l *legacyTables) hash(both bool, raw [versions]bool) (uint64, error) {
	if l.seed == nil {
		seed := maphash.MakeSeed()
		l.seed = &seed
	}
	var sum maphash.Hash
	sum.SetSeed(*l.seed)
	err := l.each(both, raw, func(socket int, v version, name string) error {
		entries, err := entriesOf(socket, v, name)
		if err != nil {
			return err
		}
		_, err = sum.Write(entries)
		return err
	})
	return sum.Sum64(), err
}

// The questions of linux/netfilter_ipv4/ip_tables.h. Those of IPv6 are the same.
const (
	getInfo    = 64
	getEntries = 65
)

// ask puts a question about a table to the kernel. What is asked begins with the table's name, and is overwritten.
func ask(socket int, v version, question uintptr, name string, about []byte) error {
	level := [versions]uintptr{unix.IPPROTO_IP, unix.IPPROTO_IPV6}[v]
	copy(about[:31], name)
	size := uint32(len(about))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(socket), level, question,
		uintptr(unsafe.Pointer(&about[0])), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func sizeOf(socket int, v version, name string) (tableSize, error) {
	// struct ipt_getinfo: the name (32 bytes), valid_hooks, five hook entries, five underflows, num_entries, size.
	const entriesAt, bytesAt, length = 76, 80, 84
	info := make([]byte, length)
	if err := ask(socket, v, getInfo, name, info); err != nil {
		return tableSize{}, err
	}
	return tableSize{binary.NativeEndian.Uint32(info[entriesAt:]), binary.NativeEndian.Uint32(info[bytesAt:])}, nil
}

// entriesOf returns a table as the kernel has it, with all counters at zero.
func entriesOf(socket int, v version, name string) ([]byte, error) {
	// struct ipt_get_entries: the name, the size of the entries (at 32), and these, aligned to eight bytes. In each is where
	// the next one begins, and its two counters: struct ipt_entry and ip6t_entry.
	const sizeAt, header, counters = 32, 40, 16
	nextAt, countersAt := [versions]int{90, 142}[v], [versions]int{96, 152}[v]
	size, err := sizeOf(socket, v, name)
	if err != nil {
		return nil, err
	}
	table := make([]byte, header+int(size.bytes))
	binary.NativeEndian.PutUint32(table[sizeAt:], size.bytes)
	if err := ask(socket, v, getEntries, name, table); err != nil { // also if somebody has changed the size meanwhile
		return nil, err
	}
	entries := table[header:]
	for at := 0; at < len(entries); {
		if at+countersAt+counters > len(entries) {
			return nil, errors.New("an entry ends too early")
		}
		clear(entries[at+countersAt : at+countersAt+counters])
		next := int(binary.NativeEndian.Uint16(entries[at+nextAt:]))
		if next < countersAt+counters {
			return nil, errors.New("an entry is too short")
		}
		at += next
	}
	return entries, nil
}
