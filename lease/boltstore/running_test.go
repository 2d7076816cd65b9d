package boltstore_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/lease/boltstore"
)

// interference is what somebody may do to the file while we have it open.
type interference struct {
	name   string
	change func(t *testing.T, path string, old []byte) error
	kept   bool // what is there then is not ours, and kept
}

func interferences() []interference {
	stranger := []byte("not a store at all")
	return []interference{
		{"removed", func(_ *testing.T, path string, _ []byte) error { return os.Remove(path) }, false},
		{"its folder removed and made again", func(_ *testing.T, path string, _ []byte) error {
			folder := filepath.Dir(path)
			if err := os.RemoveAll(folder); err != nil {
				return err
			}
			return os.Mkdir(folder, 0o700)
		}, false},
		{"renamed", func(t *testing.T, path string, _ []byte) error {
			return os.Rename(path, filepath.Join(t.TempDir(), "elsewhere"))
		}, false},
		{"replaced", func(t *testing.T, path string, _ []byte) error {
			other := filepath.Join(filepath.Dir(path), "other")
			if err := os.WriteFile(other, stranger, 0o600); err != nil {
				return err
			}
			return os.Rename(other, path)
		}, true},
		{"replaced by a folder", func(_ *testing.T, path string, _ []byte) error {
			if err := os.Remove(path); err != nil {
				return err
			}
			return os.Mkdir(path, 0o700)
		}, true},
		{"emptied", func(_ *testing.T, path string, _ []byte) error { return os.Truncate(path, 0) }, true},
		{"cut short", func(_ *testing.T, path string, _ []byte) error { return os.Truncate(path, 3*4096) }, true},
		{"written over", func(_ *testing.T, path string, _ []byte) error { return os.WriteFile(path, stranger, 0o600) }, true},
		{"written over by an older copy", func(_ *testing.T, path string, old []byte) error { return os.WriteFile(path, old, 0o600) }, true},
	}
}

func TestFileChangedWhileRunning(t *testing.T) {
	for _, tt := range interferences() {
		t.Run(tt.name, func(t *testing.T) {
			path := dbPath(t)
			s := openStore(t, path)
			commit(t, s, lease.Batch{Put: []lease.Lease{testLease(1)}})
			old, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			commit(t, s, lease.Batch{Put: []lease.Lease{testLease(2)}, Events: []lease.Event{testEvent(1)}})
			putUser(t, s, `{"v":1}`)
			if err := tt.change(t, path, old); err != nil {
				t.Fatal(err)
			}
			commit(t, s, lease.Batch{Put: []lease.Lease{testLease(3)}, Delete: []lease.ID{testLease(1).ID}})
			commit(t, s, lease.Batch{Put: []lease.Lease{testLease(4)}})

			want := []string{"portreeve.db"}
			if tt.kept {
				want = append(want, "portreeve.db.replaced-1")
			}
			mustHaveFiles(t, filepath.Dir(path), want...)
			state := reopen(t, s, path, instant)
			if diff := cmp.Diff([]lease.Lease{testLease(2), testLease(3), testLease(4)}, state.Leases, same); diff != "" || len(state.Events) != 1 {
				t.Errorf("%d events; leases (-want +got):\n%s", len(state.Events), diff)
			}
		})
	}
}

func TestFolderGoneWhileRunning(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "portreeve.db")
	s := openStore(t, path)
	commit(t, s, lease.Batch{Put: []lease.Lease{testLease(1)}})
	if err := os.RemoveAll(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	err := s.Commit(t.Context(), lease.Batch{Now: instant, Put: []lease.Lease{testLease(2)}})
	if err == nil {
		t.Fatal("a commit without a place on disk was acknowledged")
	}
	mustMention(t, err.Error(), path)
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	commit(t, s, lease.Batch{Put: []lease.Lease{testLease(3)}})
	state := reopen(t, s, path, instant)
	if diff := cmp.Diff([]lease.Lease{testLease(1), testLease(3)}, state.Leases, same); diff != "" {
		t.Errorf("after a restart (-want +got):\n%s", diff)
	}
}

// smallDisk mounts a file system of the given size, visible only to this test binary.
func smallDisk(t *testing.T, bytes int) string {
	t.Helper()
	folder := t.TempDir()
	if err := unix.Mount("tmpfs", folder, "tmpfs", 0, fmt.Sprintf("size=%d", bytes)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(folder, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return folder
}

// fillDisk writes until nothing more fits, and returns the function that makes room again.
func fillDisk(t *testing.T, folder string) (makeRoom func()) {
	t.Helper()
	name := filepath.Join(folder, "filler")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for page := make([]byte, 4096); err == nil; {
		_, err = f.Write(page)
	}
	return func() {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDiskFullWhileRunning(t *testing.T) {
	folder := smallDisk(t, 1<<20)
	path := filepath.Join(folder, "portreeve.db")
	s := openStore(t, path)
	var want []lease.Lease
	for n := range 20 {
		want = append(want, testLease(n))
	}
	commit(t, s, lease.Batch{Put: want})

	for round := range 3 {
		makeRoom := fillDisk(t, folder)
		var large lease.Batch
		for n := range 200 { // more than the free pages of the file can take
			large.Put = append(large.Put, testLease(1000+n))
		}
		large.Now = instant
		for range 3 {
			err := s.Commit(t.Context(), large)
			if err == nil {
				t.Fatal("a commit without space was acknowledged")
			}
			mustMention(t, err.Error(), path, "the disk is full")
		}
		makeRoom()
		next := testLease(100 + round)
		commit(t, s, lease.Batch{Put: []lease.Lease{next}})
		want = append(want, next)
	}
	state := reopen(t, s, path, instant)
	if diff := cmp.Diff(want, state.Leases, same); diff != "" || state.Notice != "" {
		t.Errorf("notice %q; leases (-want +got):\n%s", state.Notice, diff)
	}
}

func TestDiskFullAtOpen(t *testing.T) {
	folder := smallDisk(t, 1<<20)
	path := filepath.Join(folder, "portreeve.db")
	s := openStore(t, path)
	commit(t, s, lease.Batch{Put: []lease.Lease{testLease(1)}})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	makeRoom := fillDisk(t, folder)

	s = openStore(t, path)
	state := load(t, s, instant)
	mustMention(t, state.Notice, path, "the disk is full", "new mappings are refused")
	if diff := cmp.Diff([]lease.Lease{testLease(1)}, state.Leases, same); diff != "" {
		t.Errorf("leases (-want +got):\n%s", diff)
	}
	if err := s.Commit(t.Context(), lease.Batch{Now: instant, Put: []lease.Lease{testLease(2)}}); err == nil {
		t.Error("a commit without space was acknowledged")
	}
	_, err := boltstore.Open(t.Context(), filepath.Join(folder, "another.db"), boltstore.Options{})
	mustMention(t, fmt.Sprint(err), "another.db", "the disk is full")
	makeRoom()
	mustHaveFiles(t, folder, "portreeve.db")

	commit(t, s, lease.Batch{Put: []lease.Lease{testLease(3)}})
	state = reopen(t, s, path, instant)
	if diff := cmp.Diff([]lease.Lease{testLease(1), testLease(3)}, state.Leases, same); diff != "" || state.Notice != "" {
		t.Errorf("notice %q; leases (-want +got):\n%s", state.Notice, diff)
	}
}

// writerVariable tells the test binary to be the process that is killed.
const writerVariable = "PORTREEVE_TEST_BOLTSTORE_WRITER"

const (
	leasesPerBatch = 3
	liveBatches    = 20 // older ones are deleted
)

// writeUntilKilled commits batch after batch and says on standard output which one was acknowledged.
func writeUntilKilled(path string) {
	fail := func(err error) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	ctx := context.Background()
	s, err := boltstore.Open(ctx, path, boltstore.Options{Wait: 5 * time.Second})
	if err != nil {
		fail(err)
	}
	state, err := s.Load(ctx, instant)
	if err != nil {
		fail(err)
	}
	first := 0
	for _, l := range state.Leases {
		first = max(first, int(l.Seq)/leasesPerBatch+1)
	}
	for n := first; n < first+100000; n++ {
		b := lease.Batch{Now: instant, Events: []lease.Event{testEvent(uint64(n + 1))}}
		for i := range leasesPerBatch {
			b.Put = append(b.Put, testLease(n*leasesPerBatch+i))
			if n >= liveBatches {
				b.Delete = append(b.Delete, testLease((n-liveBatches)*leasesPerBatch+i).ID)
			}
		}
		if err := s.Commit(ctx, b); err != nil {
			fail(err)
		}
		fmt.Println(n)
	}
}

func TestKilledWhileWriting(t *testing.T) {
	path := dbPath(t)
	next := 0
	for round := range 12 {
		acknowledged := killedWriter(t, path, 1+7*round)
		s := openStore(t, path)
		state := load(t, s, instant)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		mustBeSound(t, path)
		if state.Notice != "" {
			t.Errorf("round %d: notice %q", round, state.Notice)
		}
		found := map[int]int{}
		last := -1
		for _, l := range state.Leases {
			batch := int(l.Seq) / leasesPerBatch
			found[batch]++
			last = max(last, batch)
		}
		if last != acknowledged && last != acknowledged+1 {
			t.Errorf("round %d: the last batch is %d, but %d was acknowledged", round, last, acknowledged)
		}
		for batch := max(0, last-liveBatches+1); batch <= last; batch++ {
			if found[batch] != leasesPerBatch {
				t.Errorf("round %d: %d of %d leases of batch %d", round, found[batch], leasesPerBatch, batch)
			}
		}
		if len(found) != min(last+1, liveBatches) || len(state.Events) != last+1 {
			t.Errorf("round %d: %d batches and %d events, want %d and %d", round, len(found), len(state.Events), min(last+1, liveBatches), last+1)
		}
		if acknowledged < next {
			t.Errorf("round %d: went back from batch %d to %d", round, next, acknowledged)
		}
		next = last + 1
	}
}

// killedWriter runs a writer, kills it in the middle of what follows the given number of batches, and returns the
// last batch that it had acknowledged.
func killedWriter(t *testing.T, path string, batches int) (acknowledged int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), writerVariable+"="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	acknowledged = -1
	for n := 0; lines.Scan(); n++ {
		if _, err := fmt.Sscan(lines.Text(), &acknowledged); err != nil {
			t.Fatal(err)
		}
		if n == batches {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Fatalf("the writer ended by itself: %v", err)
	}
	return acknowledged
}
