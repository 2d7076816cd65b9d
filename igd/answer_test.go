package igd

import (
	"fmt"
	"testing"

	"github.com/portreeve/portreeve/lease"
)

func TestAnswer(t *testing.T) {
	for _, tt := range []struct {
		action  string
		version int
		err     error
		want    string
	}{
		{"AddPortMapping", 1, nil, "0 OK"},
		{"AddPortMapping", 1, lease.ErrPort, "718 ConflictInMappingEntry"},
		{"AddPortMapping", 2, fmt.Errorf("%w: port 22", lease.ErrPort), "606 Action not authorized"},
		{"AddAnyPortMapping", 2, lease.ErrFull, "728 NoPortMapsAvailable"},
	} {
		if code, name := Answer(tt.action, tt.version, tt.err); fmt.Sprintf("%d %s", code, name) != tt.want {
			t.Errorf("%s %d, %v: %d %s, want %s", tt.action, tt.version, tt.err, code, name, tt.want)
		}
	}
}
