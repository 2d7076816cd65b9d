package main

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Must show: every option of a rule with a value that it cannot have. Each is named with what is allowed, by the name of the
// option, and nothing is applied.
func TestEveryOptionWithABadValue(t *testing.T) {
	r := newRouter(t)
	for _, tt := range []struct {
		args []string
		want []string
	}{
		{
			[]string{
				"forward", "add", "--name", strings.Repeat("x", 257), "--protocol", "icmp", "--ports", "0", "--to-ports", "9-8", "--to", "nas", "--public", "here", "--wan", "a/b",
				"--from", "a,198.51.100.0/33", "--schedule", "nights", "--schedule", "1:00-25:00", "--close-when-gone", "--take-from-router", "--no-hairpin", "--for", "1h",
			},
			[]string{
				"portreeve: --name is 257 bytes long, allowed are 256",
				`  --public is "here", allowed is an IP address`,
				`  --wan is "a/b", allowed is the name of an interface, of at most 15 characters`,
				`  --schedule is wrong: "nights": a window needs a beginning and an end, such as 16:00-22:00`,
				`  --schedule is wrong: time "25:00", allowed are 00:00 to 24:00`,
				`  --to is "nas", allowed is an IP address`,
				`  --from has "a", allowed are addresses and subnets such as 198.51.100.0/24`,
				`  --from has "198.51.100.0/33", allowed are addresses and subnets such as 198.51.100.0/24`,
				`  --protocol is "icmp", allowed are tcp, udp and both`,
				`  --ports is "0", allowed is a port from 1 to 65535, or a range such as 5000-5010`,
				`  --to-ports is "9-8", allowed is a port from 1 to 65535, or a range such as 5000-5010`,
				"  --close-when-gone is only for a rule that leads to a device, not to an address",
			},
		},
		{[]string{"forward", "add", "--protocol", "tcp", "--ports", "80", "--device", "nas", "--until", "2001-02-03T04:05"}, []string{
			"portreeve: --until is TIME, allowed is a time to come; it is TIME now",
			`  --device is "nas", allowed is a MAC address such as 02:00:00:00:00:10, or the address of a device that is there`,
		}},
		{[]string{"forward", "edit", "declared", "--ports", "x"}, []string{
			`portreeve: --ports is "x", allowed is a port from 1 to 65535, or a range such as 5000-5010`,
		}},
		{[]string{"dmz", "set", "--to", "2001:db8:1::20", "--except", "0,x", "--from", "everybody", "--wan", "w w"}, []string{
			`portreeve: --wan is "w w", allowed is the name of an interface, of at most 15 characters`,
			"  --to is 2001:db8:1::20, allowed is an IPv4 address, or with ipv6 an IPv6 address",
			`  --from has "everybody", allowed are addresses and subnets such as 198.51.100.0/24`,
			`  --except is "0", allowed is a port from 1 to 65535, or a range such as 5000-5010`,
			`  --except is "x", allowed is a port from 1 to 65535, or a range such as 5000-5010`,
		}},
		{[]string{"address", "assign", "--static", "--to", "nas", "--public", "2001:db8::1"}, []string{
			`portreeve: --to is "nas", allowed is an IP address`,
			"  --public is 2001:db8::1, allowed is an IPv4 address, and none with ipv6",
		}},
		{[]string{"address", "assign", "--to", "nas", "--public", "x", "--name", strings.Repeat("x", 257)}, []string{
			`portreeve: --to is "nas", allowed is an IP address`,
			`  --public is "x", allowed is an IP address`,
			"  --name is 257 bytes long, allowed are 256",
		}},
		{[]string{"address", "assign", "--to", "nas", "--for", "366d"}, []string{`portreeve: --for is "366d": allowed are at most 365d`}},
		{[]string{"policy", "test", "--client", "console", "--to", "nas", "--protocol", "icmp", "--port", "0", "--by", "stun"}, []string{
			`portreeve: --client is "console", allowed is an IP address`,
			`  --to is "nas", allowed is an IP address`,
			`  --protocol is "icmp", allowed are tcp, udp, sctp, udplite and dccp`,
			"  --port is 0 or absent, allowed are 1 to 65535",
			`  --by is "stun", allowed are upnp, nat-pmp and pcp`,
		}},
	} {
		out, complaints, code := r.do(tt.args...)
		complaints = regexp.MustCompile(`is \d{4}-\S+T[^ ,]+`).ReplaceAllString(complaints, "is TIME")
		got := strings.Split(strings.TrimSuffix(complaints, "\n"), "\n")
		if d := cmp.Diff(tt.want, got); d != "" || code != exitUsage || out != "" {
			t.Errorf("portreeve %s: exit code %d, printed %q, complained (-want +got):\n%s", strings.Join(tt.args[:2], " "), code, out, d)
		}
	}
	if s := r.leases.Snapshot(); len(s.Rules) != 1 || len(s.Leases) != 0 || len(s.Events()) != 0 {
		t.Errorf("something was applied: %d rules, %d leases, %d events", len(s.Rules), len(s.Leases), len(s.Events()))
	}
}
