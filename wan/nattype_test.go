package wan_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/wan"
)

func TestNATTypeIsExpected(t *testing.T) {
	sure := func(x wan.Xbox, why wan.Reason) wan.NATType {
		return wan.NATType{Xbox: []wan.Xbox{x}, PlayStation: []wan.PlayStation{2}, Switch: []wan.Switch{"B"}, Reason: why}
	}
	unsure := func(why wan.Reason) wan.NATType {
		return wan.NATType{Xbox: []wan.Xbox{wan.XboxModerate, wan.XboxStrict}, PlayStation: []wan.PlayStation{2, 3}, Switch: []wan.Switch{"B", "C", "D"}, Reason: why}
	}
	ask := sure(wan.XboxOpen, wan.ReasonAsk)
	ask.Xbox = []wan.Xbox{wan.XboxOpen, wan.XboxModerate}
	for _, tt := range []struct {
		name string
		at   wan.Circumstances
		want wan.NATType
	}{
		{"a public address", wan.Circumstances{Kind: wan.Public}, sure(wan.XboxOpen, wan.ReasonReady)},
		{"a console that must be allowed first", wan.Circumstances{Kind: wan.Public, Requests: wan.OwnerAsked}, ask},
		{"a console that may not", wan.Circumstances{Kind: wan.Public, Requests: wan.Refused}, sure(wan.XboxModerate, wan.ReasonDenied)},
		{"no UPnP", wan.Circumstances{Kind: wan.Public, Requests: wan.NotHeard}, sure(wan.XboxModerate, wan.ReasonSilent)},
		{"a pause", wan.Circumstances{Kind: wan.Public, Requests: wan.NotTaken}, sure(wan.XboxModerate, wan.ReasonPaused)},
		{"a firewall that fails", wan.Circumstances{Kind: wan.Public, Broken: true}, unsure(wan.ReasonFirewall)},
		{"another router", wan.Circumstances{Kind: wan.Private}, unsure(wan.ReasonPrivate)},
		{"another router counts for more than what is refused", wan.Circumstances{Kind: wan.Private, Requests: wan.Refused, Broken: true}, unsure(wan.ReasonPrivate)},
		{"the provider's NAT", wan.Circumstances{Kind: wan.Shared}, unsure(wan.ReasonShared)},
		{"DS-Lite", wan.Circumstances{Kind: wan.Special}, unsure(wan.ReasonSpecial)},
		{"no address", wan.Circumstances{Kind: wan.None}, wan.NATType{Reason: wan.ReasonOffline}},
	} {
		got := wan.Expect(tt.at)
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, d)
		}
		if text := got.Reason.Text(); text == string(got.Reason) {
			t.Errorf("%s: no sentence for %q", tt.name, text)
		}
	}
}
