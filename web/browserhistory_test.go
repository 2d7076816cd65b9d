package web_test

import (
	"encoding/csv"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/web"
)

// yesterday is a store with what happened the day before: a console had port 3074 open for two hours and a half, then the owner
// made a forward of it for an hour, and a camera was refused.
func yesterday(t *testing.T, c *lease.Config) {
	t.Helper()
	now := time.Now()
	year, month, day := now.Date()
	at := func(hour, minute int) time.Time {
		return time.Date(year, month, day-1, hour, minute, 0, 0, now.Location())
	}
	l := lease.Lease{
		Mapping: lease.Mapping{Protocol: lease.UDP, External: netip.AddrPortFrom(netip.Addr{}, 3074), Internal: netip.AddrPortFrom(console, 3074), Description: "Starfall Online"},
		ID:      "console1", Origin: lease.OriginUPnP, Client: console, Device: "00:50:f2:12:34:56", Created: at(20, 15),
	}
	inside := l
	inside.ID, inside.External = "inside01", netip.AddrPortFrom(netip.Addr{}, 3075)
	r := lease.Rule{
		ID: "rule0001", Kind: lease.RuleForward, Name: "Game night", Origin: lease.OriginWeb, Enabled: true, Protocols: []lease.Protocol{lease.UDP},
		Ports: lease.PortRange{First: 3074, Last: 3074}, Target: lease.Target{Device: "00:50:f2:12:34:56", Addr: console}, Created: at(22, 45),
	}
	camera := lease.Lease{
		Mapping: lease.Mapping{Protocol: lease.UDP, External: netip.AddrPortFrom(netip.Addr{}, 51413), Internal: netip.MustParseAddrPort("192.168.1.61:51413")},
		Origin:  lease.OriginNATPMP, Client: netip.MustParseAddr("192.168.1.61"), Device: "bc:33:29:0a:1b:2c",
	}
	why := lease.Trace{{Rule: "network", OK: true, Why: "client 192.168.1.50 against the subnets of the LANs"}, {Rule: "external port", OK: true, Why: "port 3074 against allowed 1024-65535"}}
	events := []lease.Event{
		{Time: at(19, 0), Kind: lease.EventOpened, By: lease.OriginUPnP, Lease: inside, Count: 1},
		{Time: at(19, 30), Kind: lease.EventClosed, By: lease.OriginUPnP, Lease: inside, Count: 1, Reason: "deleted by 192.168.1.50 (upnp)"},
		{Time: at(20, 15), Kind: lease.EventOpened, By: lease.OriginUPnP, Lease: l, Trace: why, Count: 1},
		{Time: at(22, 30), Kind: lease.EventRenewed, By: lease.OriginUPnP, Lease: l, Count: 17},
		{Time: at(22, 45), Kind: lease.EventRule, By: lease.OriginWeb, Who: "admin", Reason: `forward "Game night" added: udp 3074 -> 00:50:f2:12:34:56 port 3074`, Rule: &lease.RuleNews{Change: lease.RuleAdded, Rule: r, InForce: true}, Count: 1},
		{Time: at(22, 45), Kind: lease.EventClosed, By: lease.OriginWeb, Who: "admin", Lease: l, Count: 1, Reason: `the owner's forward "Game night" takes its port`},
		{Time: at(23, 45), Kind: lease.EventRule, By: lease.OriginWeb, Who: "admin, token phone", Reason: `forward "Game night" removed: udp 3074 -> 00:50:f2:12:34:56 port 3074`, Rule: &lease.RuleNews{Change: lease.RuleRemoved, Rule: r}, Count: 1},
		{Time: at(23, 50), Kind: lease.EventPolicy, By: lease.OriginCLI, Who: "root", Lease: lease.Lease{Device: "bc:33:29:0a:1b:2c"}, Reason: `device "Camera": may not open ports`, Count: 1},
		{Time: at(23, 55), Kind: lease.EventDenied, By: lease.OriginNATPMP, Lease: camera, Reason: `not authorized: device "Camera" may not open ports: the owner has said so`, Count: 3},
	}
	for i := range events {
		events[i].Seq = uint64(i + 1)
	}
	c.Store = lease.NewMemoryStore()
	clock, err := lease.ReadClock()
	must(t, err)
	must(t, c.Store.Commit(t.Context(), lease.Batch{Now: clock, Events: events}))
}

// lookedBack is a home with that day behind it, after a restart of the daemon.
func lookedBack(t *testing.T) *home {
	t.Helper()
	h := newHomeWith(t, func(c *lease.Config) { yesterday(t, c) })
	for mac, name := range map[string]string{"00:50:f2:12:34:56": "Xbox", "bc:33:29:0a:1b:2c": "Camera"} {
		_, err := h.manager.SetDevice(lease.WithAccount(t.Context(), "admin"), lease.Device{MAC: mac, Name: name}, lease.DeviceOptions{By: lease.OriginWeb})
		must(t, err)
	}
	h.open(port(3074))
	return h
}

// whoOpenedIt asks who opened port 3074 yesterday, for how long, and why it was allowed.
func whoOpenedIt(t *testing.T, c *chromium) {
	h := lookedBack(t)
	b := h.signedIn(t, c)
	for _, tt := range []struct{ language, lasted, forward, by, refused string }{
		{"en", "2 h 30 min", "Forward added", "by admin, in the browser", "may not open ports"},
		{"zh", "2 小时 30 分", "端口转发 已添加", "由 admin 在浏览器中操作", "不能打开端口"},
	} {
		b.language(tt.language)
		b.open(h.url + "/activity")
		b.fill(`#q`, "port:3074")
		b.eval(`document.querySelector("#when").value = "yesterday"`)
		b.press(`.filter button[type=submit]`, `#timeline table`)
		if !b.true(`location.search.includes("when=yesterday") && document.querySelector("a[href*='/activity.csv']").href.includes("when=yesterday")`) {
			t.Error("the time is not in the addresses")
		}
		table := b.text(`#timeline table`)
		for _, want := range []string{"Xbox", "3074", tt.lasted, "UPnP", "Starfall Online", "Game night", tt.by} {
			if !strings.Contains(table, want) {
				t.Errorf("%s: the table does not say %q:\n%s", tt.language, want, table)
			}
		}
		lines := b.text(`#lines`)
		for _, want := range []string{tt.lasted, tt.forward, tt.by} {
			if !strings.Contains(lines, want) {
				t.Errorf("%s: the list does not say %q:\n%s", tt.language, want, lines)
			}
		}
		for _, other := range []string{"3075", "00:50:f2", "51413"} {
			if strings.Contains(lines+table, other) {
				t.Errorf("%s: the page tells of %s:\n%s", tt.language, other, lines)
			}
		}
		if !b.true(`document.querySelectorAll(".lane rect.closed, .lane rect.forward").length === 2 && document.querySelectorAll(".legend .key").length === 2`) {
			t.Errorf("%s: not one bar of the console and one of the forward, each with its colour told", tt.language)
		}
		if !b.true(`document.querySelector(".lane rect.forward title").textContent.includes("Xbox")`) {
			t.Errorf("%s: a bar does not say what it is", tt.language)
		}
		b.accessible(tt.language + " a day of the history")
		b.scheme("light")
		b.open(h.url + "/activity?kind=denied")
		if text := b.text(`#lines`); !strings.Contains(text, "Camera") || !strings.Contains(text, tt.refused) {
			t.Errorf("%s: who was refused: %s", tt.language, text)
		}
		if dir := os.Getenv("PORTREEVE_HISTORY_SHOTS"); dir != "" {
			historyShots(b, h, dir, tt.language)
		}
	}
	b.language("en")
	b.open(h.url + "/activity?from=x")
	b.wait(`.alert`)
	b.open(h.url + "/activity?when=today")
	if text := b.text(`#timeline`); strings.Contains(text, "Game night") || !strings.Contains(text, "3074") {
		t.Errorf("what was open today: %s", text)
	}
	if !b.true(`document.querySelector(".lane rect.open.now") !== null`) {
		t.Error("what is open now is not drawn as that")
	}
}

func historyShots(b *browser, h *home, dir, language string) {
	b.t.Helper()
	b.t.Setenv("PORTREEVE_SCREENSHOTS", dir)
	for _, scheme := range []string{"light", "dark"} {
		b.scheme(scheme)
		for _, size := range []int64{1280, 360} {
			b.size(size, 800)
			for name, path := range map[string]string{"all": "/activity", "day": "/activity?q=port:3074&when=yesterday"} {
				b.open(h.url + path)
				b.wait(`main h1`)
				b.picture(dir, strings.Join([]string{"history", name, language, scheme, map[int64]string{1280: "wide", 360: "phone"}[size]}, "-"))
			}
		}
	}
	b.size(1280, 800)
	b.scheme("light")
}

// The same question, asked of the API and of the files, after a restart.
func TestHistoryAnswersWhoAndForHowLong(t *testing.T) {
	h := lookedBack(t)
	b := h.owner()
	year, month, day := time.Now().Date()
	midnight := time.Date(year, month, day, 0, 0, 0, 0, time.Local)
	path := "/api/v1/history?port=3074&device=xbox&kind=opened&since=" + midnight.AddDate(0, 0, -1).UTC().Format(time.RFC3339) + "&until=" + midnight.UTC().Format(time.RFC3339)
	list := decode[web.History](t, b.want(http.StatusOK, b.get(path)))
	if len(list.Events) != 1 {
		t.Fatalf("%d events, want one: %+v", len(list.Events), list.Events)
	}
	if e := list.Events[0]; e.OpenSeconds == nil || *e.OpenSeconds != 9000 || e.StillOpen || e.DeviceName != "Xbox" || len(e.Trace) != 2 {
		t.Errorf("opened: %+v, want two hours and a half of the Xbox, with the reasons", e)
	}
	for _, refused := range []string{"port=0", "kind=x", "since=yesterday", "until=1"} {
		b.refused(web.CodeInvalid, b.get("/api/v1/history?"+refused))
	}
	rows, err := csv.NewReader(strings.NewReader(string(b.want(http.StatusOK, b.get("/activity.csv?q=port:3074&when=yesterday")).body))).ReadAll()
	must(t, err)
	column := func(row []string, name string) string {
		for i, title := range rows[0] {
			if title == name {
				return row[i]
			}
		}
		t.Fatalf("no column %s in %v", name, rows[0])
		return ""
	}
	var got []string
	for _, row := range rows[1:] {
		got = append(got, strings.Join([]string{column(row, "event"), column(row, "device"), column(row, "who"), column(row, "open_seconds")}, " "))
	}
	want := "rule Xbox admin, token phone 3600, closed Xbox admin 9000, rule Xbox admin 3600, renewed Xbox  , opened Xbox  9000"
	if strings.Join(got, ", ") != want {
		t.Errorf("the file says\n%s\nwant\n%s", strings.Join(got, ", "), want)
	}
	for query, lines := range map[string]int{"q=inside:3074&when=yesterday": 7, "q=port:3075": 2, "from=2000-01-01&to=2000-01-02": 0} {
		if n := strings.Count(string(b.want(http.StatusOK, b.get("/activity.csv?"+query)).body), "\n") - 1; n != lines {
			t.Errorf("%s: %d lines, want %d", query, n, lines)
		}
	}
}
