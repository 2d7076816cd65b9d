package web

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/wan"
)

// overviewData is the data of the first page.
type overviewData struct {
	Strip strip
	Line  lineData
	Heard heardData

	Automatic int // leases
	Static    int // forwards and addresses in force
	Devices   int // with an open port
	Denied    int // today
	Expiring  int // within ten minutes

	Holders []deviceRow // the devices with open ports
	More    int         // how many of them are not shown
	Events  []briefLine
	Path    pathPicture
	Undo    *undoNotice
	Of      string // the key of the device that it is about
}

// strip says in a word how things stand, with one thing to do about it.
type strip struct {
	Word string // "ready", "limits", "unreachable" or "paused"
	Tone string // how bad that is: the class that colours it
	Do   string // the key of what the button says
	At   string // and where it leads
}

// lineData is the line to the internet, with what consoles find.
type lineData struct {
	Addr     netip.Addr // the best one of IPv4; invalid if there is none
	Name     string     // of the interface
	Since    int64      // for how many seconds it has been that; 0 when unknown
	State    WANState
	Prefixes []netip.Prefix // of IPv6, by which devices have public addresses of their own
	Consoles []consoleWord
	Reason   string
}

// consoleWord is a NAT type in the words of one maker.
type consoleWord struct {
	Maker string
	Best  string   // key of the catalogue below "nat."
	Or    []string // what it may be as well
	Tone  string
}

// overviewDevices is how many devices the first page shows.
const overviewDevices = 8

func (s *Server) overviewPage(w http.ResponseWriter, r *http.Request) error {
	now := s.look()
	d := overviewData{
		Strip: stripOf(now.status), Line: now.line4(), Heard: s.heardData(now, 20),
		Automatic: len(now.Leases), Events: briefs(now.latest(10)), Path: now.path(),
	}
	d.Undo, d.Of = s.undos.notice(r.URL.Query().Get("undo"), now.now), r.URL.Query().Get("of")
	d.Expiring, d.Static, d.Denied = now.expiring(10*time.Minute), now.static(), now.deniedToday()
	for _, one := range now.devices() {
		if len(one.Open) == 0 {
			continue
		}
		if d.Devices++; d.Devices <= overviewDevices {
			d.Holders = append(d.Holders, one)
		} else {
			d.More++
		}
	}
	return s.show(w, r, now, "overview.html", page{Title: "overview.title", At: "overview", Live: "parts", Data: d})
}

// briefLine is a line of the history in short.
type briefLine struct {
	activityLine
	Said string // of a rule, the policy or trouble: what has happened to what, without the details
}

func briefs(lines []activityLine) []briefLine {
	all := make([]briefLine, len(lines))
	for i, l := range lines {
		all[i] = briefLine{activityLine: l}
		if slices.Contains([]lease.EventKind{lease.EventRule, lease.EventPolicy, lease.EventTrouble, lease.EventRepaired}, l.Kind) {
			all[i].Said = inShort(l.Kind, l.Reason)
		}
	}
	return all
}

// inShort cuts the details off what is told of a rule or the policy.
func inShort(kind lease.EventKind, reason string) string {
	ofDevice := strings.HasPrefix(reason, "device ") // what it may is the news
	if kind != lease.EventRule && kind != lease.EventPolicy || ofDevice {
		return reason
	}
	said, _, _ := strings.Cut(strings.TrimPrefix(reason, "policy: "), ": ")
	// The name of a DMZ host that has none is its ID, which nobody knows.
	if rest, ok := strings.CutPrefix(said, string(lease.RuleDMZ)+" "); ok && kind == lease.EventRule {
		said = "DMZ host " + rest[strings.LastIndexByte(rest, ' ')+1:]
	}
	return said
}

// expiring counts the leases that end soon.
func (v view) expiring(soon time.Duration) (n int) {
	for i := range v.Leases {
		if l := &v.Leases[i]; !l.Permanent && l.Remaining(v.now) < soon {
			n++
		}
	}
	return n
}

// static counts the forwards and addresses in force.
func (v view) static() (n int) {
	for _, rule := range v.Rules {
		if rule.Why == "" && rule.Kind != lease.RuleDMZ {
			n++
		}
	}
	return n
}

func (v view) deniedToday() (n int) {
	year, month, day := v.now.Date()
	midnight := time.Date(year, month, day, 0, 0, 0, 0, v.now.Location())
	for _, e := range v.Events() {
		if e.Kind == lease.EventDenied && !e.Time.Before(midnight) {
			n += e.Count
		}
	}
	return n
}

// stripOf chooses the word and the button.
func stripOf(st Status) strip {
	switch st.Verdict {
	case VerdictReady:
		if st.Leases == 0 {
			return strip{"ready", "good", "strip.console", "/welcome/console"}
		}
		return strip{"ready", "good", "strip.exposure", "/exposure"}
	case VerdictPaused:
		return strip{Word: "paused", Tone: "warn"}
	case VerdictDoubleNAT, VerdictTrouble:
		return strip{"limits", level(st.Verdict), "strip.fix", "/welcome/check"}
	default:
		return strip{"unreachable", level(st.Verdict), "strip.fix", "/welcome/check"}
	}
}

// line4 looks at the line by which devices are reached.
func (v view) line4() lineData {
	d := lineData{Reason: string(v.status.ExpectedNAT.Reason), Consoles: consoleWords(v.status.ExpectedNAT)}
	for _, state := range []WANState{WANPublic, WANPrivate, WANShared, WANNoAddress, WANDown} {
		i := slices.IndexFunc(v.status.WANs, func(w WANFacts) bool { return w.State == state })
		if i < 0 {
			continue
		}
		best := v.status.WANs[i]
		d.Name, d.State, d.Since = best.Name, state, best.SinceSeconds
		if len(best.Addresses) > 0 {
			d.Addr = best.Addresses[0]
		}
		break
	}
	for _, l := range v.status.LANs {
		for _, p := range l.Addresses {
			if a := p.Addr(); a.Is6() && a.IsGlobalUnicast() && !a.IsPrivate() {
				d.Prefixes = append(d.Prefixes, p.Masked())
			}
		}
	}
	return d
}

// consoleWords tells the expected NAT type in the words of each maker. They mean the same, and so have one colour.
func consoleWords(t NATType) []consoleWord {
	if len(t.Xbox) == 0 {
		return nil
	}
	words := map[string][]string{}
	for _, x := range t.Xbox {
		words["xbox"] = append(words["xbox"], "xbox."+string(x))
	}
	for _, p := range t.PlayStation {
		words["playstation"] = append(words["playstation"], "playstation."+string('0'+rune(p)))
	}
	for _, one := range t.Switch {
		words["switch"] = append(words["switch"], "switch."+string(one))
	}
	tone := "good"
	if t.Xbox[0] != wan.XboxOpen || len(t.Xbox) > 1 {
		tone = "warn"
	}
	var all []consoleWord
	for _, maker := range []string{"xbox", "playstation", "switch"} {
		if w := words[maker]; len(w) > 0 {
			all = append(all, consoleWord{maker, w[0], w[1:], tone})
		}
	}
	return all
}

// heardData is who was heard lately.
type heardData struct {
	Hosts []heardRow
	More  int
	Again int // after how many seconds a page with a script asks anew
}

// heardRow is a host that was heard.
type heardRow struct {
	HeardHost
	Key   string // of the page of the device
	Title string
}

// heardRows is how many of them a page shows.
const heardRows = 5

func (s *Server) heardData(v view, again int) heardData {
	d := heardData{Again: again}
	for _, h := range s.heard(v) {
		if len(d.Hosts) == heardRows {
			d.More++
			continue
		}
		row := heardRow{HeardHost: h, Key: deviceRef(h.MAC, h.Address), Title: h.Name}
		if row.Title == "" {
			row.Title = addressText(h.Address)
		}
		d.Hosts = append(d.Hosts, row)
	}
	return d
}
