package boltstore_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/lease/boltstore"
)

// The disk writes what it was given in any order until somebody waits for it. Whichever part of a transaction is on it when
// the power fails, what is found is the state before or the state after it, and nobody is told of a loss, because there is
// none: the epoch goes on.
func TestPowerFailsWhileWriting(t *testing.T) {
	const sector, page = 512, 4096
	folder := smallDisk(t, 64<<20)
	path := filepath.Join(folder, "portreeve.db")
	s := openStore(t, path)
	random := rand.New(rand.NewPCG(1, 2))
	before, unfinished := snapshot(t, s, path), 0
	for n := range 30 {
		// Sometimes as much as makes the file grow, mostly as little as one client asks for.
		b := lease.Batch{Epoch: 1000 * 1e9}
		size := 1
		if n%10 == 9 {
			size = 60
		}
		for i := range size {
			b.Put = append(b.Put, testLease(100*n+i))
			b.Events = append(b.Events, testEvent(uint64(100*n+i+1)))
		}
		if n > 2 && n%3 == 0 {
			b.Delete = []lease.ID{testLease(100 * (n - 3)).ID}
		}
		if n > 0 && n%4 == 0 {
			renewed := testLease(100 * (n - 1))
			renewed.Renewals = uint32(n)
			b.Put = append(b.Put, renewed)
		}
		commit(t, s, b)
		after := snapshot(t, s, path)
		for try := range 24 {
			unit := page
			if try%2 == 0 {
				unit = sector
			}
			image := cut(before.image, after.image, unit, random)
			if afterPowerCut(t, folder, image, before.state, after.state) {
				unfinished++
			}
		}
		before = after
	}
	if unfinished == 0 {
		t.Error("no transaction was left unfinished, so nothing was tried")
	}
}

// snapshotOf is the file of a store and what is in it, in short.
type snapshotOf struct {
	image []byte
	state string
}

// brief tells states apart.
func brief(state lease.State) string {
	var out strings.Builder
	for _, l := range state.Leases {
		fmt.Fprintf(&out, "%s.%d ", l.ID, l.Renewals)
	}
	for _, e := range state.Events {
		fmt.Fprintf(&out, "%d ", e.Seq)
	}
	fmt.Fprintf(&out, "%s %q", state.Epoch, state.Notice)
	return out.String()
}

func snapshot(t *testing.T, s *boltstore.Store, path string) snapshotOf {
	t.Helper()
	image, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return snapshotOf{image, brief(load(t, s, instant))}
}

// cut returns the older of two images with some of the parts that differ as they are in the newer one.
func cut(older, newer []byte, unit int, random *rand.Rand) []byte {
	image := bytes.Clone(older)
	if random.IntN(2) == 0 { // the new length of the file was on the disk already
		image = append(image, make([]byte, len(newer)-len(older))...)
	}
	share := random.IntN(5)
	for at := 0; at < len(image); at += unit {
		if end := min(at+unit, len(image)); !bytes.Equal(image[at:end], newer[at:end]) && random.IntN(5) <= share {
			copy(image[at:end], newer[at:end])
		}
	}
	return image
}

// afterPowerCut opens a store on such an image. It returns whether a transaction was found unfinished.
func afterPowerCut(t *testing.T, folder string, image []byte, before, after string) (unfinished bool) {
	t.Helper()
	path := filepath.Join(folder, "cut", "portreeve.db")
	defer os.RemoveAll(filepath.Dir(path))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, image, 0o600); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	s, err := boltstore.Open(t.Context(), path, boltstore.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := brief(load(t, s, instant)); got != before && got != after {
		t.Fatalf("found %s, which is neither\n%s\nnor\n%s", got, before, after)
	}
	return strings.Contains(log.String(), "the power failed")
}
