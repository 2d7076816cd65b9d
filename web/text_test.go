package web

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/lease"
)

// The texts that templates choose while they run.
func chosenKeys() []string {
	var keys []string
	for _, code := range Codes() {
		keys = append(keys, "problem."+string(code))
	}
	for _, v := range []Verdict{VerdictReady, VerdictDoubleNAT, VerdictSharedAddress, VerdictNoAddress, VerdictNoWAN, VerdictNoLAN, VerdictTrouble} {
		keys = append(keys, "verdict."+string(v), "verdict."+string(v)+".text")
	}
	for _, s := range []WANState{WANPublic, WANShared, WANPrivate, WANNoAddress, WANDown} {
		keys = append(keys, "wan."+string(s))
	}
	for _, o := range []lease.Origin{lease.OriginUPnP, lease.OriginNATPMP, lease.OriginPCP, lease.OriginWeb, lease.OriginCLI, lease.OriginRouter} {
		keys = append(keys, "via."+string(o))
	}
	return append(keys, "leases.count.one", "leases.count.other", "leases.title", "setup.title", "login.title", "problem.title",
		"duration.days", "duration.hours", "duration.minutes", "duration.seconds")
}

func TestTextsAreThoseThatAreUsed(t *testing.T) {
	used := map[string]bool{}
	for _, key := range chosenKeys() {
		used[key] = true
	}
	call := regexp.MustCompile(`\bt "([a-z_.-]+)"`)
	names, err := fs.Glob(files, "template/*.html")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		body, err := files.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range call.FindAllStringSubmatch(string(body), -1) {
			used[found[1]] = true
		}
	}
	texts, err := loadCatalogue(language)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(slices.Sorted(maps.Keys(used)), slices.Sorted(maps.Keys(texts))); d != "" {
		t.Errorf("texts (-used +in the catalogue):\n%s", d)
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
	texts, err := loadCatalogue(language)
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
		lease.ErrChanged: CodeChanged, lease.ErrUnavailable: CodeUnavailable, lease.ErrStopping: CodeStopping,
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
	if strings.Contains(string(body), "null") || strings.Contains(string(body), "protocol-0") {
		t.Errorf("event = %s, want empty members", body)
	}
}
