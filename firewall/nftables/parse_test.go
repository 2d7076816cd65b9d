package nftables

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
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
	const ours = `-A FORWARD -m conntrack --ctstate DNAT -m connmark --mark 0x10000000/0x10000000 -m comment --comment "portreeve: mapped connections" -j ACCEPT`
	for _, tt := range []struct {
		name  string
		lines []string
		want  xtablesState
		done  bool
	}{
		{"nobody's", []string{"-P FORWARD ACCEPT"}, xtablesState{}, true},
		{"drops by policy", []string{"-P FORWARD DROP"}, xtablesState{mayDrop: true}, false},
		{"opened", []string{"-P FORWARD DROP", ours}, xtablesState{mayDrop: true, ours: 1, first: true}, true},
		{"accepts only", []string{"-P FORWARD ACCEPT", "-A FORWARD -i lan0 -j ACCEPT"}, xtablesState{}, true},
		{"needed no more", []string{"-P FORWARD ACCEPT", ours}, xtablesState{ours: 1, first: true}, false},
		{
			"Docker's, and ours not first",
			[]string{"-P FORWARD DROP", "-A FORWARD -j DOCKER-USER", ours},
			xtablesState{mayDrop: true, ours: 1},
			false,
		},
		{
			"twice",
			[]string{"-P FORWARD ACCEPT", ours, "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", ours, "-A FORWARD -j REJECT"},
			xtablesState{mayDrop: true, established: true, ours: 2, first: true},
			false,
		},
		{"a comment that looks like it", []string{"-P FORWARD ACCEPT", `-A FORWARD -m comment --comment " -j ACCEPT" -j DROP`}, xtablesState{mayDrop: true}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := parseXtables(tt.lines)
			if done := (&xtables{state: got}).done(); got != tt.want || done != tt.done {
				t.Errorf("got %+v (done %v), want %+v (done %v)", got, done, tt.want, tt.done)
			}
		})
	}
}
