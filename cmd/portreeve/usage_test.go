package main

import (
	"strings"
	"testing"

	"github.com/portreeve/portreeve/web"
)

func TestWideList(t *testing.T) {
	ago := int64(75)
	var b strings.Builder
	printWide(&b, []web.Lease{
		{ID: "a", State: web.LeaseActive, Protocol: "udp", ExternalPort: 3074, PortCount: 1, RemainingSeconds: 60, Traffic: &web.LeaseUse{BytesIn: 1536, BytesOut: 7, Connections: 2, LastSeconds: &ago}, Note: "mine"},
		{ID: "b", State: web.LeaseIdle, Protocol: "tcp", ExternalPort: 80, PortCount: 1, Traffic: &web.LeaseUse{}},
		{ID: "c", State: web.LeaseOpen, Protocol: "tcp", ExternalPort: 81, PortCount: 1},
	})
	for _, want := range []string{"a\tactive\tudp\t3074\t", "\t1.5 KiB\t7 B\t2\t1m 15s ago\t\tmine\n", "\t0 B\t0 B\t0\tnever\n", "\t-\t-\t-\t-\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the list lacks %q:\n%s", want, b.String())
		}
	}
}

func TestAmount(t *testing.T) {
	for bytes, want := range map[uint64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 5 << 30: "5.0 GiB", 1<<64 - 1: "16.0 EiB"} {
		if got := amount(bytes); got != want {
			t.Errorf("%d: %q, want %q", bytes, got, want)
		}
	}
}
