package lease_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/portreeve/portreeve/lease"
)

func TestWindowsAsText(t *testing.T) {
	for text, want := range map[string]string{
		"16:00-22:00": "16:00-22:00", "Mon-Fri 8:00-24:00": "Mon,Tue,Wed,Thu,Fri 08:00-24:00",
		"sat,Sunday  20:00-02:00": "Sun,Sat 20:00-02:00", "Fri-Mon 00:00-24:00": "Sun,Mon,Fri,Sat 00:00-24:00",
		"Mon-Sun 01:00-02:00": "01:00-02:00",
	} {
		w, err := lease.ParseWindow(text)
		if err != nil || w.String() != want {
			t.Errorf("%q: %s, %v, want %s", text, w, err, want)
		}
		if again, err := lease.ParseWindow(w.String()); err != nil || again.String() != want {
			t.Errorf("%q again: %s, %v", w, again, err)
		}
	}
	for text, want := range map[string]string{
		"": "allowed is such as", "Mon": "a beginning and an end", "Mo 1:00-2:00": `days are "Mo"`, "1:00-25:00": `time "25:00"`,
		"24:00-1:00": "before 24:00", "Mon 1:00-2:00 x": "allowed is such as",
	} {
		if _, err := lease.ParseWindow(text); !errors.Is(err, lease.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
