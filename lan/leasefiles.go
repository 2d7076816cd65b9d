package lan

import (
	"bufio"
	"io"
	"os"
	"slices"
	"strings"
)

// Files of DHCP servers that are written on and on: what counts is the last that they say of an address.

// tail returns the first line of a file and the lines at its end, as many as are read of any file. The first of these may be
// cut off.
func (n *Names) tail(path string) (first string, lines []string) {
	if _, ok := n.seen[path]; !ok {
		return "", nil
	}
	f, err := os.Open(path)
	if err != nil {
		n.log.Debug("names of devices cannot be read", "file", path, "err", err)
		return "", nil
	}
	defer f.Close()
	begin := bufio.NewScanner(io.LimitReader(f, maxNameFile))
	if begin.Scan() {
		first = begin.Text()
	}
	if at := n.seen[path].size - maxNameFile; at > 0 {
		_, err = f.Seek(at, io.SeekStart)
	} else {
		_, err = f.Seek(0, io.SeekStart)
	}
	all := bufio.NewScanner(io.LimitReader(f, maxNameFile))
	for err == nil && all.Scan() {
		lines = append(lines, all.Text())
	}
	if err == nil {
		err = all.Err()
	}
	if err != nil {
		n.log.Debug("names of devices cannot be read to the end", "file", path, "err", err)
	}
	return first, lines
}

// readKea reads the table of Kea (memfile), of either family. Its first line names the columns.
func (n *Names) readKea(path string) {
	header, lines := n.tail(path)
	columns := strings.Split(header, ",")
	column := func(name string) int { return slices.Index(columns, name) }
	addr, mac, name := column("address"), column("hwaddr"), column("hostname")
	if addr < 0 || name < 0 {
		return
	}
	for _, line := range slices.Backward(lines) {
		cells := strings.Split(line, ",")
		if len(cells) <= max(addr, mac, name) {
			continue
		}
		hardware := ""
		if mac >= 0 {
			hardware = cells[mac]
		}
		n.add(hardware, cells[addr], strings.TrimSuffix(cells[name], "."))
	}
}

// readDhcpd reads the leases of ISC's dhcpd, dhcpd.leases(5): a block for each change.
func (n *Names) readDhcpd(path string) {
	_, lines := n.tail(path)
	var mac, name string
	// From behind, the first of a block comes last.
	for _, line := range slices.Backward(lines) {
		fields := strings.Fields(strings.TrimSuffix(strings.TrimSpace(line), ";"))
		switch {
		case len(fields) == 0:
		case fields[0] == "}":
			mac, name = "", ""
		case len(fields) == 3 && fields[0] == "hardware":
			mac = fields[2]
		case len(fields) == 2 && fields[0] == "client-hostname":
			name = strings.Trim(fields[1], `"`)
		case len(fields) == 3 && fields[0] == "lease":
			n.add(mac, fields[1], name)
		}
	}
}
