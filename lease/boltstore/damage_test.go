package boltstore_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/lease/boltstore"
)

func mustMention(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q does not mention %q", text, part)
		}
	}
}

func mustHaveFiles(t *testing.T, folder string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files in the folder (-want +got):\n%s", diff)
	}
}

// fullFile returns the octets of a store with a hundred leases and events, made in many transactions so that the tree
// has branches, free pages and large rows.
func fullFile(t *testing.T) (image []byte, state lease.State) {
	t.Helper()
	path := dbPath(t)
	s := openStore(t, path)
	putUser(t, s, `{"v":1}`)
	for n := range 26 { // the last one deletes nothing: when its meta page is damaged, what was before it counts
		b := lease.Batch{Epoch: 1000 * 1e9}
		for i := range 5 {
			l := testLease(5*n + i)
			if i == 0 {
				l.Description = strings.Repeat("long ", 50)
			}
			b.Put = append(b.Put, l)
			b.Events = append(b.Events, testEvent(uint64(5*n+i+1)))
		}
		if n%3 == 0 && n > 0 {
			b.Delete = []lease.ID{testLease(n).ID}
		}
		commit(t, s, b)
	}
	state = load(t, s, instant)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	image, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return image, state
}

// survive opens a store on a damaged image. Whatever the damage is: the process lives, what it finds was there before in exactly
// this form, what is missing is told, a refused file is kept, and the store works afterwards.
func survive(t *testing.T, image []byte, before lease.State) (got lease.State) {
	t.Helper()
	path := dbPath(t)
	if err := os.WriteFile(path, image, 0o600); err != nil {
		t.Fatal(err)
	}
	s := openStore(t, path)
	got = load(t, s, instant)
	known := map[lease.ID]lease.Lease{}
	for _, l := range before.Leases {
		known[l.ID] = l
	}
	for _, l := range got.Leases {
		if !reflect.DeepEqual(known[l.ID], l) {
			t.Errorf("a lease that nobody granted (-want +got):\n%s", cmp.Diff(known[l.ID], l, same))
		}
	}
	whole := len(got.Leases) == len(before.Leases) && len(got.Events) == len(before.Events)
	if !whole && got.Notice == "" {
		t.Errorf("%d of %d leases and %d of %d events, and not a word about it",
			len(got.Leases), len(before.Leases), len(got.Events), len(before.Events))
	}
	if len(got.Leases) < len(before.Leases) && got.Epoch != 0 {
		t.Errorf("leases were lost, but the epoch goes on from %s", got.Epoch)
	}
	if len(got.Leases) == 0 {
		kept, err := os.ReadFile(path + ".damaged-1")
		if err != nil || !bytes.Equal(kept, image) {
			t.Errorf("the damaged file was not kept as it was: %v", err)
		}
		mustMention(t, got.Notice, path+".damaged-1", "devices ask for their ports again")
	}
	more := testLease(9000)
	commit(t, s, lease.Batch{Put: []lease.Lease{more}})
	again := reopen(t, s, path, instant)
	if len(again.Leases) != len(got.Leases)+1 || again.Notice != "" {
		t.Errorf("then %d leases and notice %q, want %d and none", len(again.Leases), again.Notice, len(got.Leases)+1)
	}
	return got
}

func TestTruncatedFile(t *testing.T) {
	image, before := fullFile(t)
	const step = 4096
	for size := 0; size < len(image); size += step {
		t.Run(fmt.Sprintf("%d of %d bytes", size, len(image)), func(t *testing.T) {
			survive(t, image[:size], before)
		})
	}
	t.Run("not at a page", func(t *testing.T) { survive(t, image[:3*step+77], before) })
}

func TestRandomDamage(t *testing.T) {
	image, before := fullFile(t)
	for seed := range uint64(100) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			damaged := bytes.Clone(image)
			for range 1 + random.IntN(8) {
				// Headers of pages are where a flipped bit hurts most.
				at := random.IntN(len(damaged))
				if random.IntN(2) == 0 {
					at = at/4096*4096 + random.IntN(80)
				}
				damaged[at] ^= 1 << random.IntN(8)
			}
			survive(t, damaged, before)
		})
	}
}

func TestEveryPageWiped(t *testing.T) {
	image, before := fullFile(t)
	for at := 0; at+4096 <= len(image); at += 4096 {
		for name, fill := range map[string]byte{"zeros": 0, "ones": 0xff} {
			t.Run(fmt.Sprintf("page %d all %s", at/4096, name), func(t *testing.T) {
				damaged := bytes.Clone(image)
				copy(damaged[at:], bytes.Repeat([]byte{fill}, 4096))
				survive(t, damaged, before)
			})
		}
	}
}

func TestStrangeFiles(t *testing.T) {
	other := dbPath(t)
	db, err := bbolt.Open(other, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("recipes")); return err })
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := os.ReadFile(other)
	if err != nil {
		t.Fatal(err)
	}
	for name, image := range map[string][]byte{
		"empty": {}, "a text": []byte("leases:\n"), "zeros": make([]byte, 1<<16), "of another program": foreign,
	} {
		t.Run(name, func(t *testing.T) { survive(t, image, lease.State{}) })
	}
}

func TestDamagedFilesAreNeverOverwritten(t *testing.T) {
	path := dbPath(t)
	want := []string{"portreeve.db"}
	for n := range 3 {
		if err := os.WriteFile(path, fmt.Appendf(nil, "damage %d", n), 0o600); err != nil {
			t.Fatal(err)
		}
		s := openStore(t, path)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		want = append(want, fmt.Sprintf("portreeve.db.damaged-%d", n+1))
	}
	mustHaveFiles(t, filepath.Dir(path), want...)
	for n := range 3 {
		if got, err := os.ReadFile(fmt.Sprintf("%s.damaged-%d", path, n+1)); err != nil || string(got) != fmt.Sprintf("damage %d", n) {
			t.Errorf("damaged-%d holds %q, error %v", n+1, got, err)
		}
	}
}

func TestUnreadableFile(t *testing.T) {
	path := dbPath(t)
	s := openStore(t, path)
	commit(t, s, lease.Batch{Put: []lease.Lease{testLease(1)}})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0); err != nil {
		t.Fatal(err)
	}
	asMortal(t, func() {
		s := openStore(t, path)
		state := load(t, s, instant)
		if len(state.Leases) != 0 || state.Epoch != 0 {
			t.Errorf("%d leases, epoch %s from a file that cannot be read", len(state.Leases), state.Epoch)
		}
		mustMention(t, state.Notice, path+".unreadable-1", "may not read it")
		commit(t, s, lease.Batch{Put: []lease.Lease{testLease(2)}})
	})
	mustHaveFiles(t, filepath.Dir(path), "portreeve.db", "portreeve.db.unreadable-1")
}

func TestFolderThatMayNotBeWritten(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "locked")
	path := filepath.Join(folder, "portreeve.db")
	s := openStore(t, path)
	commit(t, s, lease.Batch{Put: []lease.Lease{testLease(1)}})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(folder, 0o500); err != nil {
		t.Fatal(err)
	}
	asMortal(t, func() {
		_, err := boltstore.Open(t.Context(), filepath.Join(folder, "another.db"), boltstore.Options{})
		mustMention(t, fmt.Sprint(err), folder, "permission denied", "let the user that portreeve runs as write")

		// What is there is loaded all the same, and is stored again when that is possible.
		s := openStore(t, path)
		state := load(t, s, instant)
		if len(state.Leases) != 1 {
			t.Errorf("%d leases, want 1", len(state.Leases))
		}
		mustMention(t, state.Notice, path, "new mappings are refused", "let the user that portreeve runs as write")
		if err := s.Commit(t.Context(), lease.Batch{Now: instant, Put: []lease.Lease{testLease(2)}}); err == nil {
			t.Error("a commit into a folder that may not be written succeeds")
		}
		if _, err := boltstore.Open(t.Context(), path, boltstore.Options{}); err == nil {
			t.Error("a second store on the same file")
		}
		if err := os.Chmod(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		commit(t, s, lease.Batch{Put: []lease.Lease{testLease(3)}})
		state = reopen(t, s, path, instant)
		if diff := cmp.Diff([]lease.Lease{testLease(1), testLease(3)}, state.Leases, same); diff != "" {
			t.Errorf("after a restart (-want +got):\n%s", diff)
		}
	})
}

// asMortal runs f without root's right to pass by the permissions of files.
func asMortal(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine, and the lack of rights with it
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var caps [2]unix.CapUserData
		if err := unix.Capget(&header, &caps[0]); err != nil {
			t.Error(err)
			return
		}
		caps[0].Effective &^= 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_DAC_READ_SEARCH
		if err := unix.Capset(&header, &caps[0]); err != nil {
			t.Error(err)
			return
		}
		f()
	}()
	<-done
}
