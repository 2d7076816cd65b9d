package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// listAddresses asks for all IPv4 addresses but that of loopback.
func listAddresses(a *Asker) (addrs []netip.Addr, err error) {
	q := Question{Type: unix.RTM_GETADDR, Flags: unix.NLM_F_DUMP, Body: nl.NewIfAddrmsg(unix.AF_INET).Serialize()}
	err = a.Ask(q, func(body []byte) {
		attributes, parseErr := nl.ParseRouteAttr(body[unix.SizeofIfAddrmsg:])
		if parseErr != nil {
			err = parseErr
		}
		for _, attribute := range attributes {
			if addr, ok := netip.AddrFromSlice(attribute.Value); ok && attribute.Attr.Type == unix.IFA_ADDRESS && !addr.IsLoopback() {
				addrs = append(addrs, addr)
			}
		}
	})
	return addrs, err
}

func TestAsk(t *testing.T) {
	link := newLink(t, "ask0")
	a := NewAsker(unix.NETLINK_ROUTE)
	defer a.Close()
	const count = 1000 // more than one datagram
	for n := range count {
		addAddr(t, link, n)
	}
	// Several ask at once, and each gets its own answer.
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 5 {
				if addrs, err := listAddresses(a); err != nil || len(addrs) != count {
					t.Errorf("%d addresses, %v; want %d", len(addrs), err, count)
				}
			}
		})
	}
	group.Wait()

	// One entry, and one that is not there.
	one := func(n int) (found int, err error) {
		body := (&netlink.Ndmsg{Family: unix.AF_INET, Index: uint32(link.Attrs().Index)}).Serialize()
		body = append(body, nl.NewRtAttr(netlink.NDA_DST, []byte{10, 1, 9, byte(n)}).Serialize()...)
		err = a.Ask(Question{Type: unix.RTM_GETNEIGH, Body: body}, func([]byte) { found++ })
		return found, err
	}
	neighbour := &netlink.Neigh{LinkIndex: link.Attrs().Index, IP: []byte{10, 1, 9, 1}, HardwareAddr: []byte{2, 0, 0, 0, 0, 1}, State: netlink.NUD_PERMANENT}
	if err := netlink.NeighSet(neighbour); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if found, err := one(1); found != 1 || err != nil {
			t.Errorf("%d entries, %v; want 1", found, err)
		}
		if found, err := one(2); found != 0 || !errors.Is(err, unix.ENOENT) {
			t.Errorf("%d entries, %v; want none and ENOENT", found, err)
		}
	}

	// Success without an answer.
	body := (&netlink.Ndmsg{Family: unix.AF_INET, Index: uint32(link.Attrs().Index)}).Serialize()
	body = append(body, nl.NewRtAttr(netlink.NDA_DST, []byte{10, 1, 9, 1}).Serialize()...)
	if err := a.Ask(Question{Type: unix.RTM_DELNEIGH, Flags: unix.NLM_F_ACK, Body: body}, func([]byte) { t.Error("an answer") }); err != nil {
		t.Error(err)
	}
	if _, err := one(1); !errors.Is(err, unix.ENOENT) {
		t.Errorf("after its deletion: %v", err)
	}
	a.Close()
	if addrs, err := listAddresses(a); err != nil || len(addrs) != count {
		t.Errorf("after closing: %d addresses, %v; want %d", len(addrs), err, count)
	}
	if err := NewAsker(999).Open(); err == nil {
		t.Error("a protocol that does not exist can be asked")
	}
}

// What the kernel sends is read to the end of the datagram and not beyond.
func TestTornAnswers(t *testing.T) {
	header := func(length int, kind, flags uint16, sequence uint32) []byte {
		b := binary.NativeEndian.AppendUint32(nil, uint32(length))
		b = binary.NativeEndian.AppendUint16(b, kind)
		b = binary.NativeEndian.AppendUint16(b, flags)
		b = binary.NativeEndian.AppendUint32(b, sequence)
		b = binary.NativeEndian.AppendUint32(b, 0)
		return b
	}
	for name, messages := range map[string][]byte{
		"half a header":          make([]byte, 9),
		"longer than all":        header(40, 100, 0, 7),
		"shorter than a header":  header(3, 100, 0, 7),
		"a length of 4294967295": header(-1, 100, 0, 7),
	} {
		t.Run(name, func(t *testing.T) {
			a := &Asker{sequence: 7}
			done, _, err := a.read(messages, Question{}, func([]byte) { t.Error("an answer") })
			if !done || err == nil {
				t.Errorf("done %v, error %v", done, err)
			}
		})
	}
	a := &Asker{sequence: 7}
	datagram := append(append(header(16, 100, unix.NLM_F_MULTI, 6), header(16, 100, unix.NLM_F_MULTI|unix.NLM_F_DUMP_INTR, 7)...), header(16, unix.NLMSG_DONE, unix.NLM_F_MULTI, 7)...)
	answers := 0
	done, interrupted, err := a.read(datagram, Question{}, func([]byte) { answers++ })
	if got := fmt.Sprint(done, interrupted, err, answers); got != "true true <nil> 1" {
		t.Errorf("done, interrupted, error, answers: %s", got)
	}
}
