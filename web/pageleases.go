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
	Expiring bool  // soon, unless it is renewed
	Spark    spark // of the last hour, where the page has it
	Last     int64 // how many seconds ago it was used last, if it was
}

// leasesData is the data of the page of leases.
type leasesData struct {
	Groups []leaseGroup // one without a name if the list is not grouped
	Total  int          // how many there are without the search
	Found  int          // how many there are with it
	Query  string
	Chips  []searchChip
	Sort   string // "" is the newest first
	Group  string // "" is one list
	Next   string // where the list goes on; "" at its end
	From   int    // the number of the first row, counted from 1
	To     int
	Back   string // the address of the list as it is shown
	Undo   *undoNotice
}

// leaseGroup is leases that have something in common.
type leaseGroup struct {
	Name  string
	Count int // of all pages together
	Rows  []leaseRow
}

// searchChip is a word of a search, and the search without it.
type searchChip struct{ Word, Without string }

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
	var last int64
	if l.Traffic != nil && l.Traffic.LastSeconds != nil {
		last = *l.Traffic.LastSeconds
	}
	return leaseRow{
		Lease: l, Last: last, Key: deviceRef(l.Device, l.InternalAddress), Name: cmp.Or(l.DeviceName, l.InternalAddress.String()),
		Outside: portsText(l.ExternalPort, l.PortCount), Inside: portsText(l.InternalPort, l.PortCount),
		Expiring: l.State == LeaseExpiring,
	}
}

func rowsOf(all []Lease) []leaseRow {
	rows := make([]leaseRow, len(all))
	for i, l := range all {
		rows[i] = rowOf(l)
	}
	return rows
}

// fieldState is the field of the state of a lease.
const fieldState = "state"

func (r leaseRow) fields() []field {
	fields := []field{
		{fieldDevice, r.DeviceName},
		{fieldDevice, r.InternalAddress.String()},
		{fieldDevice, r.Device},
		{fieldVia, string(r.Via)},
		{fieldApp, r.Description},
		{fieldApp, r.Agent},
		{fieldState, string(r.State)},
		{"", r.Note},
		{"", r.Protocol},
	}
	for i := range uint16(r.PortCount) {
		fields = append(fields, field{fieldPort, strconv.Itoa(int(r.ExternalPort + i))}, field{fieldPort, strconv.Itoa(int(r.InternalPort + i))})
	}
	return fields
}

// chips takes a search apart into the words that can be taken out of it.
func chips(query string) (all []searchChip) {
	words := strings.Fields(query)
	for i, word := range words {
		all = append(all, searchChip{word, strings.Join(slices.Delete(slices.Clone(words), i, i+1), " ")})
	}
	return all
}

// leaseOrders and leaseGroups are what the list can be sorted and grouped by, besides not.
func leaseOrders() []string { return []string{"device", "port", "left"} }
func leaseGroups() []string { return []string{"device", "app", "port"} }

// group returns what a row has in common with others.
func (r leaseRow) group(by string) string {
	switch by {
	case "device":
		return r.Name
	case "app":
		return cmp.Or(r.Description, r.Agent)
	case "port":
		return r.Outside
	}
	return ""
}

// findLeases returns what a search finds, in the order that is wanted. With IDs it is those of them.
func (v view) findLeases(query, order string, ids ...string) []leaseRow {
	wanted := parseSearch(query, fieldDevice, fieldPort, fieldVia, fieldApp, fieldState)
	chosen := map[string]bool{}
	for _, id := range ids {
		chosen[id] = true
	}
	rows := slices.DeleteFunc(rowsOf(v.leases()), func(r leaseRow) bool {
		return len(ids) > 0 && !chosen[string(r.ID)] || !wanted.matches(r.fields()...)
	})
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

// groupLeases puts rows with something in common together, and returns those from first to last.
func groupLeases(rows []leaseRow, by string, first, last int) []leaseGroup {
	if by == "" {
		return []leaseGroup{{Count: len(rows), Rows: rows[first:last]}}
	}
	counts := map[string]int{}
	for _, r := range rows {
		counts[r.group(by)]++
	}
	slices.SortStableFunc(rows, func(a, b leaseRow) int {
		if by == "port" {
			return cmp.Or(cmp.Compare(a.ExternalPort, b.ExternalPort), cmp.Compare(a.PortCount, b.PortCount))
		}
		return strings.Compare(a.group(by), b.group(by))
	})
	var groups []leaseGroup
	for _, r := range rows[first:last] {
		name := r.group(by)
		if len(groups) == 0 || groups[len(groups)-1].Name != name {
			groups = append(groups, leaseGroup{Name: name, Count: counts[name]})
		}
		g := &groups[len(groups)-1]
		g.Rows = append(g.Rows, r)
	}
	return groups
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
	d := leasesData{
		Query: lease.CleanText(q.Get("q"), maxSearch), Sort: one(q.Get("sort"), leaseOrders()), Group: one(q.Get("group"), leaseGroups()),
		Total: len(now.Leases), Undo: s.undos.notice(q.Get("undo"), now.now),
	}
	d.Chips = chips(d.Query)
	d.Back = link("/leases", "q", d.Query, "sort", d.Sort, "group", d.Group, "skip", q.Get("skip"))
	rows := now.findLeases(d.Query, d.Sort)
	d.Found = len(rows)
	first := min(int(skip), len(rows))
	last := min(first+leaseRows, len(rows))
	d.Groups, d.From, d.To = groupLeases(rows, d.Group, first, last), first+1, last
	for _, g := range d.Groups {
		for i := range g.Rows {
			g.Rows[i].Spark = sparkOf(s.Minutes(g.Rows[i].ID))
		}
	}
	if last < len(rows) {
		d.Next = strconv.Itoa(last)
	}
	p := page{Title: "leases.title", At: "leases", Problem: why, Live: "rows", Data: d}
	if d.Query != "" || d.Sort != "" || d.Group != "" || first > 0 {
		p.Live = "parts" // only the script of the plain list knows where a new row belongs
	}
	return s.show(w, r, now, "leases.html", p)
}

// one returns a text if it is among those that are allowed, else "".
func one(text string, allowed []string) string {
	if slices.Contains(allowed, text) {
		return text
	}
	return ""
}

// leasesJSON is what is shown, or chosen of it, as the API writes it.
func (s *Server) leasesJSON(w http.ResponseWriter, r *http.Request) error {
	q, list := r.URL.Query(), LeaseList{Leases: []Lease{}}
	for _, row := range s.look().findLeases(q.Get("q"), q.Get("sort"), q["id"]...) {
		list.Leases = append(list.Leases, row.Lease)
	}
	w.Header().Set("Content-Disposition", `attachment; filename="leases.json"`)
	return writeJSON(w, list)
}

// leasesCSV is the same for a spreadsheet.
func (s *Server) leasesCSV(w http.ResponseWriter, r *http.Request) error {
	now, q := s.look(), r.URL.Query()
	lines := [][]string{{
		"id", "protocol", "external_address", "external_port", "internal_address", "internal_port", "port_count", "via", "client", "device",
		"device_name", "description", "agent", "created", "remaining_seconds", "permanent",
		"note", "state", "bytes_in", "bytes_out",
	}}
	for _, l := range now.findLeases(q.Get("q"), q.Get("sort"), q["id"]...) {
		use := LeaseUse{}
		if l.Traffic != nil {
			use = *l.Traffic
		}
		lines = append(lines, []string{
			string(l.ID), l.Protocol, addressText(l.ExternalAddress), strconv.Itoa(int(l.ExternalPort)), addressText(l.InternalAddress),
			strconv.Itoa(int(l.InternalPort)), strconv.Itoa(l.PortCount), string(l.Via), addressText(l.Client), l.Device,
			l.DeviceName, l.Description, l.Agent, l.Created.Format(time.RFC3339), strconv.FormatInt(l.RemainingSeconds, 10), strconv.FormatBool(l.Permanent),
			l.Note, string(l.State), strconv.FormatUint(use.BytesIn, 10), strconv.FormatUint(use.BytesOut, 10),
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
