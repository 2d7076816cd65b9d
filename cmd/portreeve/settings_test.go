package main

import (
	"strings"
	"testing"

	"github.com/portreeve/portreeve/config"
)

func TestSettingsTellWhatTheFileSets(t *testing.T) {
	for _, s := range settings(config.Default()) {
		if s.Set || s.Value == "" {
			t.Errorf("without a file: %+v", s)
		}
	}
	cfg, err := config.Parse(strings.NewReader("[igd]\nport = 5000\nversion = 1\n[lan]\ninterfaces = [\"br0\", \"br1\"]\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"igd.port": "5000", "igd.version": "1", "lan.interfaces": "br0, br1"}
	for _, s := range settings(cfg) {
		if value, set := want[s.Name]; set != s.Set || set && value != s.Value {
			t.Errorf("%+v, want %q", s, value)
		}
	}
}
