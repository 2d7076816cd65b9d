// Package choose opens the firewall backend that the owner has named.
package choose

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/firewall/iptables"
	"github.com/portreeve/portreeve/lease"
)

// Names returns what Open takes, the default first.
func Names() []string { return []string{"auto", "iptables"} }

// Open returns the backend of a name: "iptables", or "auto" (also empty), which in this version is iptables in the
// variant that the router uses. It changes nothing in the kernel. Other names are an error that lists the right ones;
// "nftables" is one of them until that backend exists. A nil logger discards.
func Open(ctx context.Context, name string, logger *slog.Logger) (firewall.Backend, error) {
	switch {
	case name == "" || slices.Contains(Names(), name):
		return iptables.Open(ctx, iptables.Options{Logger: logger})
	case name == "nftables":
		return nil, fmt.Errorf("firewall backend %q is not part of this version yet: use one of %s (iptables writes into nf_tables too, by iptables-nft)", name, strings.Join(Names(), ", "))
	default:
		return nil, fmt.Errorf("firewall backend %q is unknown: use one of %s", lease.CleanText(name, 40), strings.Join(Names(), ", "))
	}
}
