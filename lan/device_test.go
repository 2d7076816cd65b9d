package lan

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// see reads "10 reachable, 11 stale" as what the kernel knows, and writes what follows from it as "11 10, asks 10".
func (d *device) read(text string, round int, beat bool) string {
	states := map[string]int{
		"reachable": netlink.NUD_REACHABLE, "stale": netlink.NUD_STALE, "delay": netlink.NUD_DELAY,
		"probe": netlink.NUD_PROBE, "permanent": netlink.NUD_PERMANENT,
	}
	addr := func(text string) netip.Addr {
		if strings.Contains(text, ":") {
			return netip.MustParseAddr(text)
		}
		return netip.MustParseAddr("192.168.1." + text)
	}
	var seen []sighting
	for i, part := range strings.Split(text, ", ") {
		if host, state, ok := strings.Cut(part, " "); ok {
			seen = append(seen, sighting{addr: addr(host), state: states[state], updated: uint32(i)})
		}
	}
	name := func(a netip.Addr) string { return strings.TrimPrefix(a.String(), "192.168.1.") }
	var asks, has []string
	for _, s := range d.see(seen, round, beat) {
		asks = append(asks, name(s.addr))
	}
	for _, a := range d.addrs {
		has = append(has, name(a))
	}
	slices.Sort(asks)
	result := strings.Join(has, " ")
	if len(asks) > 0 {
		result += fmt.Sprintf(", asks %s", strings.Join(asks, " "))
	}
	return result
}

func TestWhereADeviceIs(t *testing.T) {
	type step struct {
		kernel string // what it knows; with "beat: " after some time, with "later: " after half a minute
		want   string
	}
	for name, steps := range map[string][]step{
		"one address": {{"10 reachable", "10"}, {"10 stale", "10, asks 10"}, {"10 probe", "10"}, {"", ""}, {"10 stale", "10, asks 10"}},
		"idle":        {{"10 stale", "10, asks 10"}, {"10 reachable", "10"}, {"10 stale", "10"}, {"later: 10 stale", "10, asks 10"}, {"10 stale", "10"}},
		"moved": {
			{"10 reachable", "10"},
			{"10 reachable, 11 stale", "10 11, asks 10 11"},
			{"10 probe, 11 probe", "10 11"},
			{"10 probe, 11 reachable", "10 11"},
			{"beat: 10 probe, 11 reachable", "10 11"},
			{"beat: 10 probe, 11 reachable", "10 11"},
			{"beat: 10 probe, 11 reachable", "11 10"},
			{"11 reachable", "11"},
		},
		"moved, and says no more": {
			{"10 reachable", "10"},
			{"10 reachable, 11 stale", "10 11, asks 10 11"},
			{"beat: 10 probe, 11 probe", "10 11"},
			{"beat: 10 probe, 11 probe", "10 11"},
			{"beat: 10 probe, 11 probe", "11 10"},
			{"", ""},
		},
		"moved, and left while the old entry was kept": {
			{"10 reachable", "10"},
			{"10 reachable, 11 stale", "10 11, asks 10 11"},
			{"10 beats: 10 probe, 11 reachable", "11 10"},
			{"10 probe", ""},
			{"", ""},
			{"10 stale", "10, asks 10"},
		},
		"moved, and back at once": {
			{"10 reachable", "10"},
			{"10 reachable, 11 stale", "10 11, asks 10 11"},
			{"10 beats: 10 probe, 11 reachable", "11 10"},
			{"10 stale, 11 reachable", "11 10, asks 10 11"}, // it has asked for our address
			{"beat: 10 reachable, 11 probe", "11 10"},
			{"beat: 10 reachable, 11 probe", "11 10"},
			{"beat: 10 reachable, 11 probe", "10 11"},
		},
		"moved, and back after the new entry was lost": {
			{"10 reachable", "10"},
			{"10 reachable, 11 stale", "10 11, asks 10 11"},
			{"10 beats: 10 stale, 11 reachable", "11 10"},
			{"11 reachable, 10 stale", "11 10"},
			{"10 delay", "10"},
		},
		"moved, and the old entry goes first": {{"10 reachable", "10"}, {"10 reachable, 11 stale", "10 11, asks 10 11"}, {"11 probe", "11"}},
		"moved back while the old entry was kept": {
			{"10 reachable", "10"},
			{"11 reachable", "11"},
			{"11 reachable, 10 stale", "11 10, asks 10 11"},
			{"10 probe, 11 reachable", "11 10"},
			{"10 reachable, 11 reachable", "11 10"},
			{"11 stale, 10 stale", "11 10"},
			{"later: 11 reachable, 10 stale", "11 10, asks 10"},
			{"10 stale, 11 reachable", "11 10"},
			{"10 delay, 11 reachable", "11 10, asks 10 11"},
			{"10 reachable, 11 probe", "11 10"},
			{"beat: 10 reachable, 11 probe", "11 10"},
			{"beat: 10 reachable, 11 probe", "11 10"},
			{"beat: 10 reachable, 11 probe", "10 11"},
		},
		"moved back while the old address is still asked for": {
			{"11 reachable", "11"},
			{"11 reachable, 10 stale", "11 10, asks 10 11"},
			{"beat: 11 probe, 10 reachable", "11 10"},
			{"beat: 11 probe, 10 reachable", "11 10"},
			{"beat: 11 probe, 10 reachable", "10 11"},
			{"11 probe, 10 reachable", "10 11"},
			{"11 reachable, 10 reachable", "10 11, asks 10"},
			{"11 reachable, 10 probe", "10 11"},
			{"10 beats: 11 reachable, 10 probe", "11 10"},
			{"11 reachable, 10 probe", "11 10"},
		},
		"has two addresses, and answers late": {
			{"11 reachable", "11"},
			{"11 reachable, 10 stale", "11 10, asks 10 11"},
			{"10 beats: 11 probe, 10 probe", "10 11"},
			{"11 reachable, 10 reachable", "10 11, asks 10"},
			{"beat: 11 reachable, 10 probe", "10 11"},
			{"beat: 11 reachable, 10 probe", "10 11"},
			{"beat: 11 reachable, 10 probe", "10 11"},
			{"beat: 11 reachable, 10 probe", "10 11"},
			{"beat: 11 reachable, 10 reachable", "10 11"},
			{"11 stale, 10 reachable", "10 11"},
			{"later: 11 stale, 10 reachable", "10 11, asks 11"},
			{"11 reachable, 10 reachable", "10 11"},
		},
		"has two addresses": {
			{"10 reachable", "10"},
			{"10 reachable, 11 stale", "10 11, asks 10 11"},
			{"10 reachable, 11 probe", "10 11"},
			{"10 reachable, 11 reachable", "10 11"},
			{"10 stale, 11 reachable", "10 11"},
			{"beat: 10 stale, 11 reachable", "10 11"},
		},
		"somebody sends to the old address": {
			{"11 reachable", "11"}, {"11 reachable, 10 stale", "11 10, asks 10 11"}, {"11 reachable, 10 probe", "11 10"}, {"11 reachable", "11"},
		},
		"two at the beginning": {
			{"10 reachable, 11 reachable", "10 11, asks 10 11"},
			{"11 reachable, 10 probe", "10 11"},
			{"beat: 11 reachable, 10 probe", "10 11"},
			{"beat: 11 reachable, 10 probe", "10 11"},
			{"beat: 11 reachable, 10 probe", "11 10"},
		},
		"two at the beginning, of which none answers": {
			{"10 stale, 11 stale", "10 11, asks 10 11"},
			{"beat: 10 probe, 11 probe", "10 11"},
			{"beat: 10 probe, 11 probe", "10 11"},
			{"beat: 10 probe, 11 probe", "10 11"},
			{"", ""},
		},
		"written by hand":   {{"10 permanent", "10"}, {"11 reachable, 10 permanent", "10 11, asks 11"}, {"11 reachable, 10 permanent", "10 11"}},
		"IPv6 besides":      {{"2001:db8::1 reachable, 10 stale, 2001:db8::2 stale", "10 2001:db8::1 2001:db8::2, asks 10 2001:db8::2"}},
		"IPv6 and no other": {{"2001:db8::1 probe, 2001:db8::2 reachable", "2001:db8::2 2001:db8::1"}, {"", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			d, round := &device{}, 1
			for i, s := range steps {
				kernel, beat := strings.CutPrefix(s.kernel, "beat: ")
				if k, many := strings.CutPrefix(kernel, "10 beats: "); many {
					kernel, beat = k, true
					for range longPatience - 1 {
						d.read(kernel, round, beat)
					}
				}
				if k, later := strings.CutPrefix(kernel, "later: "); later {
					kernel, round = k, round+probeEach
				}
				if diff := cmp.Diff(s.want, d.read(kernel, round, beat)); diff != "" {
					t.Fatalf("step %d, %s (-want +got):\n%s", i+1, s.kernel, diff)
				}
			}
		})
	}
}

// Whatever an entry looks like, it is not read beyond its end.
func TestHardwareAddresses(t *testing.T) {
	attribute := func(length int, kind uint16, value string) string {
		head := binary.NativeEndian.AppendUint16(nil, uint16(length))
		return string(binary.NativeEndian.AppendUint16(head, kind)) + value
	}
	head := strings.Repeat("\x00", unix.SizeofNdMsg)
	other := attribute(7, netlink.NDA_DST, "abc\x00")
	for message, want := range map[string]string{
		"": "", "short": "", head: "", head + "abc": "", head + other: "",
		head + attribute(10, netlink.NDA_LLADDR, "123456"):             "123456",
		head + other + attribute(10, netlink.NDA_LLADDR, "123456\x00"): "123456",
		head + attribute(11, netlink.NDA_LLADDR, "123456"):             "",
		head + attribute(3, netlink.NDA_LLADDR, "123456"):              "",
		head + attribute(4, netlink.NDA_LLADDR, ""):                    "",
		head + attribute(7, netlink.NDA_DST, "abc"):                    "",
	} {
		if got := string(hardwareAddr([]byte(message))); got != want {
			t.Errorf("%q: %q, want %q", message, got, want)
		}
	}
}
