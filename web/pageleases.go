package web

import (
	"cmp"
	"encoding/csv"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// leaseRows is how many leases a page shows at once. More make it slow on a telephone, and are no help to anybody.
const leaseRows = 200

// leaseRow is a lease as pages show it.
type leaseRow struct {
	Lease
	Key      string // of the page of its device
	Name     string // of the device, or its address
	Outside  string // the ports, "" for all
	Inside   string
	Expiring bool // soon, unless it is renewed
}

// leasesData is the data of the page of leases.
type leasesData struct {
	Rows  []leaseRow
	Total int // how many there are without the search
	Found int // how many there are with it
	Query string
	Sort  string // "" is the newest first
	Next  string // where the list goes on; "" at its end
	From  int    // the number of the first row, counted from 1
	To    int
}

// portsText writes ports as "3074" or "5000-5010"; "" is all.
func portsText(first uint16, count int) string {
	switch {
	case first == 0:
		return ""
	case count <= 1:
		return strconv.Itoa(int(first))
	default:
		return fmt.Sprintf("%d-%d", first, int(first)+count-1)
	}
}

// deviceRef names a device in addresses of pages: by its MAC address, else by its address.
func deviceRef(mac string, addr netip.Addr) string { return cmp.Or(mac, addr.String()) }

func rowOf(l Lease) leaseRow {
	const soon = 60
	return leaseRow{
		Lease: l, Key: deviceRef(l.Device, l.InternalAddress), Name: cmp.Or(l.DeviceName, l.InternalAddress.String()),
		Outside: portsText(l.ExternalPort, l.PortCount), Inside: portsText(l.InternalPort, l.PortCount),
		Expiring: !l.Permanent && l.RemainingSeconds < soon,
	}
}

func rowsOf(all []Lease) []leaseRow {
	rows := make([]leaseRow, len(all))
	for i, l := range all {
		rows[i] = rowOf(l)
	}
	return rows
}

func (r leaseRow) fields() []field {
	fields := []field{
		{fieldDevice, r.DeviceName},
		{fieldDevice, r.InternalAddress.String()},
		{fieldDevice, r.Device},
		{fieldVia, string(r.Via)},
		{fieldApp, r.Description},
		{fieldApp, r.Agent},
		{"", r.Protocol},
	}
	for i := range uint16(r.PortCount) {
		fields = append(fields, field{fieldPort, strconv.Itoa(int(r.ExternalPort + i))}, field{fieldPort, strconv.Itoa(int(r.InternalPort + i))})
	}
	return fields
}

// findLeases returns what a search finds, in the order that is wanted.
func (v view) findLeases(query, order string) []leaseRow {
	wanted := parseSearch(query, fieldDevice, fieldPort, fieldVia, fieldApp)
	rows := slices.DeleteFunc(rowsOf(v.leases()), func(r leaseRow) bool { return !wanted.matches(r.fields()...) })
	slices.Reverse(rows)
	by := map[string]func(a, b leaseRow) int{
		"device": func(a, b leaseRow) int {
			return cmp.Or(strings.Compare(a.Name, b.Name), a.InternalAddress.Compare(b.InternalAddress))
		},
		"port": func(a, b leaseRow) int { return cmp.Compare(a.ExternalPort, b.ExternalPort) },
		"left": func(a, b leaseRow) int {
			if a.Permanent != b.Permanent {
				return map[bool]int{true: 1, false: -1}[a.Permanent]
			}
			return cmp.Compare(a.RemainingSeconds, b.RemainingSeconds)
		},
	}[order]
	if by != nil {
		slices.SortStableFunc(rows, by)
	}
	return rows
}

func (s *Server) leasesPage(w http.ResponseWriter, r *http.Request) error {
	return s.showLeases(w, r, nil)
}

func (s *Server) showLeases(w http.ResponseWriter, r *http.Request, why *Problem) error {
	now, q := s.look(), r.URL.Query()
	skip, err := number(r, "skip", 0, 1<<20, 0)
	if err != nil {
		return err
	}
	d := leasesData{Query: lease.CleanText(q.Get("q"), maxSearch), Sort: q.Get("sort"), Total: len(now.Leases)}
	if !slices.Contains([]string{"device", "port", "left"}, d.Sort) {
		d.Sort = ""
	}
	rows := now.findLeases(d.Query, d.Sort)
	d.Found = len(rows)
	first := min(int(skip), len(rows))
	last := min(first+leaseRows, len(rows))
	d.Rows, d.From, d.To = rows[first:last], first+1, last
	if last < len(rows) {
		d.Next = strconv.Itoa(last)
	}
	p := page{Title: "leases.title", At: "leases", Problem: why, Live: "rows", Data: d}
	if d.Query != "" || d.Sort != "" || first > 0 {
		p.Live = "parts" // only the script of the plain list knows where a new row belongs
	}
	return s.show(w, r, now, "leases.html", p)
}

// closeForm is the close button of a browser without script.
func (s *Server) closeForm(w http.ResponseWriter, r *http.Request) error {
	_, err := s.Leases.CloseID(r.Context(), lease.Actor{Origin: lease.OriginWeb}, leaseID(r))
	if err != nil {
		if why := s.answerError(r, err); why.Code != CodeNoLease { // closed before is closed
			return s.showLeases(w, r, why)
		}
	}
	http.Redirect(w, r, link("/leases", "done", "closed"), http.StatusSeeOther)
	return nil
}

// leasesCSV is the list for a spreadsheet. The whole list as JSON is what the API answers.
func (s *Server) leasesCSV(w http.ResponseWriter, r *http.Request) error {
	now, q := s.look(), r.URL.Query()
	lines := [][]string{{
		"id", "protocol", "external_address", "external_port", "internal_address", "internal_port", "port_count", "via", "client", "device",
		"device_name", "description", "agent", "created", "remaining_seconds", "permanent",
	}}
	for _, l := range now.findLeases(q.Get("q"), q.Get("sort")) {
		lines = append(lines, []string{
			string(l.ID), l.Protocol, addressText(l.ExternalAddress), strconv.Itoa(int(l.ExternalPort)), addressText(l.InternalAddress),
			strconv.Itoa(int(l.InternalPort)), strconv.Itoa(l.PortCount), string(l.Via), addressText(l.Client), l.Device,
			l.DeviceName, l.Description, l.Agent, l.Created.Format(time.RFC3339), strconv.FormatInt(l.RemainingSeconds, 10), strconv.FormatBool(l.Permanent),
		})
	}
	return writeCSV(w, "leases.csv", lines)
}

func addressText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// writeCSV sends a table as a file. A text of the network that a spreadsheet would take for a formula gets an apostrophe in
// front, which is how spreadsheets write that it is none.
func writeCSV(w http.ResponseWriter, name string, lines [][]string) error {
	var text strings.Builder
	out := csv.NewWriter(&text)
	for _, line := range lines {
		for i, cell := range line {
			if cell != "" && strings.ContainsRune("=+-@\t", rune(cell[0])) {
				line[i] = "'" + cell
			}
		}
		if err := out.Write(line); err != nil {
			return err
		}
	}
	out.Flush()
	if err := out.Error(); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
	_, _ = w.Write([]byte(text.String())) // fails only if the other end has gone
	return nil
}

// The detail of one lease.

// leaseData is the data of the page of one lease.
type leaseData struct {
	Row     leaseRow
	Trace   lease.Trace
	Events  []activityLine
	Traffic Traffic
	Public  string   // the address and port by which peers reach it
	Only    []string // the peers that may come; none: everybody
}

func (s *Server) leasePage(w http.ResponseWriter, r *http.Request) error {
	now := s.look()
	detail, l, ok := now.detail(leaseID(r))
	if !ok {
		return lease.ErrNotFound
	}
	d := leaseData{Row: rowOf(detail.Lease), Trace: detail.Trace, Events: now.lines(detail.Events), Public: now.reachedAt(l)}
	var err error
	if d.Traffic, err = s.Traffic(r.Context(), l); err != nil {
		s.Logger.Warn("cannot see what goes through a lease", "lease", l.ID, "err", err)
	}
	for _, h := range detail.Lease.RemoteHosts {
		text := prefixText(h.Prefix)
		if h.Port != 0 {
			text = netip.AddrPortFrom(h.Prefix.Addr(), h.Port).String()
		}
		d.Only = append(d.Only, text)
	}
	return s.show(w, r, now, "lease.html", page{Title: "lease.title", At: "leases", Live: "parts", Data: d})
}

// reachedAt is where peers find a lease: its own address, or the first of a WAN.
func (v view) reachedAt(l lease.Lease) string {
	addr := l.External.Addr()
	for _, wan := range v.status.WANs {
		if addr.IsValid() || l.WAN != "" && l.WAN != wan.Name {
			continue
		}
		for _, a := range wan.Addresses {
			if a.Is4() {
				addr = a
				break
			}
		}
	}
	if !addr.IsValid() || l.External.Port() == 0 {
		return addressText(addr)
	}
	return netip.AddrPortFrom(addr, l.External.Port()).String()
}
