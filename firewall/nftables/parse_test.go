package nftables

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/portreeve/portreeve/firewall/passage"
)

func TestExplain(t *testing.T) {
	for _, tt := range []struct {
		err  error
		is   error
		says string
	}{
		{nil, nil, ""},
		{fmt.Errorf("send: %w", unix.EMSGSIZE), errTooLong, ""},
		{fmt.Errorf("receive: %w", unix.ENOBUFS), errUnknown, ""},
		{fmt.Errorf("receive: %w", os.ErrDeadlineExceeded), errUnknown, "in time"},
		{errors.Join(fmt.Errorf("a: %w", unix.EPERM), unix.ENOENT), unix.EPERM, "CAP_NET_ADMIN"},
		{unix.ENOENT, unix.ENOENT, "somebody else"},
		{unix.EOPNOTSUPP, unix.EOPNOTSUPP, "Linux 5.6"},
		{unix.EINVAL, unix.EINVAL, ""},
		{os.ErrInvalid, os.ErrInvalid, ""},
	} {
		if got := explain(tt.err); !errors.Is(got, tt.is) || got != nil && !strings.Contains(got.Error(), tt.says) {
			t.Errorf("explain(%v) = %v, want %v that says %q", tt.err, got, tt.is, tt.says)
		}
	}
}

// What others keep with their rules may be anything.
func TestCommentOf(t *testing.T) {
	for data, want := range map[string]string{
		"":                           "",
		"\x00":                       "",
		"\x00\x06hello\x00":          "hello",
		"\x00\x05hello":              "hello",
		"\x05\x02ab\x00\x03ok\x00":   "ok",
		"\x00\xffcut":                "",
		"a program's plain text":     "",
		"\x01\x00\x01\x00\x00\x02hi": "hi",
	} {
		if got := commentOf(&nftables.Rule{UserData: []byte(data)}); got != want {
			t.Errorf("comment of %q is %q, want %q", data, got, want)
		}
	}
}

func TestParseXtables(t *testing.T) {
	const (
		ours         = `-A FORWARD -m conntrack --ctstate DNAT -m connmark --mark 0x10000000/0x10000000 -m comment --comment "portreeve: mapped connections" -j ACCEPT`
		forPinholes  = `-A FORWARD -m connmark --mark 0x10000000/0x10000000 -m comment --comment "portreeve: pinholes" -j ACCEPT`
		established  = "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
		lanOut       = "-A FORWARD -i lan0 -j ACCEPT"
		policyDrops  = "-P FORWARD DROP"
		policyAccept = "-P FORWARD ACCEPT"
	)
	for _, tt := range []struct {
		name  string
		lines []string
		want  xtablesState
		done  bool
	}{
		{"nobody's", []string{policyAccept}, xtablesState{}, true},
		{"drops by policy", []string{policyDrops}, xtablesState{mayDrop: true}, false},
		{"opened", []string{policyDrops, ours}, xtablesState{mayDrop: true, ours: 1}, true},
		{"accepts only", []string{policyAccept, lanOut}, xtablesState{}, true},
		{"needed no more", []string{policyAccept, ours}, xtablesState{ours: 1}, false},
		{
			"behind what is established, and the end",
			[]string{policyDrops, established, lanOut, ours},
			xtablesState{mayDrop: true, established: true, place: 2, ours: 1, behind: 2},
			true,
		},
		{
			"behind whom the owner blocks, and what only looks",
			[]string{policyAccept, "-A FORWARD -s 192.0.2.0/24 -j DROP", "-A FORWARD -m conntrack --ctstate INVALID -j DROP", `-A FORWARD -j LOG --log-prefix "-j DROP "`, ours, "-A FORWARD -j REJECT --reject-with icmp-port-unreachable"},
			xtablesState{mayDrop: true, place: 3, ours: 1, behind: 3},
			true,
		},
		{
			"before what blocks all but some",
			[]string{policyAccept, established, "-A FORWARD ! -s 192.0.2.0/24 -j DROP", ours},
			xtablesState{mayDrop: true, established: true, place: 1, ours: 1, behind: 2},
			false,
		},
		{"before what drops all but the invalid", []string{policyAccept, "-A FORWARD -m conntrack ! --ctstate INVALID -j DROP"}, xtablesState{mayDrop: true}, false},
		{"before a chain for some senders", []string{policyDrops, established, "-A FORWARD -s 192.0.2.0/24 -j office"}, xtablesState{mayDrop: true, established: true, place: 1}, false},
		{
			"Docker's, and ours not first",
			[]string{policyDrops, "-A FORWARD -j DOCKER-USER", ours},
			xtablesState{mayDrop: true, ours: 1, behind: 1},
			false,
		},
		{
			"twice",
			[]string{policyAccept, ours, established, ours, "-A FORWARD -j REJECT"},
			xtablesState{mayDrop: true, established: true, place: 1, ours: 2, behind: 1},
			false,
		},
		{"the rule of another kind", []string{policyDrops, forPinholes, ours}, xtablesState{mayDrop: true, place: 1, ours: 1, behind: 1}, true},
		{"a comment that looks like it", []string{policyAccept, `-A FORWARD -m comment --comment " -j ACCEPT" -j DROP`}, xtablesState{mayDrop: true}, false},
		{"a comment that looks like a sender", []string{policyAccept, `-A FORWARD -m comment --comment "x \" -s 192.0.2.1" -j DROP`}, xtablesState{mayDrop: true}, false},
		{"a comment of one word that looks like one", []string{policyAccept, `-A FORWARD -m comment --comment -s -j DROP`}, xtablesState{mayDrop: true}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := parseXtables(tt.lines, passage.Mapped)
			if done := (&xtables{wanted: true, state: got}).done(); got != tt.want || done != tt.done {
				t.Errorf("got %+v (done %v), want %+v (done %v)", got, done, tt.want, tt.done)
			}
		})
	}
}

func TestNextGeneration(t *testing.T) {
	for g, want := range map[uint32]uint32{1: 2, 41: 42, 0xffffffff: 1} {
		if got := next(g); got != want {
			t.Errorf("behind %d comes %d, want %d", g, got, want)
		}
	}
}
