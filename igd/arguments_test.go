package igd_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// S13, and each other argument of each action.
func TestEveryArgumentIsRequired(t *testing.T) {
	calls := map[string][]arg{
		"AddPortMapping":              add("", "8080", "TCP", "8080", alice, "1", "t", "0"),
		"AddAnyPortMapping":           add("", "8080", "TCP", "8080", alice, "1", "t", "0"),
		"DeletePortMapping":           key("", "8080", "TCP"),
		"GetSpecificPortMappingEntry": key("", "8080", "TCP"),
		"GetGenericPortMappingEntry":  {{"NewPortMappingIndex", "0"}},
		"DeletePortMappingRange":      ports("1", "2", "TCP", "0"),
		"GetListOfPortMappings":       append(ports("1", "2", "TCP", "0"), arg{"NewNumberOfPorts", "0"}),
		"SetConnectionType":           {{"NewConnectionType", "IP_Routed"}},
	}
	r := newRouter(t, lan())
	for action, args := range calls {
		for i := range args {
			without := append(append([]arg{}, args[:i]...), args[i+1:]...)
			for _, namespace := range []string{wipc1, wipc2} {
				if got := r.call(alice, namespace, action, without...); got.fault != 402 {
					t.Errorf("%s without %s: got %s, want 402", action, args[i].name, got)
				}
			}
			double := append(append([]arg{}, args...), args[i])
			if got := r.call(alice, wipc1, action, double...); got.fault != 402 {
				t.Errorf("%s with %s twice: got %s, want 402", action, args[i].name, got)
			}
		}
	}
	if got := r.mappings(); len(got) != 0 {
		t.Errorf("mappings were made: %v", got)
	}
}

// S14: nothing that is no port becomes one.
func TestWrongPorts(t *testing.T) {
	r := newRouter(t, lan())
	for _, port := range []string{
		"abc", "70000", "65536", "65616", "-1", "+8080", "8080.0", "8e3", "0x1f90", "80 80", "8_080", "", "４４",
		"99999999999999999999", "&#x38;0<b/>80", "8080<x>1</x>",
	} {
		for _, tt := range []struct {
			name string
			args []arg
		}{
			{"external port", add("", port, "TCP", "8080", alice, "1", "t", "0")},
			{"internal port", add("", "8080", "TCP", port, alice, "1", "t", "0")},
		} {
			for _, namespace := range []string{wipc1, wipc2} {
				if got := r.call(alice, namespace, "AddPortMapping", tt.args...); got.fault != 402 {
					t.Errorf("%s %q: got %s, want 402", tt.name, port, got)
				}
			}
		}
	}
	if got := r.mappings(); len(got) != 0 {
		t.Errorf("mappings were made: %v", got)
	}
}

func TestArgumentsInAnyOrderWithExtras(t *testing.T) {
	r := newRouter(t, lan())
	args := add("", "8080", "TCP", "9090", alice, "yes", "t", "007")
	for i, j := 0, len(args)-1; i < j; i, j = i+1, j-1 {
		args[i], args[j] = args[j], args[i]
	}
	args = append(args, arg{"NewFoo", "bar"})
	if got := r.call(alice, wipc1, "AddPortMapping", args...); got.status != 200 {
		t.Fatalf("got %s, want 200", got)
	}
	if diff := cmp.Diff([]string{"tcp 8080 -> 192.168.1.10:9090"}, r.mappings()); diff != "" {
		t.Errorf("mappings (-want +got):\n%s", diff)
	}
}
