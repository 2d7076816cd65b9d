package boltstore_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.etcd.io/bbolt"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/lease/boltstore"
	"github.com/portreeve/portreeve/test/netns"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(writerVariable); path != "" {
		writeUntilKilled(path)
		return
	}
	netns.Main(m)
}

// same compares what comes back from disk with what was given: times to the millisecond, by their value.
var same = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.Comparer(func(a, b time.Time) bool { return a.Sub(b).Abs() < time.Millisecond }),
	cmpopts.SortSlices(func(a, b lease.Lease) bool { return a.ID < b.ID }),
}

var instant = lease.Instant{
	Time: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), BootID: "boot-a", Boot: time.Hour, Synced: true,
}

func testLease(n int) lease.Lease {
	return lease.Lease{
		Mapping: lease.Mapping{
			Protocol: lease.UDP, External: netip.AddrPortFrom(netip.Addr{}, uint16(20000+n)),
			Internal:    netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 168, 1, byte(10 + n%200)}), uint16(3000+n)),
			Description: fmt.Sprintf("game %d \u2603 \"quoted\" <b>", n),
		},
		ID: lease.ID(fmt.Sprintf("id%06d", n)), Seq: uint64(n), Origin: lease.OriginUPnP,
		Client: netip.AddrFrom4([4]byte{192, 168, 1, byte(10 + n%200)}), Device: "02:00:00:00:00:01", Agent: "console/1.0",
		Created: instant.Time.Add(-time.Minute), Expires: instant.Time.Add(time.Hour + time.Duration(n)*time.Second), Renewals: 7,
	}
}

// richLease has something in every field.
func richLease() lease.Lease {
	l := testLease(1)
	l.Origin, l.Nonce = lease.OriginPCP, lease.Nonce{1, 2, 3, 11: 255}
	l.External = netip.MustParseAddrPort("[2001:db8::5]:443")
	l.Filters = []lease.Filter{{Prefix: netip.MustParsePrefix("198.51.100.0/24")}, {Prefix: netip.MustParsePrefix("2001:db8::/64"), Port: 53}}
	l.Ports, l.WAN = 16, "wan1"
	l.Permanent, l.Stuck = true, "the firewall does not answer"
	l.Note, l.EndFixed = "Anna's", true
	return l
}

// richRule has something in every field.
func richRule() lease.Rule {
	return lease.Rule{
		ID: "rule0001", Kind: lease.RuleForward, Name: "nas", Origin: lease.OriginCLI, Enabled: true,
		Protocols: []lease.Protocol{lease.TCP, lease.UDP}, Ports: lease.PortRange{First: 80, Last: 90}, To: 8080,
		Public:  netip.MustParseAddr("203.0.113.7"),
		Target:  lease.Target{Device: "02:00:00:00:00:01", Addr: netip.MustParseAddr("192.168.1.10"), CloseWhenGone: true},
		IPv6:    true,
		Sources: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}, Except: lease.PortSet{{First: 1, Last: 2}},
		WAN: "wan1", NoHairpin: true, FromRouter: true,
		Until:    instant.Time.Add(time.Hour),
		Schedule: lease.Schedule{{Days: []time.Weekday{time.Friday}, From: 60, To: 120}},
		Created:  instant.Time, Version: 3,
	}
}

func testEvent(seq uint64) lease.Event {
	return lease.Event{
		Seq: seq, Time: instant.Time.Add(time.Duration(seq) * time.Second), Kind: lease.EventOpened, By: lease.OriginUPnP, Who: "admin",
		Rule:  &lease.RuleNews{Change: lease.RuleOutOfForce, Rule: richRule(), Why: "it is switched off"},
		Lease: testLease(int(seq % 1000)), Reason: "asked for", Count: 1,
		Trace: lease.Trace{{Rule: "network", OK: true, Why: "on the LAN"}, {Rule: "device quota", Why: "129 of 128"}},
	}
}

func openStore(t *testing.T, path string) *boltstore.Store {
	t.Helper()
	s, err := boltstore.Open(t.Context(), path, boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func load(t *testing.T, s *boltstore.Store, now lease.Instant) lease.State {
	t.Helper()
	state, err := s.Load(t.Context(), now)
	if err != nil {
		t.Fatal(err)
	}
	return state
}

// reopen closes the store and returns what another one finds in its file, which must be sound.
func reopen(t *testing.T, s *boltstore.Store, path string, now lease.Instant) lease.State {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	mustBeSound(t, path)
	return load(t, openStore(t, path), now)
}

// mustBeSound asks bbolt itself about the file.
func mustBeSound(t *testing.T, path string) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.View(func(tx *bbolt.Tx) (err error) {
		for e := range tx.Check() {
			err = errors.Join(err, e)
		}
		return err
	})
	if err != nil {
		t.Fatalf("bbolt finds the file inconsistent: %v", err)
	}
}

func commit(t *testing.T, s *boltstore.Store, b lease.Batch) {
	t.Helper()
	if b.Now == (lease.Instant{}) {
		b.Now = instant
	}
	if err := s.Commit(t.Context(), b); err != nil {
		t.Fatal(err)
	}
}

func dbPath(t *testing.T) string { return filepath.Join(t.TempDir(), "portreeve.db") }

func TestStoreKeepsEverythingOverARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "not", "there", "yet", "portreeve.db")
	s := openStore(t, path)
	if diff := cmp.Diff(lease.State{}, load(t, s, instant)); diff != "" {
		t.Errorf("a new store is not empty (-want +got):\n%s", diff)
	}
	want := lease.State{
		Leases: []lease.Lease{richLease(), testLease(2), testLease(3)},
		Events: []lease.Event{testEvent(1), testEvent(2), {Seq: 3, Time: instant.Time, Kind: lease.EventTrouble, Reason: "x", Count: 9}},
		Rules:  []lease.Rule{richRule()},
		Epoch:  5 * time.Hour,
	}
	commit(t, s, lease.Batch{Epoch: want.Epoch, Put: want.Leases, Events: want.Events, PutRules: want.Rules})

	if diff := cmp.Diff(want, reopen(t, s, path, instant), same); diff != "" {
		t.Errorf("after a restart (-want +got):\n%s", diff)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, error %v: others may read the password's hash", info.Mode(), err)
	}
}

func TestCommitChangesAndDeletes(t *testing.T) {
	path := dbPath(t)
	s := openStore(t, path)
	commit(t, s, lease.Batch{Put: []lease.Lease{testLease(1), testLease(2)}, Events: []lease.Event{testEvent(1)}, PutRules: []lease.Rule{richRule()}})

	renewed, counted := testLease(1), testEvent(1)
	renewed.Renewals, renewed.Internal = 8, netip.MustParseAddrPort("192.168.1.77:77")
	counted.Count = 2
	commit(t, s, lease.Batch{
		Put: []lease.Lease{renewed}, Delete: []lease.ID{testLease(2).ID, "absent00"}, Events: []lease.Event{counted, testEvent(2)},
		DeleteRules: []lease.ID{richRule().ID, "absent00"},
	})
	commit(t, s, lease.Batch{}) // a heartbeat

	want := lease.State{Leases: []lease.Lease{renewed}, Events: []lease.Event{counted, testEvent(2)}}
	if diff := cmp.Diff(want, reopen(t, s, path, instant), same); diff != "" {
		t.Errorf("after a restart (-want +got):\n%s", diff)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	path := dbPath(t)
	s := openStore(t, path)
	var seq uint64
	for range 3 {
		var events []lease.Event
		for range lease.HistorySize/2 + 100 {
			seq++
			events = append(events, testEvent(seq))
		}
		commit(t, s, lease.Batch{Events: events})
	}
	got := reopen(t, s, path, instant).Events
	if len(got) != lease.HistorySize || got[0].Seq != seq-lease.HistorySize+1 || got[len(got)-1].Seq != seq {
		t.Errorf("got %d events, %d to %d; want the %d up to %d", len(got), got[0].Seq, got[len(got)-1].Seq, lease.HistorySize, seq)
	}
}

func TestRecords(t *testing.T) {
	path := dbPath(t)
	s := openStore(t, path)
	check := func(want string) {
		t.Helper()
		if got := userRecord(t, s); got != want {
			t.Errorf("record %q, want %q", got, want)
		}
	}
	check("")
	for _, hash := range []string{`{"v":1,"password_hash":"$argon2id$v=19$m=19456"}`, `{"v":1}`, "", `{"v":1,"role":"viewer"}`} {
		putUser(t, s, hash)
		check(hash)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openStore(t, path)
		check(hash)
	}
}

func TestOpenRefuses(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	dangling := filepath.Join(folder, "dangling")
	if err := os.Symlink("nowhere", dangling); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, path, want string }{
		{"a folder", folder, "it is not a regular file (drwx"},
		{"a path through a file", filepath.Join(file, "portreeve.db"), "a part of the path is not a folder"},
		{"a device", "/dev/null", "it is not a regular file"},
		{"a link to nowhere", dangling, "it is a link that leads nowhere"},
		{"a folder that the kernel owns", "/proc/portreeve.db", "/proc/portreeve.db"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := boltstore.Open(t.Context(), tt.path, boltstore.Options{})
			if err == nil {
				_ = s.Close()
			}
			mustMention(t, fmt.Sprint(err), tt.path, tt.want)
		})
	}
}

func TestOpenFollowsALink(t *testing.T) {
	target := dbPath(t)
	link := filepath.Join(t.TempDir(), "link.db")
	s := openStore(t, target)
	commit(t, s, lease.Batch{Put: []lease.Lease{testLease(1)}})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, link)
	commit(t, s, lease.Batch{Put: []lease.Lease{testLease(2)}})
	if state := reopen(t, s, target, instant); len(state.Leases) != 2 {
		t.Errorf("%d leases behind the link, want 2", len(state.Leases))
	}
}

func TestOneProcessAtATime(t *testing.T) {
	path := dbPath(t)
	s := openStore(t, path)
	commit(t, s, lease.Batch{Put: []lease.Lease{testLease(1)}})

	_, err := boltstore.Open(t.Context(), path, boltstore.Options{Wait: 50 * time.Millisecond})
	if !errors.Is(err, boltstore.ErrLocked) {
		t.Fatalf("a second Open: %v, want %v", err, boltstore.ErrLocked)
	}
	mustMention(t, err.Error(), path, "another portreeve")
	mustHaveFiles(t, filepath.Dir(path), "portreeve.db")

	// One that waits gets the file when it is released, with all that is in it by then.
	got := make(chan lease.State, 1)
	go func() {
		defer close(got)
		second, err := boltstore.Open(context.Background(), path, boltstore.Options{Wait: 30 * time.Second})
		if err != nil {
			t.Error(err)
			return
		}
		defer second.Close()
		state, err := second.Load(context.Background(), instant)
		if err != nil {
			t.Error(err)
		}
		got <- state
	}()
	commit(t, s, lease.Batch{Put: []lease.Lease{testLease(2)}})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if state := <-got; len(state.Leases) != 2 {
		t.Errorf("the one that waited found %d leases, want 2", len(state.Leases))
	}
}

func TestClosedStoreRefuses(t *testing.T) {
	s := openStore(t, dbPath(t))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, errLoad := s.Load(t.Context(), instant)
	for name, err := range map[string]error{
		"Commit": s.Commit(t.Context(), lease.Batch{Now: instant}), "Load": errLoad, "PutRecords": s.PutRecords(t.Context(), map[string]map[string][]byte{"users": {"x": nil}}),
	} {
		if err == nil {
			t.Errorf("%s of a closed store succeeds", name)
		}
	}
}

// The file is mapped into memory by bbolt. What it has looked at there shall not count as memory of ours for ever.
func TestTheMappedFileIsNoMemoryOfOurs(t *testing.T) {
	path := dbPath(t)
	s := openStore(t, path)
	for n := range 20 {
		var b lease.Batch
		for i := range 100 {
			b.Put = append(b.Put, testLease(100*n+i))
		}
		commit(t, s, b)
	}
	maps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	_, ours, found := strings.Cut(string(maps), path+"\n")
	if !found {
		t.Fatal("the file is not mapped")
	}
	for line := range strings.Lines(ours) {
		if kB, ok := strings.CutPrefix(line, "Rss:"); ok {
			if kB = strings.TrimSpace(kB); kB != "0 kB" {
				t.Errorf("%s of the file are in memory after a commit", kB)
			}
			return
		}
	}
}

// putUser stores the record of a user; an empty one takes it away.
func putUser(t *testing.T, s *boltstore.Store, text string) {
	t.Helper()
	var record []byte
	if text != "" {
		record = []byte(text)
	}
	if err := s.PutRecords(t.Context(), map[string]map[string][]byte{"users": {"admin": record}}); err != nil {
		t.Fatal(err)
	}
}

// userRecord returns what putUser has stored.
func userRecord(t *testing.T, s *boltstore.Store) string {
	t.Helper()
	all, err := s.Records(t.Context(), "users")
	if err != nil {
		t.Fatal(err)
	}
	return string(all["admin"])
}

func TestRecordsOfSeveralKindsChangeTogether(t *testing.T) {
	path := dbPath(t)
	s := openStore(t, path)
	err := s.PutRecords(t.Context(), map[string]map[string][]byte{
		"users": {"anna": []byte(`{"v":1}`)}, "sessions": {"aa": []byte(`{"v":1}`)}, "tokens": {"bb": []byte(`{"v":1}`)}, "audit": {"cc": []byte(`{"v":1}`)},
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, changes := range map[string]map[string]map[string][]byte{
		"a kind that does not exist": {"users": {"anna": nil}, "leases": {"x": []byte(`{"v":1}`)}},
		"what is no JSON":            {"users": {"anna": nil, "bob": []byte("bob")}},
	} {
		if err := s.PutRecords(t.Context(), changes); err == nil {
			t.Errorf("%s: stored", name)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, path)
	load(t, s, instant)
	for kind, key := range map[string]string{"users": "anna", "sessions": "aa", "tokens": "bb", "audit": "cc"} {
		all, err := s.Records(t.Context(), kind)
		if err != nil || len(all) != 1 || string(all[key]) != `{"v":1}` {
			t.Errorf("%s: %q, %v; want one with the key %s", kind, all, err, key)
		}
	}
	if _, err := s.Records(t.Context(), "leases"); err == nil {
		t.Error("leases can be read as records")
	}
}

func TestEventsThatLeaveBeforeTheirTurnAreForgotten(t *testing.T) {
	path := dbPath(t)
	s := openStore(t, path)
	commit(t, s, lease.Batch{Events: []lease.Event{testEvent(1), testEvent(2), testEvent(3)}})
	commit(t, s, lease.Batch{Events: []lease.Event{testEvent(4)}, Forget: []uint64{2, 77}})
	want := lease.State{Events: []lease.Event{testEvent(1), testEvent(3), testEvent(4)}}
	if diff := cmp.Diff(want, reopen(t, s, path, instant), same); diff != "" {
		t.Errorf("after a restart (-want +got):\n%s", diff)
	}
}
