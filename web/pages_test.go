package web

import (
	"html/template"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"text/template/parse"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/lease"
)

// hostileText is what a LAN host may send where a name is expected.
const hostileText = `"><script>alert('1')</script>&amp; /../ {{.}}`

// reference is the templates as html/template understands them, and their functions.
func reference(t *testing.T) (*template.Template, *pages) {
	t.Helper()
	a, err := newAssets()
	if err != nil {
		t.Fatal(err)
	}
	texts, err := loadCatalogue("zh")
	if err != nil {
		t.Fatal(err)
	}
	core, err := loadCoreWords("zh")
	if err != nil {
		t.Fatal(err)
	}
	p, err := newPages(a)
	if err != nil {
		t.Fatal(err)
	}
	r, err := template.New("").Funcs(template.FuncMap(functions(a, "zh", texts, core, RoleAdmin))).ParseFS(files, templateFiles)
	if err != nil {
		t.Fatal(err)
	}
	return r, p
}

// Package markup escapes each value in the same way. html/template knows where in a page a value is put, and what it takes
// to be safe there: that must be what markup does, or an address that one of our functions has made safe.
func TestTemplatesPutValuesWhereEscapingIsEnough(t *testing.T) {
	all, _ := reference(t)
	addresses := []string{"asset", "path", "segment", "link"}
	for _, page := range all.Templates() {
		if strings.HasSuffix(page.Name(), ".html") {
			_ = page.Execute(io.Discard, nil) // fails for want of data, once it has escaped the templates
		}
	}
	checked := 0
	for _, page := range all.Templates() {
		if page.Tree == nil {
			continue // the name that all have in common
		}
		for _, pipe := range printed(page.Tree.Root) {
			first := pipe.Cmds[0].Args[0].String()
			for _, c := range pipe.Cmds {
				escaper, ours := strings.CutPrefix(c.Args[0].String(), "_html_template_")
				switch {
				case !ours:
				case slices.Contains([]string{"htmlescaper", "attrescaper", "rcdataescaper"}, escaper):
					checked++
				case slices.Contains([]string{"urlfilter", "urlnormalizer"}, escaper) && slices.Contains(addresses, first):
				default:
					t.Errorf("%s: %s would have to be escaped by %s: put it elsewhere, or make a function for it", page.Name(), pipe, escaper)
				}
			}
		}
	}
	if checked < 500 {
		t.Errorf("only %d values were found in the templates", checked)
	}
}

// printed returns the pipes whose values are written into the page.
func printed(node parse.Node) (pipes []*parse.PipeNode) {
	branch := func(b parse.BranchNode) []*parse.PipeNode {
		pipes := printed(b.List)
		if b.ElseList != nil {
			pipes = append(pipes, printed(b.ElseList)...)
		}
		return pipes
	}
	switch n := node.(type) {
	case *parse.ListNode:
		for _, below := range n.Nodes {
			pipes = append(pipes, printed(below)...)
		}
	case *parse.ActionNode:
		if len(n.Pipe.Decl) == 0 {
			pipes = append(pipes, n.Pipe)
		}
	case *parse.IfNode:
		return branch(n.BranchNode)
	case *parse.WithNode:
		return branch(n.BranchNode)
	case *parse.RangeNode:
		return branch(n.BranchNode)
	}
	return pipes
}

func TestPagesAreWhatTheStandardLibraryMakes(t *testing.T) {
	all, p := reference(t)
	hostile := Lease{
		ID: hostileText, Protocol: hostileText, InternalAddress: netip.MustParseAddr("192.168.1.2"),
		RemoteHosts: []RemoteHost{{Prefix: netip.MustParsePrefix("192.0.2.0/24"), Port: 7}, {}}, Description: hostileText,
		Agent: hostileText, Via: lease.OriginUPnP, Device: hostileText, DeviceName: hostileText, Note: hostileText, State: LeaseActive, Traffic: &LeaseUse{BytesIn: 5000, Connections: 1},
	}
	stuck, permanent, unnamed := hostile, hostile, Lease{Via: lease.OriginPCP, State: LeaseOpen}
	stuck.Stuck, permanent.Permanent = hostileText, true
	rows := rowsOf([]Lease{hostile, stuck, permanent, unnamed})
	rows[0].Spark, rows[1].Spark = sparkOf([]Minute{{}, {BytesIn: 5, BytesOut: 7, Connections: 1}}), sparkOf([]Minute{{Connections: 2}})
	full := Status{
		Verdict: VerdictTrouble, UptimeSeconds: 100000, Leases: 4, Waiting: 2, Problems: []Trouble{{hostileText, hostileText, 7}},
		DMZ: []DMZHost{{DeviceName: hostileText, InForce: true}, {Device: hostileText, InForce: true}, {}},
		Facts: Facts{
			Version: hostileText, Backend: hostileText, Notices: []string{hostileText},
			WANs: []WANFacts{
				{Name: hostileText, Addresses: []netip.Addr{netip.MustParseAddr("203.0.113.5")}, State: WANPublic},
				{State: WANDown},
			},
			LANs: []LANFacts{
				{Name: hostileText, Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.1.1/24")}}, {},
			},
			Protocols: []ProtocolFacts{{Name: "upnp", Enabled: true}, {Name: "pcp"}},
		},
	}
	why := problem(CodeRate, hostileText)
	line := activityLine{
		Event: Event{Kind: lease.EventDenied, By: hostileText, Reason: hostileText, Trace: lease.Trace{{Rule: hostileText, Why: hostileText}, {Rule: "network", OK: true}}},
		Key:   hostileText, Name: hostileText, Ports: hostileText, Count: 3,
	}
	line.Mapping.Description, line.Mapping.Protocol = hostileText, hostileText
	line.App, line.Over, line.Inside, line.Said, line.Who, line.Lasted = hostileText, hostileText, hostileText, hostileText, hostileText, &openFor{Seconds: 7}
	byHand := activityLine{
		Event: Event{Kind: lease.EventRule, Who: hostileText, Rule: &EventRule{Change: hostileText, Settings: RuleSettings{Kind: hostileText}}},
		ByKey: "by.web", Key: hostileText, Name: hostileText, Was: hostileText, WasBy: hostileText, Lasted: &openFor{Seconds: 7, Still: true}, Count: 1,
	}
	device := deviceRow{
		Key: hostileText, Name: hostileText, MAC: hostileText, Vendor: hostileText, Note: hostileText, Access: "deny", Random: true, Seen: true, Set: true, Present: true, Kind: "nas", Guessed: true, Nets: []string{hostileText}, Addrs: []netip.Addr{netip.MustParseAddr("192.168.1.2")},
		Open: []openPort{{Kind: "lease", Protocol: hostileText, Ports: hostileText, Text: hostileText}, {Kind: "dmz"}},
	}
	rule := Rule{
		ID: hostileText, Origin: lease.OriginWeb, Why: hostileText, DeviceName: hostileText,
		Settings: RuleSettings{
			Kind: lease.RuleForward, Name: hostileText, Enabled: true, Protocol: "both", Ports: "1-2", ToPorts: "3-4", Device: hostileText,
			From: []string{hostileText}, Except: []string{hostileText}, Until: "2030-01-02T03:04:05Z", Schedule: []string{hostileText}, WAN: hostileText,
		},
	}
	declared := Rule{Origin: lease.OriginConfig, InForce: true, Settings: RuleSettings{Kind: lease.RuleDMZ, To: "192.168.1.2", Until: hostileText, IPv6: true}}
	form := ruleForm{
		ID: hostileText, Name: hostileText, Ports: hostileText, ToPorts: hostileText, Target: hostileText, To: hostileText, From: hostileText,
		Except: hostileText, Schedule: hostileText, Until: hostileText, Public: hostileText, WAN: hostileText, Enabled: true, IPv6: true,
	}
	change := &RuleChange{Rule: rule, Add: []RuleMapping{{Text: hostileText}}, Remove: []RuleMapping{{Text: hostileText}}}
	rules := ruleData{
		Rules: []Rule{rule, declared}, Rows: []ruleRow{{Rule: rule, Hits: 1, Counted: true, Known: true, Was: true, Last: 70}, {Rule: declared, Known: true}, {Rule: declared}},
		Form: form, Choices: []choice{{hostileText, hostileText}}, Templates: forwardTemplates(), Change: change,
		InTheWay: rows, Undo: &form, Confirm: hostileText, Pinned: &rows[0],
	}
	events := []activityLine{line, byHand, {Event: Event{Kind: lease.EventTrouble}, Count: 1}, {Event: Event{Kind: lease.EventPolicy}, Key: hostileText}}
	frame := func(title string, data any) page {
		return page{
			Title: title, At: "leases", Problem: why, Done: "done.saved", Live: "parts", Script: true,
			Look: look{Language: "zh", Theme: "dark", Path: hostileText, Back: hostileText, State: hostileText}, Status: full, Data: data,
		}
	}
	quiet := page{Title: "overview.title", Status: Status{Verdict: VerdictReady}}
	was := timeRow{stay{Kind: "dmz", Protocol: hostileText, Ports: hostileText, App: hostileText, Rule: hostileText, Who: hostileText, Trace: line.Trace}, hostileText, hostileText, true, "by.cli", 7}
	picture := timeline{
		Marks: []time.Time{{}}, Ticks: []int{3}, More: 2, Kinds: []timeKind{timeWide}, Rows: []timeRow{was, {stay: stay{Open: true}}}, Hidden: 3,
		Lanes: []timeLane{{Name: hostileText, Protocol: hostileText, Ports: hostileText, Bars: []timeBar{{X: 1, Width: 2, Open: true, Row: was}, {}}}},
	}
	policy := policyData{
		Policy: Policy{
			Rules: []PolicyRule{hostileRule()},
			Ports: []string{hostileText}, Default: "allow", Never: []string{hostileText}, ThirdParty: []string{hostileText},
			Lifetimes: []Lifetimes{{Via: lease.OriginPCP, MinSeconds: 1, MaxSeconds: 2}}, WANs: []LANWAN{{hostileText, hostileText}},
		},
		Presets: presets(), Origin: policyOrigins{"config", "owner", "default", "config"}, Own: 1,
		Choices: []choice{{hostileText, hostileText}}, Undo: &removedRule{hostileText, hostileText, 1}, Protocols: lease.ProtocolNames(), Description: hostileText, Tried: true, Client: hostileText, Port: hostileText,
		Answers: []ProtocolAnswer{{Via: lease.OriginPCP, Version: 2, Action: hostileText, Name: hostileText, Why: hostileText}, {Allowed: true, Served: true}, {Waits: true}},
	}
	exposure := exposureData{
		Found: 300, From: 1, To: 200, Next: "200", Rows: []exposed{{Risk: "high", Kind: "dmz", Key: hostileText, Name: hostileText}, {Risk: "look", Kind: "lease", Lease: hostileText, Ports: "1", Service: hostileText, Text: hostileText, Ends: 7}, {Risk: "usual", Kind: "forward", Rule: hostileText}, {Risk: "limited", Kind: "address"}},
		Counts: []riskCount{{"high", 1}},
		Map:    portMap{Rows: []portRow{{1, 2, 3}}, Boxes: []portBox{{X: 1, Kind: "lease", Name: hostileText, Protocol: hostileText, Ports: hostileText}}},
	}
	addresses := addressesData{
		Addresses: []addressRow{{Key: hostileText, Name: hostileText, PublicAddress: PublicAddress{Via: lease.OriginWeb, RemainingSeconds: 3}}, {FromConfig: true, Key: "x"}, {}},
		Form:      form, Static: true, Choices: []choice{{hostileText, hostileText}},
	}
	policyRule := policyRuleData{
		Form: policyForm{
			ID: hostileText, Name: hostileText, Action: "deny", Devices: hostileText, Networks: hostileText, Ports: hostileText, Clients: hostileText, Description: hostileText, Protocols: []choice{{hostileText, hostileText}, {hostileText, ""}},
			Schedule: hostileText, Most: hostileText, Minutes: hostileText, UPnP: true, First: true, Close: true,
		},
		Choices: []choice{{hostileText, hostileText}}, LANs: []string{hostileText}, Refused: []RefusedLease{{Lease{Description: hostileText}, hostileText}},
		Tried: true,
	}
	settings := settingsData{
		Themes: themes(), Languages: languages(), Roles: Roles(), File: []Setting{{hostileText, hostileText, true}, {}}, Secret: hostileText, Backup: hostileText, Restored: &Restored{Added: []string{hostileText}, Removed: []string{hostileText}, Failed: []string{hostileText}},
		Sessions: []SessionInfo{{ID: hostileText, User: hostileText, From: hostileText, Agent: hostileText}, {Current: true}},
		Users:    []User{{Name: hostileText, Role: RoleAdmin}}, Tokens: []Token{{ID: hostileText, Name: hostileText, Role: RoleViewer, Used: "2030-01-02T03:04:05Z"}},
		Audit: []AuditEntry{{Who: hostileText, From: hostileText, Action: hostileText, Target: hostileText, Before: hostileText, After: hostileText, Result: AuditRefused, Count: 2}, {}},
	}
	traffic := Traffic{Known: true, Counted: true, Used: &Used{In: 1}, Peers: []Peer{{Inbound: true, BytesSent: 5000}, {}}}
	warning := strip{"limits", "warn", "strip.fix", "/welcome/check"}
	welcome := welcomeData{
		Step: "network", Steps: welcomeSteps(), Back: "check", Next: "console", File: ConfigFile{hostileText, true}, Strip: warning,
		Found: []found{{"wan", []foundItem{{hostileText, []string{hostileText}, "bad", "welcome.wan.none"}}, true, []string{hostileText}}, {Kind: "protocols"}, {Kind: "lan"}},
	}
	devices := welcomeData{Step: "devices", Steps: welcomeSteps(), Back: "network", Next: "check", Who: "ask", Choices: whoMay(), Devices: []deviceRow{device}, Rules: 2, Recorded: hostileText}
	checks := welcomeData{Step: "check", Back: "devices", Next: "console", Wrong: 1, Findings: []findingRow{{Finding{Subject: hostileText, What: hostileText, Do: hostileText}, "bad"}, {Finding{Subject: "wan"}, "good"}}}
	consoles := welcomeData{Step: "console", Back: "check", Strip: warning, Line: hostileLine(), Heard: hostileHeard(), Opened: rows}
	for name, data := range map[string]any{
		"welcome.html 2":  frame("welcome.devices", devices),
		"welcome.html 3":  frame("welcome.check", checks),
		"welcome.html 4":  frame("welcome.console", consoles),
		"overview.html":   frame("overview.title", overviewData{Strip: warning, Line: hostileLine(), Heard: hostileHeard(), Undo: &undoNotice{Key: hostileText, Text: "undo.device.deny", Row: leaseRow{Name: hostileText}, N: 2}, Of: hostileText, Holders: []deviceRow{device}, More: 3, Events: append(briefs(events), briefLine{line, hostileText}), Path: pathPicture{LAN: hostileText, WAN: hostileText, Upstream: true}}),
		"welcome.html":    frame("welcome.network", welcome),
		"onward":          welcomeData{Next: "check"},
		"progress":        devices,
		"heard":           heardData{},
		"consoles":        lineData{Reason: "offline"},
		"leases.html":     frame("leases.title", leasesData{Groups: []leaseGroup{{hostileText, 3, rows}, {"", 1, rows[:1]}}, Chips: chips("a " + hostileText), Total: 9, Found: 4, Query: hostileText, Sort: "port", Group: "app", Next: "4", From: 2, To: 4, Back: hostileText, Undo: &undoNotice{hostileText, "undo.closed", rows[0], 1}}),
		"lease.html":      frame("lease.title", leaseData{Row: rows[1], Lengths: []int64{600, 3600}, Trace: line.Trace, Events: events, Traffic: traffic, Public: hostileText, Only: []string{hostileText}}),
		"forwards.html":   frame("forwards.title", rules),
		"forward.html":    frame("forwards.edit", rules),
		"dmz.html":        frame("dmz.title", rules),
		"addresses.html":  frame("addresses.title", addresses),
		"policy.html":     frame("policy.title", policy),
		"policyrule.html": frame("policy.rule", policyRule),
		"settings.html":   frame("settings.title", settings),
		"devices.html":    frame("devices.title", devicesData{Undo: &undoNotice{Key: hostileText, Text: "undo.device.deny", Row: leaseRow{Name: hostileText}, N: 2}, Of: hostileText, New: "ask", Rows: []deviceRow{device}, Query: hostileText, Total: 3}),
		"device.html":     frame("device.title", deviceData{Device: device, Set: Device{MAC: hostileText}, Works: &deviceWorks{Word: worksRefused, Ports: hostileText, Reason: hostileText, Consoles: []consoleWord{{Maker: "xbox", Best: "xbox.open"}}}, Form: deviceForm{Name: hostileText, Note: hostileText, Access: "ask", Ports: hostileText, Most: hostileText, Minutes: hostileText, Icon: "nas", Protocols: hostileText, Schedule: hostileText, Limited: true}, Kinds: deviceKinds(), Of: hostileText, Undo: &undoNotice{Key: hostileText, Text: "undo.device.deny", Row: leaseRow{Name: hostileText}, N: 2}, Leases: rows, Rules: []Rule{rule, declared}, Policies: []PolicyRule{hostileRule()}, Events: events}),
		"activity.html":   frame("activity.title", activityData{Days: []activityDay{{Lines: events}}, Asked: lookBack{Query: hostileText, Kind: "denied", period: period{When: "today", First: hostileText, Last: hostileText}}, Kinds: eventKinds(), Whens: periods(), Older: hostileText, Chosen: true, Picture: picture}),
		"requests.html":   frame("requests.title", requestsData{[]waitingRow{{WaitingRequest{ID: hostileText, Description: hostileText, Agent: hostileText, Count: 2}, hostileText, hostileText, hostileText, hostileText}, {}}}),
		"exposure.html":   frame("exposure.title", exposure),
		"help.html":       frame("help.title", helpData{glossary()}),
		"setup.html":      frame("setup.title", firstPassword{true}),
		"login.html":      frame("login.title", nil),
		"problem.html":    frame("problem.title", nil),
		"rows":            rows,
		"row":             rows[3],
		"status":          full,
		"noneasked":       Status{Verdict: VerdictNoLAN},
		"empty":           Status{Verdict: VerdictNoWAN},
		"path":            pathPicture{Broken: true},
		"foot":            quiet.Status,
	} {
		var want strings.Builder
		name, _, _ = strings.Cut(name, " ") // a number behind it tells variants apart
		if err := all.ExecuteTemplate(&want, name, data); err != nil {
			t.Fatal(err)
		}
		got, err := p.render(setKey{"zh", RoleAdmin}, name, data)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(strings.ReplaceAll(want.String(), "&#43;", "+"), string(got)); d != "" {
			t.Errorf("%s (-html/template +ours):\n%s", name, d)
		}
	}
}

func hostileLine() lineData {
	return lineData{
		Addr: netip.MustParseAddr("203.0.113.5"), Name: hostileText, Since: 70, State: WANPublic, Prefixes: []netip.Prefix{netip.MustParsePrefix("2001:db8::/64")},
		Consoles: []consoleWord{{"xbox", "xbox.open", []string{"xbox.moderate"}, "warn"}}, Reason: "ask",
	}
}

func hostileHeard() heardData {
	return heardData{More: 2, Hosts: []heardRow{
		{HeardHost{Searches: 1, Calls: 2, Requests: 3, AgoSeconds: 61}, hostileText, hostileText},
		{HeardHost{}, "k", "t"},
	}}
}

func hostileRule() PolicyRule {
	r := PolicyRule{}
	r.Name, r.Action, r.Origin, r.MappingsPerDevice, r.MaxLifetimeSeconds = hostileText, "deny", lease.OriginConfig, 3, 60
	r.Clients, r.Description, r.Use = []string{hostileText}, hostileText, RuleUse{Count: 2, Last: "2030-01-02T03:04:05Z"}
	r.Devices, r.Networks, r.Ports, r.Protocols, r.Schedule = []string{hostileText}, []string{hostileText}, []string{hostileText}, []string{hostileText}, []string{hostileText}
	return r
}
