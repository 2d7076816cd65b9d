package choose_test

import (
	"strings"
	"testing"

	"github.com/portreeve/portreeve/firewall/choose"
	"github.com/portreeve/portreeve/test/netns"
)

func TestMain(m *testing.M) { netns.Main(m) }

func TestOpen(t *testing.T) {
	for _, tt := range []struct{ name, backend, err string }{
		{name: "auto", backend: "iptables ("},
		{name: "", backend: "iptables ("},
		{name: "iptables", backend: "iptables ("},
		{name: "nftables", err: "not part of this version yet: use one of auto, iptables"},
		{name: "pf\x00", err: `"pf" is unknown: use one of auto, iptables`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, err := choose.Open(t.Context(), tt.name, nil)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error %v, want one with %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(b.Name(), tt.backend) || b.Why() == "" {
				t.Errorf("got %q, because %q; want %q", b.Name(), b.Why(), tt.backend)
			}
		})
	}
}
