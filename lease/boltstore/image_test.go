package boltstore

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
)

// randomFile makes a file by a random history of transactions and returns what bbolt says is in it.
func randomFile(t testing.TB, seed uint64, options *bbolt.Options) (image []byte, want content) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 7))
	path := filepath.Join(t.TempDir(), "db")
	db, err := bbolt.Open(path, 0o600, options)
	if err != nil {
		t.Fatal(err)
	}
	want = newContent()
	for range 1 + random.IntN(30) {
		err := db.Update(func(tx *bbolt.Tx) error {
			for _, name := range buckets() {
				b, err := tx.CreateBucketIfNotExists([]byte(name))
				if err != nil {
					return err
				}
				for range random.IntN(40) {
					key := fmt.Sprint(random.IntN(500))
					if random.IntN(3) == 0 {
						delete(want[name], key)
						err = errors.Join(err, b.Delete([]byte(key)))
						continue
					}
					row := []byte(strings.Repeat(key, random.IntN(100)))
					if random.IntN(50) == 0 {
						row = make([]byte, random.IntN(20000))
					}
					want[name][key] = row
					err = errors.Join(err, b.Put([]byte(key), row))
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if image, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	return image, want
}

func TestReadImageAgreesWithBolt(t *testing.T) {
	for seed := range uint64(25) {
		options := &bbolt.Options{PageSize: 1024 << (seed % 7), NoFreelistSync: seed%5 == 0, NoSync: true}
		image, want := randomFile(t, seed, options)
		got, err := readImage(bytes.NewReader(image), int64(len(image)))
		if err != nil || got.torn || got.unfinished {
			t.Fatalf("seed %d: torn %t, unfinished %t, error %v", seed, got.torn, got.unfinished, err)
		}
		if !maps.EqualFunc(want, got.content, func(a, b map[string][]byte) bool { return maps.EqualFunc(a, b, bytes.Equal) }) {
			t.Errorf("seed %d (-want +got):\n%s", seed, cmp.Diff(want, got.content))
		}
	}
}

func TestReadImageUsesTheOtherMetaPage(t *testing.T) {
	for _, pageSize := range []int{1024, 4096, 65536} {
		image, _ := randomFile(t, 3, &bbolt.Options{PageSize: pageSize, NoSync: true})
		for page := range 2 {
			damaged := bytes.Clone(image)
			damaged[page*pageSize+headerSize+48] ^= 1 // the number of its transaction
			if got, err := readImage(bytes.NewReader(damaged), int64(len(damaged))); err != nil || !got.torn {
				t.Errorf("pages of %d bytes, meta page %d damaged: torn %t, error %v", pageSize, page, got.torn, err)
			}
		}
	}
}

// FuzzReadImage damages a sound file. Whatever comes, the reader ends, and takes no more memory than the file has.
func FuzzReadImage(f *testing.F) {
	image, _ := randomFile(f, 1, &bbolt.Options{PageSize: 1024, NoSync: true})
	f.Add(uint32(0), []byte{1}, uint32(len(image)))
	f.Add(uint32(1024+headerSize), []byte{0xff, 0xff}, uint32(len(image)))
	f.Add(uint32(3*1024+8), []byte{kindBranch, 0, 0xff, 0xff}, uint32(len(image)))
	f.Add(uint32(4*1024+12), []byte{0xff, 0xff, 0xff, 0xff}, uint32(2048))
	f.Fuzz(func(t *testing.T, at uint32, patch []byte, size uint32) {
		damaged := bytes.Clone(image[:min(int(size), len(image))])
		if int(at) < len(damaged) {
			copy(damaged[at:], patch)
		}
		// The checksum would hide everything behind it from the fuzzer.
		for page := range 2 {
			mendMeta(damaged, page*1024)
		}
		c, err := readImage(bytes.NewReader(damaged), int64(len(damaged)))
		if err != nil {
			return
		}
		total := 0
		for _, rows := range c.content {
			for key, row := range rows {
				total += len(key) + len(row)
			}
		}
		if total > 2*len(damaged) {
			t.Errorf("%d bytes of rows in a file of %d", total, len(damaged))
		}
	})
}

func TestFileOfANewerVersion(t *testing.T) {
	for name, change := range map[string]func(c content) error{
		"another schema": func(c content) (err error) {
			c[bucketMeta][metaKey], err = seal(bucketMeta, metaKey, metaRow{Version: rowVersion, Schema: schemaVersion + 1})
			return err
		},
		"another schema with more buckets": func(c content) (err error) {
			c["forwards"] = map[string][]byte{"x": []byte("y")}
			c[bucketMeta][metaKey], err = seal(bucketMeta, metaKey, metaRow{Version: rowVersion, Schema: 99})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newContent()
			if err := change(c); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "portreeve.db")
			writeFile(t, path, c)
			s, err := Open(t.Context(), path, Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			state, err := s.Load(t.Context(), instantRow{}.instant())
			if err != nil {
				t.Fatal(err)
			}
			for _, part := range []string{path, path + ".newer-1", "newer version of portreeve", "install that version"} {
				if !strings.Contains(state.Notice, part) {
					t.Errorf("notice %q does not mention %q", state.Notice, part)
				}
			}
			if _, err := os.Stat(path + ".newer-1"); err != nil {
				t.Error(err)
			}
		})
	}
}

// writeFile makes a file with bbolt alone.
func writeFile(t *testing.T, path string, c content) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for name, rows := range c {
			b, err := tx.CreateBucket([]byte(name))
			if err != nil {
				return err
			}
			for key, row := range rows {
				if err := b.Put([]byte(key), row); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}
