package pcp_test

import (
	"testing"
	"time"

	"github.com/portreeve/portreeve/pcp"
)

func TestEpoch(t *testing.T) {
	const day = 24 * time.Hour
	// Each case is what happens after a first response that said 1,000 seconds.
	for _, tt := range []struct {
		name            string
		passed, says    time.Duration
		kept, keptByPMP bool
	}{
		{"at once", 0, 1000 * time.Second, true, true},
		{"an hour later", time.Hour, 4600 * time.Second, true, true},
		{"two packets in the wrong order", 0, 999 * time.Second, true, true},
		{"two seconds backwards", 0, 998 * time.Second, false, true},
		{"three seconds backwards", 0, 997 * time.Second, false, false},
		{"from the beginning", time.Minute, 0, false, false},
		{"from the beginning, so long ago that nobody can tell", day, day - time.Minute, true, true},
		{"from the beginning, just now", day, 5 * time.Second, false, false},
		{"a clock that is three percent slow", 1000 * time.Second, 1970 * time.Second, true, true},
		{"a clock that is seven percent slow", 1000 * time.Second, 1930 * time.Second, false, true},
		{"a clock that is fourteen percent slow", 1000 * time.Second, 1860 * time.Second, false, false},
		{"a clock that is three percent fast", 1000 * time.Second, 2030 * time.Second, true, true},
		{"a clock that is seven percent fast", 1000 * time.Second, 2080 * time.Second, false, true},
		{"a leap", time.Second, 100000 * time.Second, false, true},
		{"half a second that one of two clocks has not counted", 1500 * time.Millisecond, 1003 * time.Second, true, true},
		// The bounds: client + 2 >= server - server/16, and the other way round, in whole seconds.
		{"as fast as may be", 160 * time.Second, 1172 * time.Second, true, true},
		{"faster", 160 * time.Second, 1173 * time.Second, false, true},
		{"as slow as may be", 160 * time.Second, 1148 * time.Second, true, true},
		{"slower", 160 * time.Second, 1147 * time.Second, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			begin := time.Unix(1e9, 0)
			var e, pmp pcp.Epoch
			if !e.Kept(1000*time.Second, begin) || !pmp.PMPKept(1000*time.Second, begin) {
				t.Error("the first response says that something was lost")
			}
			if got := e.Kept(tt.says, begin.Add(tt.passed)); got != tt.kept {
				t.Errorf("kept: %t, want %t", got, tt.kept)
			}
			if got := pmp.PMPKept(tt.says, begin.Add(tt.passed)); got != tt.keptByPMP {
				t.Errorf("kept, by NAT-PMP: %t, want %t", got, tt.keptByPMP)
			}
			// What was heard last is what the next one is compared with, whatever it said.
			if !e.Kept(tt.says+time.Minute, begin.Add(tt.passed+time.Minute)) {
				t.Error("a minute after that something is lost again")
			}
		})
	}
}
