package firewall_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
)

func TestEnder(t *testing.T) {
	udp := leaseOf(3074, 1, "192.168.1.10:3074")
	tcp := udp
	tcp.Protocol = lease.TCP
	broken := errors.New("broken")
	for _, tt := range []struct {
		name   string
		change lease.Change
		fails  error
		asked  bool
		want   error
	}{
		{"opening TCP asks nobody", lease.Change{Add: []lease.Lease{tcp}}, broken, false, nil},
		{"opening UDP does not fail by it", lease.Change{Add: []lease.Lease{udp}}, broken, true, nil},
		{"closing does", lease.Change{Remove: []lease.Lease{tcp}}, broken, true, broken},
		{"closing where the kernel never can", lease.Change{Remove: []lease.Lease{tcp}}, fmt.Errorf("no: %w", errors.ErrUnsupported), true, nil},
		{"closing", lease.Change{Remove: []lease.Lease{tcp}}, nil, true, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log strings.Builder
			asked := false
			e := firewall.NewEnder(func(firewall.Mappings) (int, error) {
				asked = true
				return 1, tt.fails
			}, slog.New(slog.NewTextHandler(&log, nil)))
			for range 2 {
				if err := e.Applied(firewall.Mappings{}, tt.change); !errors.Is(err, tt.want) {
					t.Errorf("error %v, want %v", err, tt.want)
				}
			}
			if asked != tt.asked {
				t.Errorf("asked the kernel: %v, want %v", asked, tt.asked)
			}
			if said := strings.Count(log.String(), "until they are idle") > 0; said != (tt.asked && tt.fails != nil && tt.want == nil) {
				t.Errorf("log: %s", log.String())
			}
			if errors.Is(tt.fails, errors.ErrUnsupported) && strings.Count(log.String(), "\n") != 1 {
				t.Errorf("not said once:\n%s", log.String())
			}
		})
	}
}
