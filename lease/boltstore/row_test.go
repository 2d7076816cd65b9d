package boltstore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// mendMeta gives a meta page the checksum of whatever is in it.
func mendMeta(image []byte, at int) {
	if len(image) < at+metaSize {
		return
	}
	b := image[at+headerSize : at+metaSize]
	sum := fnv.New64a()
	sum.Write(b[:56])
	binary.NativeEndian.PutUint64(b[56:], sum.Sum64())
}

// resealed gives a row the checksum of whatever is in it: the fuzzer would never guess it.
func resealed(bucket, key string, text []byte) []byte {
	return fmt.Appendf(nil, "%08x %s", checksum(bucket, key, text), text)
}

func FuzzDecodeLease(f *testing.F) {
	now := lease.Instant{Time: time.UnixMilli(1700000000000), BootID: "b", Boot: time.Hour}
	l := lease.Lease{
		Mapping: lease.Mapping{
			Protocol: lease.TCP, External: netip.AddrPortFrom(netip.Addr{}, 8080),
			Internal: netip.MustParseAddrPort("192.168.1.10:80"),
			Filters:  []lease.Filter{{Prefix: netip.MustParsePrefix("198.51.100.7/32"), Port: 9}},
		},
		ID: "abcd1234", Nonce: lease.Nonce{1}, Expires: now.Time.Add(time.Hour), Created: now.Time,
	}
	row, err := encodeLease(l, now)
	if err != nil {
		f.Fatal(err)
	}
	_, text, _ := bytes.Cut(row, []byte(" "))
	f.Add(string(l.ID), text)
	f.Add("x", []byte(`{"v":1,"id":"x","protocol":6,"external_port":1,"internal_port":1,"internal_addr":"::1","remaining_ms":-9223372036854775808}`))
	f.Add("", []byte(`{"v":2}`))
	f.Fuzz(func(t *testing.T, key string, text []byte) {
		first, err := decodeLease(key, resealed(bucketLeases, key, text))
		if err != nil {
			return
		}
		rewrite := func(l savedLease) []byte {
			l.Expires = l.at.Time.Add(max(0, l.remaining))
			row, err := encodeLease(l.Lease, l.at)
			if err != nil {
				t.Fatalf("what was read cannot be written: %v", err)
			}
			return row
		}
		again := rewrite(first)
		second, err := decodeLease(key, again)
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		if third := rewrite(second); !bytes.Equal(again, third) {
			t.Errorf("a row changes by being read and written:\n%s\n%s", again, third)
		}
	})
}

func FuzzDecodeEvent(f *testing.F) {
	row, err := encodeEvent(lease.Event{Seq: 7, Kind: lease.EventDenied, Trace: lease.Trace{{Rule: "r", Why: "w"}}, Count: 2})
	if err != nil {
		f.Fatal(err)
	}
	_, text, _ := bytes.Cut(row, []byte(" "))
	f.Add(eventKey(7), text)
	f.Fuzz(func(t *testing.T, key string, text []byte) {
		e, err := decodeEvent(key, resealed(bucketEvents, key, text))
		if err != nil {
			return
		}
		again, err := encodeEvent(e)
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if _, err := decodeEvent(key, again); err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
	})
}

// Rows that are damaged one by one are left out, told, kept for inspection, and told only once.
func TestBadRowsAreLeftOut(t *testing.T) {
	now := lease.Instant{Time: time.UnixMilli(1700000000000), BootID: "b", Boot: time.Hour}
	path := filepath.Join(t.TempDir(), "portreeve.db")
	s := mustOpen(t, path)
	batch := lease.Batch{Now: now, Epoch: time.Hour}
	for n := range 4 {
		l := lease.Lease{
			Mapping: lease.Mapping{
				Protocol: lease.UDP, External: netip.AddrPortFrom(netip.Addr{}, uint16(2000+n)), Internal: netip.MustParseAddrPort("192.168.1.10:80"),
			},
			ID: lease.ID(fmt.Sprint("id", n)), Expires: now.Time.Add(time.Hour),
		}
		batch.Put = append(batch.Put, l)
		batch.Events = append(batch.Events, lease.Event{Seq: uint64(n), Time: now.Time, Kind: lease.EventOpened, Lease: l, Count: 1})
	}
	if err := s.Commit(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	if err := s.PutRecords(t.Context(), map[string]map[string][]byte{bucketUsers: {"admin": []byte(`{"v":1}`)}}); err != nil {
		t.Fatal(err)
	}
	c := s.content
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	c[bucketLeases]["id0"][20] ^= 1
	c[bucketLeases]["id1"] = c[bucketLeases]["id2"] // sound, but of another lease
	c[bucketLeases]["id3"] = resealed(bucketLeases, "id3", []byte(`{"v":7,"id":"id3"}`))
	c[bucketEvents][eventKey(2)] = nil
	c[bucketUsers]["admin"] = []byte("password")
	rewritten := filepath.Join(t.TempDir(), "portreeve.db")
	writeFile(t, rewritten, c)

	s = mustOpen(t, rewritten)
	state, err := s.Load(t.Context(), now)
	if err != nil {
		t.Fatal(err)
	}
	if len(state.Leases) != 1 || state.Leases[0].ID != "id2" || len(state.Events) != 3 || state.Epoch != 0 {
		t.Errorf("leases %v, %d events, epoch %s; want id2, 3 events, epoch 0", state.Leases, len(state.Events), state.Epoch)
	}
	for _, part := range []string{"mappings that were damaged and left out: 3", "history that were damaged and left out: 1", "password"} {
		if !strings.Contains(state.Notice, part) {
			t.Errorf("notice %q does not mention %q", state.Notice, part)
		}
	}
	if users, err := s.Records(t.Context(), bucketUsers); len(users) != 0 || err != nil {
		t.Errorf("users %q, error %v, from a damaged row", users, err)
	}
	if got := len(s.content[bucketDamaged]); got != 5 {
		t.Errorf("%d rows were kept for inspection, want 5", got)
	}
	if err := s.Commit(t.Context(), lease.Batch{Now: now, Epoch: time.Minute}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, rewritten)
	if state, err = s.Load(t.Context(), now); err != nil || state.Notice != "" || state.Epoch != time.Minute || len(state.Leases) != 1 {
		t.Errorf("the next time: notice %q, epoch %s, %d leases, error %v", state.Notice, state.Epoch, len(state.Leases), err)
	}
}

// A row that has vanished without any trace is missed all the same.
func TestVanishedRowsAreMissed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "portreeve.db")
	s := mustOpen(t, path)
	now := lease.Instant{Time: time.UnixMilli(1700000000000), BootID: "b"}
	l := lease.Lease{
		Mapping: lease.Mapping{
			Protocol: lease.UDP, External: netip.AddrPortFrom(netip.Addr{}, 2000), Internal: netip.MustParseAddrPort("192.168.1.10:80"),
		},
		ID: "id0", Expires: now.Time.Add(time.Hour),
	}
	if err := s.Commit(t.Context(), lease.Batch{Now: now, Epoch: time.Hour, Put: []lease.Lease{l}}); err != nil {
		t.Fatal(err)
	}
	c := s.content
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	delete(c[bucketLeases], "id0")
	rewritten := filepath.Join(t.TempDir(), "portreeve.db")
	writeFile(t, rewritten, c)
	state, err := mustOpen(t, rewritten).Load(t.Context(), now)
	if err != nil || state.Epoch != 0 || !strings.Contains(state.Notice, "left out: 1") {
		t.Errorf("epoch %s, notice %q, error %v", state.Epoch, state.Notice, err)
	}
}

// Between the look at the file and its use the file is cut short: reading its mapping is a fault. The store goes on
// with a new file.
func TestFaultInTheMiddleOfATransaction(t *testing.T) {
	path := filepath.Join(t.TempDir(), "portreeve.db")
	s := mustOpen(t, path)
	now := lease.Instant{Time: time.UnixMilli(1700000000000), BootID: "b"}
	const rounds = 10
	for n := range uint64(rounds) {
		if err := s.Commit(t.Context(), lease.Batch{Now: now, Events: []lease.Event{{Seq: n, Count: 1}}}); err != nil {
			t.Fatal(err)
		}
		if n == rounds-1 {
			break
		}
		if err := s.file.os.Truncate(0); err != nil {
			t.Fatal(err)
		}
		err := s.file.update([]edit{{bucketEvents, "x", []byte("y")}})
		if err == nil || !s.file.broken {
			t.Fatalf("a transaction in a file without content: error %v, broken %t", err, s.file.broken)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	state, err := mustOpen(t, path).Load(t.Context(), now)
	if err != nil || len(state.Events) != rounds || state.Notice != "" {
		t.Errorf("%d events, want %d; notice %q, error %v", len(state.Events), rounds, state.Notice, err)
	}
}

func mustOpen(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(t.Context(), path, Options{})
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
