package iptables

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
)

func TestAddCounts(t *testing.T) {
	counts := map[lease.ID]firewall.Count{"one": {}, "many0012": {}, "hole0000": {}, "idle": {}, "dmz": {}, "own": {}, "range": {}, "all": {}}
	addCounts(counts, `*nat
[3:180] -A PORTREEVE-DNAT -p udp -m udp --dport 3074 -m comment --comment "lease one" -j DNAT --to-destination 192.168.1.10:3074
[2:120] -A PORTREEVE-SNAT -s 192.168.1.10/32 -p udp -m udp --sport 3074 -m comment --comment "lease one" -j MASQUERADE --to-ports 3074
[9:540] -A PORTREEVE-DNAT-U-0-65535 -p udp -m udp --dport 8192:16383 -g PORTREEVE-DNAT-U-8192-16383
[4:240] -A PORTREEVE-DNAT-U-8192-16383 -p udp -m udp --dport 8192 -m comment --comment "lease many0012" -j DNAT --to-destination 192.168.1.10:3012
[7:420] -A PORTREEVE-DNAT -p udp -m udp --dport 1 -m comment --comment "lease stranger" -j DNAT --to-destination 192.168.1.10:1
[5:300] -A PORTREEVE-PINHOLES -d 2001:db8:1::10/128 -p udp -m udp --dport 3074 -m comment --comment "lease hole0000" -j PORTREEVE-OPEN
[2:120] -A PORTREEVE-HOLE-U-0-8191 -d 2001:db8:1::10/128 -p udp -m udp --dport 3074 -m comment --comment "lease hole0000" -j PORTREEVE-OPEN
[1:60] -A PORTREEVE-HOSTS -d 2001:db8:1::11/128 -m comment --comment "lease all" -j PORTREEVE-OPEN
[8:480] -A PORTREEVE-HOSTS -d 2001:db8:1::11/128 -p tcp -m tcp --dport 22 -m comment --comment "lease all" -j RETURN
[1:60] -A PORTREEVE-MAP -p udp -m udp --dport 2000:60000 -m comment --comment "lease range" -j DNAT --to-destination 192.168.1.10
[9:60] -A PORTREEVE-MAP -d 203.0.113.9/32 -m comment --comment "lease own" -g PORTREEVE-GIVEN
[2:60] -A PORTREEVE-GIVEN -d 203.0.113.9/32 -m comment --comment "lease own" -j DNAT --to-destination 192.168.1.10
[3:60] -A PORTREEVE-PUBLIC -s 192.168.1.10/32 -m comment --comment "lease own" -j SNAT --to-source 203.0.113.9
[4:60] -A PORTREEVE-DMZ -m connmark --mark 0x10000000/0x10000000 -m comment --comment "lease dmz" -j DNAT --to-destination 192.168.1.10
[9:60] -A PORTREEVE-HELD -p udp -m udp --dport 3074 -m comment --comment "lease one" -j CONNMARK --set-xmark 0x0/0x10000000
`)
	want := map[lease.ID]firewall.Count{"one": {In: 3, Out: 2}, "many0012": {In: 4}, "hole0000": {In: 7}, "idle": {}, "all": {In: 1}, "range": {In: 1}, "own": {In: 2, Out: 3}, "dmz": {In: 4}}
	if diff := cmp.Diff(want, counts); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
