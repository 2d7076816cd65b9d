package lan

import (
	"bufio"
	"cmp"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/portreeve/portreeve/lease"
)

// UsualVendorFiles are where distributions install the list of the IEEE, in the order of preference: Debian's ieee-data and
// hwdata.
func UsualVendorFiles() []string {
	return []string{"/usr/share/ieee-data/oui.txt", "/usr/share/hwdata/oui.txt"}
}

// Vendors tells who has made a network card, by the list of the IEEE. The list is some megabytes long; only where each entry
// begins is kept in memory. Its methods may be used from several goroutines.
type Vendors struct {
	load func() *vendorFile
}

// vendorFile is a list that was found.
type vendorFile struct {
	file  *os.File
	index []vendorEntry // in order of prefix
}

// vendorEntry is where the line of a prefix is.
type vendorEntry struct{ prefix, offset uint32 }

// maxVendorFile bounds the list; that of 2026 has 7 MB.
const maxVendorFile = 64 << 20

// NewVendors returns what is in the first of some files that can be read. It is read when somebody asks first. Log may be nil.
func NewVendors(files []string, log *slog.Logger) *Vendors {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Vendors{load: sync.OnceValue(func() *vendorFile {
		for _, path := range files {
			v, err := openVendors(path)
			if err == nil {
				return v
			}
			log.Debug("no list of vendors", "file", path, "err", err)
		}
		return nil
	})}
}

func openVendors(path string) (*vendorFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	v := &vendorFile{file: f}
	lines, at := bufio.NewReader(io.LimitReader(f, maxVendorFile)), 0
	for {
		line, err := lines.ReadString('\n')
		if prefix, _, ok := vendorLine(line); ok {
			v.index = append(v.index, vendorEntry{prefix, uint32(at)})
		}
		at += len(line)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			_ = f.Close() // it was only read
			return nil, err
		}
	}
	slices.SortFunc(v.index, func(a, b vendorEntry) int { return cmp.Compare(a.prefix, b.prefix) })
	return v, nil
}

// vendorLine reads a line such as "00-50-F2   (hex)		MICROSOFT CORP.".
func vendorLine(line string) (prefix uint32, vendor string, ok bool) {
	before, after, found := strings.Cut(line, "(hex)")
	before = strings.TrimSpace(before)
	if !found || len(before) != len("00-50-F2") {
		return 0, "", false
	}
	n, err := strconv.ParseUint(strings.ReplaceAll(before, "-", ""), 16, 24)
	return uint32(n), strings.TrimSpace(after), err == nil
}

// Vendor returns who has made the card with a MAC address; empty when unknown, and of one that was made up.
func (v *Vendors) Vendor(mac string) string {
	hardware, err := net.ParseMAC(mac)
	if err != nil || len(hardware) != 6 || hardware[0]&2 != 0 {
		return ""
	}
	list := v.load()
	if list == nil {
		return ""
	}
	prefix := uint32(hardware[0])<<16 | uint32(hardware[1])<<8 | uint32(hardware[2])
	i, found := slices.BinarySearchFunc(list.index, prefix, func(e vendorEntry, p uint32) int { return cmp.Compare(e.prefix, p) })
	if !found {
		return ""
	}
	var line [256]byte
	n, err := list.file.ReadAt(line[:], int64(list.index[i].offset))
	if err != nil && !errors.Is(err, io.EOF) {
		return ""
	}
	text, _, _ := strings.Cut(string(line[:n]), "\n")
	// Somebody may have written over the file since.
	if is, vendor, ok := vendorLine(text); ok && is == prefix {
		return lease.CleanText(vendor, maxNameBytes)
	}
	return ""
}
