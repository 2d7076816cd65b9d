package web

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/portreeve/portreeve/lease"
)

// The first steps, from a password to a console that works. Each can be skipped and come back to. They store what the store
// owns; of what the configuration file owns they show the lines to put there.

// welcomeSteps are the steps behind the door, in their order; the password is the one before.
func welcomeSteps() []string { return []string{"network", "devices", "check", "console"} }

// welcomeData is the data of a step.
type welcomeData struct {
	Step       string
	Steps      []string
	Number     int    // of the step, from 2: the first is the password
	Back, Next string // the steps before and after; "": none
	File       ConfigFile

	Strip strip     // of all but the choice of devices
	Line  lineData  // of the console
	Heard heardData // of the console

	Found []found // of the network

	Who      string // the choice that holds
	Choices  []string
	Devices  []deviceRow
	Rules    int // of the policy, which decide before the choice does
	Recorded string

	Findings []findingRow // of the check
	Wrong    int          // how many of them there is something to do about

	Opened []leaseRow // of the console: the newest leases
}

// found is a part of the network that was found.
type found struct {
	Kind    string // "wan", "lan" or "protocols"
	Items   []foundItem
	FromSet bool     // the configuration names it
	Lines   []string // for the configuration file, to have it as it is
}

// foundItem is one interface or protocol.
type foundItem struct {
	Name string
	Text []string // addresses
	Tone string   // "good", "warn", "bad", or "" for what is neither
	Key  string   // of what to say about it
}

// findingRow is a finding with the class that colours it.
type findingRow struct {
	Finding
	Tone string
}

func (s *Server) welcomeStart(w http.ResponseWriter, r *http.Request) error {
	http.Redirect(w, r, "/welcome/"+welcomeSteps()[0], http.StatusSeeOther)
	return nil
}

func (s *Server) welcomePage(w http.ResponseWriter, r *http.Request) error {
	return s.showWelcome(w, r, r.PathValue("step"), nil)
}

func (s *Server) showWelcome(w http.ResponseWriter, r *http.Request, step string, why *Problem) error {
	now, steps := s.look(), welcomeSteps()
	at := slices.Index(steps, step)
	if at < 0 {
		return problem(CodeNotFound, "there is nothing at this address")
	}
	d := welcomeData{Step: step, Steps: steps, Number: at + 2, File: s.ConfigFile, Strip: stripOf(now.status)}
	if at > 0 {
		d.Back = steps[at-1]
	}
	if at < len(steps)-1 {
		d.Next = steps[at+1]
	}
	mode := live(why)
	switch step {
	case "network":
		d.Found = s.foundOf(now.status)
	case "devices":
		mode = "" // what is being chosen stays as it is
		d.Choices, d.Who, d.Devices, d.Rules = whoMay(), now.whoMay(), s.atHome(), len(now.Policy.Rules)
		d.Recorded = string(lease.AccessAllow)
	case "check":
		mode = "" // it costs something, and is asked for by hand
		d.Findings, d.Wrong = findings(s.selfCheck(r))
	case "console":
		d.Line, d.Heard = now.line4(), s.heardData(now, 3)
		rows := rowsOf(now.leases())
		slices.Reverse(rows)
		d.Opened = rows[:min(len(rows), heardRows)]
	}
	return s.show(w, r, now, "welcome.html", page{Title: "welcome." + step, At: "welcome", Problem: why, Live: mode, Data: d})
}

// setting is the value of a setting of the configuration file, and whether that sets it.
func (s *Server) setting(name string) (value string, set bool) {
	for _, one := range s.Settings {
		if one.Name == name {
			return one.Value, one.Set
		}
	}
	return "", false
}

// foundOf tells of the network what it is, where that comes from and how it is changed.
func (s *Server) foundOf(st Status) []found {
	return []found{s.foundWANs(st), s.foundLANs(st), s.foundProtocols(st)}
}

func (s *Server) foundWANs(st Status) found {
	f := found{Kind: "wan"}
	var names []string
	for _, w := range st.WANs {
		item := foundItem{Name: w.Name, Tone: "bad", Key: "welcome.wan." + string(w.State)}
		if w.State == WANPublic {
			item.Tone = "good"
		} else if len(w.Addresses) > 0 {
			item.Tone = "warn"
		}
		for _, a := range w.Addresses {
			item.Text = append(item.Text, addressText(a))
		}
		f.Items, names = append(f.Items, item), append(names, w.Name)
	}
	return s.withLines(f, names, "eth0")
}

// withLines says how the file names the interfaces that were found, or one for example.
func (s *Server) withLines(f found, names []string, example string) found {
	if len(names) == 0 {
		f.Items, names = []foundItem{{Tone: "bad", Key: "welcome." + f.Kind + ".none"}}, []string{example}
	}
	_, f.FromSet = s.setting(f.Kind + ".interfaces")
	f.Lines = []string{"[" + f.Kind + "]", "interfaces = " + tomlList(names)}
	return f
}

func (s *Server) foundLANs(st Status) found {
	f := found{Kind: "lan"}
	var names []string
	for _, l := range st.LANs {
		item := foundItem{Name: l.Name, Tone: "good", Key: "welcome.lan.served"}
		for _, p := range l.Addresses {
			item.Text = append(item.Text, p.String())
		}
		f.Items, names = append(f.Items, item), append(names, l.Name)
	}
	return s.withLines(f, names, "br0")
}

func (s *Server) foundProtocols(st Status) found {
	f := found{Kind: "protocols"}
	on := map[string]bool{}
	for _, p := range st.Protocols {
		item := foundItem{Name: p.Name, Key: "welcome." + p.Name}
		if on[p.Name] = p.Enabled; p.Enabled {
			item.Tone = "good"
		}
		f.Items = append(f.Items, item)
	}
	for _, name := range []string{"igd.enable", "pcp.pcp", "pcp.natpmp"} {
		_, set := s.setting(name)
		f.FromSet = f.FromSet || set
	}
	f.Lines = []string{
		"[igd]", fmt.Sprint("enable = ", on["upnp"]), "",
		"[pcp]", fmt.Sprint("pcp = ", on["pcp"]), fmt.Sprint("natpmp = ", on["nat-pmp"]),
	}
	return f
}

// tomlList writes names as an array of the configuration file.
func tomlList(names []string) string { return `["` + strings.Join(names, `", "`) + `"]` }

// findings colours what was found, and counts what there is something to do about.
func findings(all []Finding) (rows []findingRow, wrong int) {
	for _, f := range all {
		row := findingRow{f, "good"}
		switch {
		case !f.OK:
			row.Tone = "bad"
		case f.Do != "":
			row.Tone = "warn"
		}
		if row.Tone != "good" {
			wrong++
		}
		rows = append(rows, row)
	}
	// What there is something to do about comes first.
	order := map[string]int{"bad": 0, "warn": 1, "good": 2}
	slices.SortStableFunc(rows, func(a, b findingRow) int { return order[a.Tone] - order[b.Tone] })
	return rows, wrong
}
