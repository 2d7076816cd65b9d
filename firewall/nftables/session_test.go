package nftables

import (
	"errors"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// withoutTable opens a session and takes away what another test may have left in the namespace that they share.
func withoutTable(t *testing.T) *session {
	t.Helper()
	s, err := open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	have, err := s.readFrame()
	if err == nil && have != nil {
		err = s.commit([]netlink.Message{removeTable()}, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The kernel refuses a transaction that was made for another generation of the ruleset, wholly, and the session goes on.
func TestTransactionOfAnotherGeneration(t *testing.T) {
	s := withoutTable(t)
	generation := func() uint32 {
		t.Helper()
		g, err := s.generation()
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	first := generation()
	for _, wrong := range []uint32{next(first), next(next(first))} {
		if err := s.commit([]netlink.Message{addTable()}, wrong); !errors.Is(err, errRaced) {
			t.Errorf("for generation %d of %d: error %v, want that somebody else was faster", wrong, first, err)
		}
	}
	if g := generation(); g != first {
		t.Errorf("generation %d, want %d still", g, first)
	}
	if have, err := s.readFrame(); have != nil || err != nil {
		t.Errorf("a table has been made: %+v, error %v", have, err)
	}
	if err := s.commit([]netlink.Message{addTable()}, first); err != nil {
		t.Errorf("for generation %d: %v", first, err)
	}
	if err := s.commit([]netlink.Message{removeTable()}, 0); err != nil {
		t.Errorf("for any generation: %v", err)
	}
	if g := generation(); g != next(next(first)) {
		t.Errorf("generation %d, want two more than %d", g, first)
	}
}

// Of a transaction that fails nothing is in force, whichever of its messages is at fault, and the session goes on.
func TestTransactionThatFails(t *testing.T) {
	s := withoutTable(t)
	absent := removeElements([]element{{elementKey: elementKey{set: mapLeases, key: concat("\x11", "\x00\x01")}}})
	for range 2 {
		for _, messages := range [][]netlink.Message{
			append([]netlink.Message{addTable()}, absent...),
			append(absent, addTable()),
		} {
			if err := s.commit(messages, 0); !errors.Is(err, unix.ENOENT) {
				t.Errorf("error %v, want that there is no such map", err)
			}
			if have, err := s.readFrame(); have != nil || err != nil {
				t.Errorf("a table has been made: %+v, error %v", have, err)
			}
		}
	}
}
