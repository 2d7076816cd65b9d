package main

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/config"
	"github.com/portreeve/portreeve/lease"
)

// A rule of the configuration file does not take a port of ours because our servers begin to listen after it.
func TestOwnPortsAreKnownBeforeTheyListen(t *testing.T) {
	cfg := config.Default()
	cfg.Web.Enable = false
	ssh := lease.Port{Protocol: lease.TCP, Number: 22}
	known := func(context.Context) (lease.Listeners, error) { return lease.Listeners{ssh: {}}, nil }
	got, err := withOwnPorts(cfg, known)(t.Context())
	if d := cmp.Diff(lease.Listeners{ssh: {}, {Protocol: lease.TCP, Number: 49000}: {}, {Protocol: lease.UDP, Number: 1900}: {}, {Protocol: lease.UDP, Number: 5351}: {}}, got); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	failing := errors.New("no")
	if _, err := withOwnPorts(cfg, func(context.Context) (lease.Listeners, error) { return nil, failing })(t.Context()); !errors.Is(err, failing) {
		t.Errorf("error %v", err)
	}
}
