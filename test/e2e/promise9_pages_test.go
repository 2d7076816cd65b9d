package e2e_test

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/test/lab"
	"github.com/portreeve/portreeve/web"
)

// passages is what leads from outside to the inside: "udp 5000" to "192.168.1.10:5000". A page that does not say where
// something leads has "" there, or the address alone.
type passages map[string]string

// passages reads the kernel.
func (f flavour) passages(t *testing.T, home *lab.Home) passages {
	t.Helper()
	all := passages{}
	read := func(pattern, command string, args ...string) {
		t.Helper()
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(home.Router.Run(t, command, args...), -1) {
			all[m[1]+" "+m[2]] = m[3]
		}
	}
	if f.backend == "nftables" {
		text := home.Router.Run(t, "nft", "list", "table", "inet", "portreeve")
		for _, m := range regexp.MustCompile(`[{,]\s+(tcp|udp) \. (\d+) [^,}]*: ([\d.]+) \. (\d+)`).FindAllStringSubmatch(text, -1) {
			all[m[1]+" "+m[2]] = m[3] + ":" + m[4]
		}
		for _, m := range regexp.MustCompile(`"wan0" \. ([0-9a-f:]+) \. (tcp|udp) \. (\d+)`).FindAllStringSubmatch(text, -1) {
			all[m[2]+" "+m[3]] = "[" + m[1] + "]:" + m[3]
		}
		return all
	}
	read(`-A PORTREEVE-DNAT\S* .*-p (tcp|udp) .*--dport (\d+) .*--to-destination (\S+)`, "iptables-"+string(f.router)+"-save", "-t", "nat")
	for _, m := range regexp.MustCompile(`-A PORTREEVE\S* .*-d ([0-9a-f:]+)/128 .*-p (tcp|udp) .*--dport (\d+)`).FindAllStringSubmatch(home.Router.Run(t, "ip6tables-"+string(f.router)+"-save"), -1) {
		all[m[2]+" "+m[3]] = "[" + m[1] + "]:" + m[3]
	}
	return all
}

// tell compares what a page shows with the kernel before and after it was asked for. What stood in the kernel both times the
// page must show, for nothing is opened, closed and opened again in between; what stood there neither time it must not.
func (shown passages) tell(before, after passages) (wrong []string) {
	same := func(to, where string) bool { return to == "" || to == where || strings.HasPrefix(where, to+":") }
	for key, where := range before {
		if later, stands := after[key]; !stands || later != where {
			continue
		}
		if to, ok := shown[key]; !ok {
			wrong = append(wrong, key+" is open and not shown")
		} else if !same(to, where) {
			wrong = append(wrong, fmt.Sprintf("%s leads to %s and %s is shown", key, where, to))
		}
	}
	for key := range shown {
		if _, was := before[key]; !was && after[key] == "" {
			wrong = append(wrong, key+" is shown and not open")
		}
	}
	return wrong
}

// look is a page, of what it tells, and what it says of that.
type look struct {
	name string
	of   func(key, where string) bool
	read func(*owner) passages
}

// Leases have external ports below this one in the test, forwards others.
const firstForward = 30000

func isForward(key, _ string) bool {
	port, err := strconv.Atoi(key[strings.LastIndex(key, " ")+1:])
	return err == nil && port >= firstForward
}

func isLease(key, where string) bool { return !isForward(key, where) }

// Pinholes have these ports.
func isPinhole(key, _ string) bool { return strings.HasPrefix(key, "udp 250") }

func isIPv4Lease(key, where string) bool { return isLease(key, where) && !isPinhole(key, where) }

func isEither(string, string) bool { return true }

// only returns what is asked for.
func (shown passages) only(of func(key, where string) bool) passages {
	some := maps.Clone(shown)
	maps.DeleteFunc(some, func(key, where string) bool { return !of(key, where) })
	return some
}

// looks are the pages that show what is open, and what programs get of it.
func looks() []look {
	return []look{
		{"/api/v1/leases", isLease, func(o *owner) passages {
			var list web.LeaseList
			o.api(http.MethodGet, "/leases?limit=1000", nil, &list)
			return listed(list.Leases)
		}},
		{"/leases", isLease, func(o *owner) passages { return rows(byID(o.t, o.page("/leases"), "rows")) }},
		{"/leases?sort=port", isLease, func(o *owner) passages { return rows(byID(o.t, o.page("/leases?sort=port"), "rows")) }},
		{"/leases.csv", isLease, leasesFile},
		{"/", isEither, func(o *owner) passages {
			page := o.page("/")
			shown := chips(byID(o.t, page, "holders"))
			counters := elements(byID(o.t, page, "counters"), "b", "")
			if n := len(shown.only(isLease)); words(counters[0]) != strconv.Itoa(n) || words(counters[1]) != strconv.Itoa(len(shown)-n) {
				o.t.Errorf("the overview counts %s and %s, and lists %d and %d", words(counters[0]), words(counters[1]), n, len(shown)-n)
			}
			return shown
		}},
		{"/devices", isEither, func(o *owner) passages { return chips(byID(o.t, o.page("/devices"), "table")) }},
		{"/exposure", isEither, func(o *owner) passages {
			part := byID(o.t, o.page("/exposure"), "exposure")
			shown, n := pairs(elements(part, "tbody", "")), 0
			for _, b := range elements(elements(part, "ul", "counters")[0], "b", "") {
				one, err := strconv.Atoi(words(b))
				if err != nil {
					o.t.Error(err)
				}
				n += one
			}
			if n != len(shown) {
				o.t.Errorf("the page of what is exposed counts %d and lists %d", n, len(shown))
			}
			return shown
		}},
		{"/forwards", isForward, func(o *owner) passages {
			shown := passages{}
			for _, row := range elements(byID(o.t, o.page("/forwards"), "table"), "tr", "") {
				if len(elements(row, "span", "good")) > 0 {
					maps.Copy(shown, pairs(elements(row, "td", "port")))
				}
			}
			return shown
		}},
		{"/devices/192.168.1.10", func(key, where string) bool { return isLease(key, where) && strings.HasPrefix(where, "192.168.1.10:") }, func(o *owner) passages {
			return pairs(elements(byID(o.t, o.page("/devices/192.168.1.10"), "holds"), "ul", "holders")).only(isIPv4Lease)
		}},
		{"/activity.json", isLease, func(o *owner) passages {
			var h web.History
			text := o.must(http.MethodGet, "/activity.json", "", nil)
			if err := json.Unmarshal(text, &h); err != nil {
				o.t.Fatal(err)
			}
			return told(h.Events)
		}},
	}
}

// listed is what the API says.
func listed(all []web.Lease) passages {
	shown := passages{}
	for _, l := range all {
		host := l.InternalAddress.String()
		if l.InternalAddress.Is6() {
			host = "[" + host + "]"
		}
		shown[fmt.Sprintf("%s %d", l.Protocol, l.ExternalPort)] = fmt.Sprintf("%s:%d", host, l.InternalPort)
	}
	return shown
}

// rows is what rows of the list of leases say.
func rows(n *html.Node) passages {
	shown := passages{}
	for _, row := range elements(n, "tr", "") {
		inside := regexp.MustCompile(`192\.168\.1\.\d+|2001:db8\S+`).FindString(words(elements(row, "th", "device")[0]))
		if strings.Contains(inside, ":") {
			inside = "[" + inside + "]"
		}
		shown[strings.ToLower(words(elements(row, "span", "tag")[0]))+" "+words(elements(elements(row, "td", "port")[0], "a", "")[0])] = inside
	}
	return shown
}

func leasesFile(o *owner) passages {
	lines, err := csv.NewReader(strings.NewReader(string(o.must(http.MethodGet, "/leases.csv", "", nil)))).ReadAll()
	if err != nil {
		o.t.Fatal(err)
	}
	at, shown := map[string]int{}, passages{}
	for i, name := range lines[0] {
		at[name] = i
	}
	for _, l := range lines[1:] {
		host := l[at["internal_address"]]
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		shown[l[at["protocol"]]+" "+l[at["external_port"]]] = host + ":" + l[at["internal_port"]]
	}
	return shown
}

// pairs finds "UDP 5000" in what is written.
func pairs(in []*html.Node) passages {
	shown := passages{}
	for _, n := range in {
		for _, m := range regexp.MustCompile(`\b(TCP|UDP) (\d+)\b`).FindAllStringSubmatch(words(n), -1) {
			shown[strings.ToLower(m[1])+" "+m[2]] = ""
		}
	}
	return shown
}

// chips are the ports of devices.
func chips(n *html.Node) passages { return pairs(elements(n, "span", "chip")) }

// told is what is open after all that has happened, newest first.
func told(events []web.Event) passages {
	shown, known := passages{}, map[string]bool{}
	for _, e := range events {
		key := fmt.Sprintf("%s %d", e.Mapping.Protocol, e.Mapping.ExternalPort)
		if known[key] || e.Kind != lease.EventOpened && e.Kind != lease.EventClosed {
			continue
		}
		known[key] = true
		if e.Kind == lease.EventOpened {
			shown[key] = ""
		}
	}
	return shown.only(isLease)
}

// follower keeps what an event stream tells.
type follower struct {
	mu     sync.Mutex
	leases map[string]passages // by ID
	now    passages            // of the last complete state
	seen   uint32              // how often the barrier was renewed by then
}

// follow reads the stream of the API until the test ends.
func follow(t *testing.T, o *owner) *follower {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	a, err := o.do(ctx, http.MethodGet, "/api/v1/events", "", nil)
	if err != nil || a.StatusCode != http.StatusOK {
		t.Fatalf("the stream: %v, %v", a, err)
	}
	f, ended := &follower{leases: map[string]passages{}}, make(chan struct{})
	t.Cleanup(func() { cancel(); a.Body.Close(); <-ended })
	go func() {
		defer close(ended)
		lines := bufio.NewScanner(a.Body)
		lines.Buffer(nil, 4<<20)
		name := ""
		for lines.Scan() {
			field, value, _ := strings.Cut(lines.Text(), ": ")
			switch field {
			case "event":
				name = value
			case "data":
				if err := f.take(name, []byte(value)); err != nil {
					t.Errorf("event %s: %v in %s", name, err, value)
				}
			}
		}
	}()
	return f
}

// barrier is the port of the lease that is renewed so that a reader knows how old at most it is what it has read.
const barrier = 19999

func (f *follower) take(name string, data []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	put := func(all ...web.Lease) {
		for _, l := range all {
			f.leases[string(l.ID)] = listed([]web.Lease{l})
			if l.ExternalPort == barrier {
				f.seen = l.Renewals
			}
		}
	}
	switch name {
	case "leases":
		var list web.LeaseList
		if err := json.Unmarshal(data, &list); err != nil {
			return err
		}
		clear(f.leases)
		put(list.Leases...)
	case "lease":
		var l web.Lease
		if err := json.Unmarshal(data, &l); err != nil {
			return err
		}
		put(l)
	case "gone":
		var gone web.Gone
		if err := json.Unmarshal(data, &gone); err != nil {
			return err
		}
		delete(f.leases, string(gone.ID))
	case "status":
		f.now = passages{}
		for _, one := range f.leases {
			maps.Copy(f.now, one)
		}
	}
	return nil
}

// state waits for one that is not older than the n-th renewal of the barrier, and complete.
func (f *follower) state(t *testing.T, n uint32) (now passages) {
	t.Helper()
	lab.Eventually(t, within, "the stream is up to date", func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.seen < n {
			return fmt.Errorf("the barrier was renewed %d times and the stream knows of %d", n, f.seen)
		}
		now = maps.Clone(f.now)
		if len(f.now) != len(f.leases) {
			return fmt.Errorf("%d leases in the state and %d told so far", len(f.now), len(f.leases))
		}
		return nil
	})
	return now
}

// traffic is what goes on while pages are read: two hosts open, renew and close ports, each port once, and the owner adds,
// switches and removes forwards. Nothing that was opened during one reading is closed during the same.
type traffic struct {
	readings atomic.Int64
	changes  atomic.Int64
	turn     chan struct{} // a reading is done
}

func (w *traffic) read() {
	w.readings.Add(1)
	select {
	case w.turn <- struct{}{}:
	default:
	}
}

// client is a host that makes at most 1,500 requests.
func (w *traffic) client(ctx context.Context, t *testing.T, host *lab.Host, next int) {
	type held struct {
		port  int
		since int64
	}
	var all []held
	for n := 0; n < 1500 && ctx.Err() == nil; n++ {
		action, port, fresh := "AddPortMapping", next, false
		switch {
		case len(all) > 30 && all[0].since < w.readings.Load():
			action, port, all = "DeletePortMapping", all[0].port, all[1:]
		case len(all) < 60 && n%3 != 2:
			fresh = true
			next++
		default:
			port = all[n%len(all)].port // a renewal
		}
		args := mapping(port, "UDP", port, host.Addr.String(), "600")
		if action == "DeletePortMapping" {
			args = which(port, "UDP")
		}
		code, _, err := call(ctx, host, "192.168.1.1", wanIP1, action, args)
		if ctx.Err() != nil {
			return
		}
		if err != nil || code != 0 {
			t.Errorf("%s %d: %d, %v", action, port, code, err)
			return
		}
		if w.changes.Add(1); fresh {
			all = append(all, held{port, w.readings.Load()})
		}
	}
}

// owner adds a forward after each reading, and later switches it off, on again, and removes it.
func (w *traffic) owner(ctx context.Context, t *testing.T, o *owner, to string) {
	var all []string
	for n := range 60 {
		select {
		case <-w.turn:
		case <-ctx.Done():
			return
		}
		var made web.RuleChange
		err := o.tryAPI(http.MethodPost, "/rules", map[string]any{"kind": "forward", "name": fmt.Sprint("rule ", n), "protocol": "tcp", "ports": strconv.Itoa(firstForward + n), "to": to}, &made)
		all = append(all, string(made.Rule.ID))
		for age, do := range map[int]string{3: "switch", 5: "switch", 7: "remove"} {
			if age < len(all) && err == nil {
				err = o.post("/forwards/"+all[len(all)-1-age]+"/"+do, "")
				w.changes.Add(1)
			}
		}
		if err != nil && ctx.Err() == nil {
			t.Error(err)
			return
		}
	}
}

// Promise 9: the list that a user sees is the list that is in force. While clients and the owner change it, each page, what
// programs get and the event stream are compared with the kernel, read before and after; and once more when all is quiet.
func TestPromise9EveryPageShowsWhatIsInForce(t *testing.T) {
	t.Parallel()
	for _, f := range []flavour{usual(), flavours()[2]} { // the pages do not know the variants of iptables
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			comparePages(t, f)
		})
	}
}

func comparePages(t *testing.T, f flavour) {
	home, d := newHome(t, f, lab.DaemonOptions{})
	o := newOwner(t, d, home.LAN2)
	for port := range 4 {
		mustClientCommand(t, home.LAN1, "map", "udp", strconv.Itoa(25000+port), "--ipv6")
		mustSOAP(t, home.LAN1, wanIP1, "AddPortMapping", mapping(25100+port, "TCP", 80, "192.168.1.10", strconv.Itoa(1+2*port))) // and they end by themselves
	}
	stream, renewals := follow(t, o), uint32(0)
	cross := func() {
		t.Helper()
		mustSOAP(t, home.LAN1, wanIP1, "AddPortMapping", mapping(barrier, "UDP", barrier, "192.168.1.10", "600"))
		renewals++
	}
	mustSOAP(t, home.LAN1, wanIP1, "AddPortMapping", mapping(barrier, "UDP", barrier, "192.168.1.10", "600"))

	all := append(looks(), look{"the event stream", isLease, func(*owner) passages { return stream.state(t, renewals) }})
	// What was in the kernel when it was read is in what is asked for after the barrier, which the same writer renews.
	compare := func(l look) {
		t.Helper()
		before := f.passages(t, home)
		cross()
		shown := l.read(o)
		after := f.passages(t, home)
		for _, wrong := range shown.tell(before.only(l.of), after.only(l.of)) {
			t.Errorf("%s: %s", l.name, wrong)
		}
	}

	ctx, end := context.WithCancel(t.Context())
	defer end()
	var load sync.WaitGroup
	w := traffic{turn: make(chan struct{}, 1)}
	load.Go(func() { w.client(ctx, t, home.LAN1, 20000) })
	load.Go(func() { w.client(ctx, t, home.LAN2, 22000) })
	load.Go(func() { w.owner(ctx, t, o, "192.168.1.10") })
	for range 3 {
		for _, l := range all {
			compare(l)
			w.read()
		}
	}
	end()
	load.Wait()
	if w.changes.Load() < 100 {
		t.Errorf("only %d changes while the pages were read", w.changes.Load())
	}

	lab.Eventually(t, within, "what had a second to live is gone", func() error {
		for key := range f.passages(t, home) {
			if strings.HasPrefix(key, "tcp 251") {
				return fmt.Errorf("%s is open", key)
			}
		}
		return nil
	})
	cross()
	kernel := f.passages(t, home)
	for _, l := range all {
		want, shown := kernel.only(l.of), l.read(o)
		if diff := cmp.Diff(keys(want), keys(shown)); diff != "" {
			t.Errorf("%s, when all is quiet (-kernel +page):\n%s", l.name, diff)
		}
		for _, wrong := range shown.tell(want, want) {
			t.Errorf("%s, when all is quiet: %s", l.name, wrong)
		}
	}
	t.Logf("%d changes during %d readings; %d open at the end", w.changes.Load(), w.readings.Load(), len(kernel))
}

func keys(p passages) map[string]bool {
	all := map[string]bool{}
	for key := range p {
		all[key] = true
	}
	return all
}
