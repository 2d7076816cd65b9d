package web

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/notify"
	"github.com/portreeve/portreeve/wan"
)

// The texts that templates, the script and the handlers choose while they run.
func chosenKeys() []string {
	var keys []string
	for _, code := range Codes() {
		keys = append(keys, "problem."+string(code))
	}
	for _, v := range []Verdict{VerdictReady, VerdictDoubleNAT, VerdictSharedAddress, VerdictNoAddress, VerdictNoWAN, VerdictPaused, VerdictNoLAN, VerdictTrouble} {
		keys = append(keys, "verdict."+string(v), "verdict."+string(v)+".text")
	}
	for _, s := range []WANState{WANPublic, WANShared, WANPrivate, WANNoAddress, WANDown} {
		keys = append(keys, "wan."+string(s))
	}
	for _, o := range []lease.Origin{lease.OriginUPnP, lease.OriginNATPMP, lease.OriginPCP, lease.OriginWeb, lease.OriginCLI, lease.OriginRouter, lease.OriginConfig} {
		keys = append(keys, "via."+string(o))
	}
	for _, k := range eventKinds() {
		keys = append(keys, "event."+string(k))
	}
	for _, r := range risks() {
		keys = append(keys, "risk."+r, "risk."+r+".text")
	}
	for _, w := range glossary() {
		keys = append(keys, "word."+w, "word."+w+".text")
	}
	for _, d := range doneTexts() {
		keys = append(keys, "done."+d)
	}
	for _, access := range []string{inherit, string(lease.AccessAllow), string(lease.AccessAsk), string(lease.AccessDeny)} {
		keys = append(keys, "accessword."+access)
	}
	for _, p := range lease.ProtocolNames() {
		keys = append(keys, "protocol."+p)
	}
	for _, state := range LeaseStates() {
		keys = append(keys, "state."+string(state), "state."+string(state)+".text")
	}
	for _, by := range append(leaseGroups(), "none") {
		keys = append(keys, "group."+by)
	}
	for _, undone := range []string{"undo.closed", "undo.blocked", "undo.forbidden"} {
		keys = append(keys, undone+".one", undone+".other")
	}
	for _, step := range welcomeSteps() {
		keys = append(keys, "welcome."+step, "welcome."+step+".intro", "welcome."+step+".short")
	}
	for _, who := range whoMay() {
		keys = append(keys, "who."+who, "who."+who+".text")
	}
	for _, s := range []WANState{WANPublic, WANShared, WANPrivate, WANNoAddress, WANDown, "none"} {
		keys = append(keys, "welcome.wan."+string(s))
	}
	for _, r := range []wan.Reason{
		wan.ReasonReady, wan.ReasonOffline, wan.ReasonPrivate, wan.ReasonShared, wan.ReasonSpecial, wan.ReasonFirewall, wan.ReasonPaused, wan.ReasonSilent,
		wan.ReasonDenied, wan.ReasonAsk,
	} {
		keys = append(keys, "nat.reason."+string(r))
	}
	keys = append(keys, "welcome.found.wan", "welcome.found.lan", "welcome.found.protocols", "welcome.lan.served", "welcome.lan.none", "welcome.upnp", "welcome.nat-pmp", "welcome.pcp",
		"strip.ready", "strip.limits", "strip.unreachable", "strip.paused", "strip.fix", "strip.console", "strip.exposure", "check.tone.good", "check.tone.warn", "check.tone.bad",
		"nat.xbox", "nat.playstation", "nat.switch", "nat.xbox.open", "nat.xbox.moderate", "nat.xbox.strict", "nat.playstation.1", "nat.playstation.2", "nat.playstation.3",
		"nat.switch.A", "nat.switch.B", "nat.switch.C", "nat.switch.D", "nat.switch.F",
		"check.configuration", "check.store", "check.firewall", "check.forwarding", "check.rules", "check.policy", "check.wan", "check.lan", "check.port", "check.miniupnpd")
	for _, p := range presets() {
		keys = append(keys, "preset."+p.Name)
	}
	actions := map[string]bool{"setup": true, "login": true, "logout": true, "setup-code.make": true, "backup.take": true}
	for _, rt := range (&Server{}).routes(access{}) {
		actions[rt.action] = true
	}
	for _, p := range (&Server{}).ownerPages() {
		actions[p.action] = true
	}
	delete(actions, "")
	for action := range actions {
		keys = append(keys, "audit."+action)
	}
	for _, w := range []string{worksWaits, worksUsed, worksOpen, worksBlocked, worksRefused, worksSilent} {
		keys = append(keys, "works."+w, "works."+w+".text")
	}
	for _, a := range Areas() {
		keys = append(keys, "area."+string(a))
	}
	for _, k := range deviceKinds() {
		keys = append(keys, "devicekind."+k)
	}
	for _, did := range []string{inherit, "allow", "ask", "deny", "closed", "forgotten", "saved"} {
		keys = append(keys, "undo.device."+did)
	}
	for _, l := range languages() {
		keys = append(keys, "language."+l)
	}
	for _, k := range notify.Kinds() {
		keys = append(keys, "news."+string(k))
	}
	for _, k := range notify.TargetKinds() {
		keys = append(keys, "notify.kind."+string(k), "notify.help."+string(k))
	}
	for _, p := range periods() {
		keys = append(keys, "when."+p)
	}
	for _, k := range []timeKind{timeOpen, timeClosed, timeForward, timeWide} {
		keys = append(keys, "timeline."+string(k))
	}
	for _, verb := range lease.RuleVerbs() {
		keys = append(keys, "became."+string(verb))
	}
	for _, by := range []lease.Origin{lease.OriginWeb, lease.OriginCLI} {
		keys = append(keys, "by."+string(by), "by.owner."+string(by))
	}
	keys = append(keys, "by.token")
	for _, unit := range []string{"round.days", "round.hours", "round.minutes"} {
		keys = append(keys, unit+".one", unit+".other")
	}
	for _, one := range notify.Securities() {
		keys = append(keys, "notify.security."+string(one))
	}
	return append(keys, "duration.days", "duration.hours", "duration.minutes", "duration.seconds", "time.moment", "time.day", "done.removed",
		"policy.allow", "policy.ask", "policy.deny", "setting.config", "setting.owner", "setting.default", "origin.config", "origin.web", "origin.cli", "theme.auto", "theme.light", "theme.dark")
}

func TestTextsAreThoseThatAreUsed(t *testing.T) {
	used := map[string]bool{}
	for _, key := range chosenKeys() {
		used[key] = true
	}
	for pattern, find := range map[string]*regexp.Regexp{
		"template/*.html": regexp.MustCompile(`\b(t|count) "([a-z0-9_.-]+)"`),
		"page*.go":        regexp.MustCompile(`(Title|Done)\s*[:=]+ "([a-z0-9_.-]+[a-z0-9])"`),
	} {
		// The pages' own source is no part of the program, so it is read from the folder that the test runs in.
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatal(names, err)
		}
		for _, name := range names {
			body, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, found := range find.FindAllStringSubmatch(string(body), -1) {
				if key := found[2]; found[1] == "count" {
					used[key+".one"], used[key+".other"] = true, true
				} else {
					used[key] = true
				}
			}
		}
	}
	for _, language := range languages() {
		texts, err := loadCatalogue(language)
		if err != nil {
			t.Fatal(err)
		}
		maps.DeleteFunc(texts, func(key, _ string) bool {
			group, _, _ := strings.Cut(key, ".")
			return group == "trace" || group == "source" || group == "field" || group == "role" // names that others give, and for which there need not be a text
		})
		wanted := maps.Clone(used)
		maps.DeleteFunc(wanted, func(key string, _ bool) bool { return strings.HasPrefix(key, "trace.") })
		if d := cmp.Diff(slices.Sorted(maps.Keys(wanted)), slices.Sorted(maps.Keys(texts))); d != "" {
			t.Errorf("%s: texts (-used +in the catalogue):\n%s", language, d)
		}
	}
}

// A text has the same names in braces in each language, and no language lacks one.
func TestTextsAreTheSameInEachLanguage(t *testing.T) {
	english, err := loadCatalogue("en")
	if err != nil {
		t.Fatal(err)
	}
	braces := regexp.MustCompile(`\{[a-z]+\}`)
	for _, language := range languages()[1:] {
		texts, err := loadCatalogue(language)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(slices.Sorted(maps.Keys(english)), slices.Sorted(maps.Keys(texts))); d != "" {
			t.Errorf("%s: keys (-English +%s):\n%s", language, language, d)
		}
		for key, text := range texts {
			want, got := braces.FindAllString(english[key], -1), braces.FindAllString(text, -1)
			slices.Sort(want)
			slices.Sort(got)
			if !slices.Equal(want, got) || strings.TrimSpace(text) == "" {
				t.Errorf("%s: %s has the names %q, want those of the English text, %q", language, key, got, want)
			}
		}
	}
}

func TestLanguageIsChosen(t *testing.T) {
	for header, want := range map[string]string{
		"": "en", "zh-CN,zh;q=0.9,en;q=0.8": "zh", "en-GB,en;q=0.9,zh;q=0.5": "en", "zh-TW": "zh", "de, zh;q=0.1": "zh", "de": "en",
		"en;q=0, zh;q=0.1": "zh", "zh;q=x, en;q=0.2": "en", "ZH": "zh", ";;;,,=": "en",
	} {
		if got := preferred(header); got != want {
			t.Errorf("%q: %s, want %s", header, got, want)
		}
	}
}

func TestFormsLeadBackToThisServerOnly(t *testing.T) {
	for path, want := range map[string]string{
		"/leases?q=x": "/leases?q=x", "": "/", "http://evil.example/": "/", "//evil.example": "/", `/\evil.example`: "/", "/a\r\nb": "/", "leases": "/",
	} {
		if got := ownPath(path); got != want {
			t.Errorf("%q: %q, want %q", path, got, want)
		}
	}
}

func TestTextWithoutKeyIsAnError(t *testing.T) {
	if _, err := (catalogue{}).text("nothing"); err == nil {
		t.Error("no error")
	}
}

func TestDuration(t *testing.T) {
	tests := []struct {
		d    time.Duration
		want string
	}{
		{0, "0 s"},
		{59 * time.Second, "59 s"},
		{61 * time.Second, "1 min 01 s"},
		{time.Hour, "1 h 00 min"},
		{2*time.Hour + 5*time.Minute + 59*time.Second, "2 h 05 min"},
		{7 * 24 * time.Hour, "7 d 0 h"},
	}
	texts, err := loadCatalogue("en")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		if got, err := texts.duration(seconds(tt.d)); err != nil || got != tt.want {
			t.Errorf("duration(%s) = %q, %v, want %q", tt.d, got, err, tt.want)
		}
	}
}

func TestEveryErrorOfTheManagerHasItsCode(t *testing.T) {
	codes := map[error]Code{
		lease.ErrInvalid: CodeInvalid, lease.ErrProtocol: CodeInvalid, lease.ErrNotAuthorized: CodeNotAllowed,
		lease.ErrThirdParty: CodeNotAllowed, lease.ErrPort: CodeNotAllowed, lease.ErrNonce: CodeNotAllowed, lease.ErrReserved: CodeReserved,
		lease.ErrConflict: CodeConflict, lease.ErrQuota: CodeExhausted, lease.ErrFull: CodeExhausted, lease.ErrNotFound: CodeNoLease,
		lease.ErrChanged: CodeChanged, lease.ErrUnavailable: CodeUnavailable, lease.ErrWaiting: CodeUnavailable, lease.ErrPaused: CodeUnavailable, lease.ErrStopping: CodeStopping,
	}
	for _, err := range append(lease.Errors(), lease.ErrChanged) {
		if got := problemOf(errors.Join(errors.New("closing"), err)).Code; got != codes[err] {
			t.Errorf("problemOf(%v) = %s, want %s", err, got, codes[err])
		}
	}
	if p := problemOf(errors.New("secret path")); strings.Contains(p.Detail, "secret") {
		t.Errorf("an error from inside is told to the other end: %s", p.Detail)
	}
}

func TestDiff(t *testing.T) {
	list := func(seqs string) (all []lease.Lease) {
		for _, seq := range seqs {
			l := lease.Lease{Seq: uint64(seq | 0x20), ID: lease.ID(strings.ToLower(string(seq)))}
			if seq < 'a' { // an upper case letter is the same lease, changed
				l.Renewals = 1
			}
			all = append(all, l)
		}
		return all
	}
	ids := func(all []lease.Lease) (s string) {
		for _, l := range all {
			s += string(l.ID)
		}
		return s
	}
	tests := []struct{ before, now, changed, gone string }{
		{"", "", "", ""},
		{"", "ab", "ab", ""},
		{"ab", "", "", "ab"},
		{"abc", "abc", "", ""},
		{"abc", "aBc", "b", ""},
		{"abc", "acd", "d", "b"},
		{"bd", "abcd", "ac", ""},
		{"abcd", "Bd", "b", "ac"},
		{"ab", "cd", "cd", "ab"},
	}
	for _, tt := range tests {
		changed, gone := diff(list(tt.before), list(tt.now))
		var goneIDs string
		for _, id := range gone {
			goneIDs += string(id)
		}
		if ids(changed) != tt.changed || goneIDs != tt.gone {
			t.Errorf("diff(%q, %q) = %q, %q, want %q, %q", tt.before, tt.now, ids(changed), goneIDs, tt.changed, tt.gone)
		}
	}
}

// An event of the history knows no lease when it is about trouble, and its JSON is still complete.
func TestTroubleIsAnEventWithoutMapping(t *testing.T) {
	body, err := json.Marshal(event(lease.Event{Seq: 1, Kind: lease.EventTrouble, By: lease.OriginRouter, Reason: "disk full", Count: 1}))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(body), "null") != 2 /* rule and open_seconds */ || strings.Contains(string(body), "protocol-0") {
		t.Errorf("event = %s, want empty members, and that there is no rule and no time", body)
	}
}

// Chinese has punctuation of its own, and a space where it meets another script.
func TestChineseIsWrittenAsSuch(t *testing.T) {
	texts, err := loadCatalogue("zh")
	if err != nil {
		t.Fatal(err)
	}
	core, err := files.ReadFile("locale/zh.core.json")
	if err != nil {
		t.Fatal(err)
	}
	var pairs [][2]string
	if err := json.Unmarshal(core, &pairs); err != nil {
		t.Fatal(err)
	}
	for _, pair := range pairs {
		texts[pair[0]] = pair[1]
	}
	for name, wrong := range map[string]*regexp.Regexp{
		"half-width punctuation":   regexp.MustCompile(`\p{Han}[,:;?!()]|[,;?!()]\p{Han}`),
		"a space within":           regexp.MustCompile(`\p{Han} \p{Han}| [，。；：（）]|[，。；：（）] `),
		"no space to another word": regexp.MustCompile(`\p{Han}[A-Za-z]|[A-Za-z]\p{Han}`),
	} {
		for key, text := range texts {
			if at := wrong.FindString(text); at != "" {
				t.Errorf("%s: %s: %q in %q", key, name, at, text)
			}
		}
	}
}
