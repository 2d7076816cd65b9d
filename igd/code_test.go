package igd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/portreeve/portreeve/lease"
)

// Every error of the manager, in every action that can meet it, for both versions.
func TestRefusal(t *testing.T) {
	actions := []string{addPortMapping, addAnyPortMapping, deletePortMapping, deletePortMappingRange}
	tests := []struct {
		err     error
		want    [4][2]code // by action, then by version
		pinhole int        // of WANIPv6FirewallControl
	}{
		{lease.ErrInvalid, [4][2]code{{402, 402}, {402, 402}, {402, 402}, {402, 402}}, 402},
		{lease.ErrProtocol, [4][2]code{{402, 601}, {402, 601}, {402, 601}, {402, 601}}, 705},
		{lease.ErrNotAuthorized, [4][2]code{{606, 606}, {606, 606}, {714, 606}, {730, 730}}, 606},
		{lease.ErrThirdParty, [4][2]code{{606, 606}, {606, 606}, {714, 606}, {730, 730}}, 606},
		{lease.ErrPort, [4][2]code{{718, 606}, {501, 728}, {501, 501}, {501, 501}}, 606},
		{lease.ErrReserved, [4][2]code{{718, 729}, {501, 729}, {501, 501}, {501, 501}}, 606},
		{lease.ErrConflict, [4][2]code{{718, 718}, {501, 728}, {501, 501}, {501, 501}}, 701},
		{lease.ErrQuota, [4][2]code{{501, 728}, {501, 728}, {501, 501}, {501, 501}}, 701},
		{lease.ErrFull, [4][2]code{{501, 728}, {501, 728}, {501, 501}, {501, 501}}, 701},
		{lease.ErrNonce, [4][2]code{{718, 729}, {501, 729}, {714, 606}, {730, 730}}, 606},
		{lease.ErrNotFound, [4][2]code{{501, 501}, {501, 501}, {714, 714}, {730, 730}}, 704},
		{lease.ErrUnavailable, [4][2]code{{501, 501}, {501, 501}, {501, 501}, {501, 501}}, 501},
		{lease.ErrStopping, [4][2]code{{501, 501}, {501, 501}, {501, 501}, {501, 501}}, 501},
		{context.DeadlineExceeded, [4][2]code{{501, 501}, {501, 501}, {501, 501}, {501, 501}}, 501},
	}
	covered := map[error]bool{}
	for _, tt := range tests {
		covered[tt.err] = true
		for i, action := range actions {
			for version := 1; version <= 2; version++ {
				wrapped := fmt.Errorf("%w: because", tt.err)
				if got, want := refusal(action, version, wrapped), tt.want[i][version-1]; got != want {
					t.Errorf("%v in %s, version %d: got %d, want %d", tt.err, action, version, got, want)
				}
			}
		}
	}
	for _, tt := range tests {
		for _, action := range []string{addPinhole, updatePinhole, deletePinhole} {
			if got := refusal(action, 1, fmt.Errorf("%w: because", tt.err)); got.number() != tt.pinhole {
				t.Errorf("%v in %s: got %d, want %d", tt.err, action, got.number(), tt.pinhole)
			}
		}
	}
	// What is a kind of another error has the row of that.
	covered[lease.ErrWaiting], covered[lease.ErrPaused] = true, true
	for _, err := range []error{lease.ErrWaiting, lease.ErrPaused} {
		for _, action := range []string{addPortMapping, addAnyPortMapping, addPinhole} {
			if got, want := refusal(action, 2, err), refusal(action, 2, lease.ErrUnavailable); got != want {
				t.Errorf("%v in %s: got %d, want %d", err, action, got, want)
			}
		}
	}
	for _, err := range lease.Errors() {
		if !covered[err] {
			t.Errorf("%v has no row", err)
		}
	}
}

// Version 1 does not know these (WANIPConnection:2, section 2.5, lists them as additions).
func TestVersion1GetsNoNewCodes(t *testing.T) {
	added := []code{noPortMapsAvailable, conflictWithOthers, portMappingNotFound, wildcardInIntPort, inconsistentParameter}
	for _, err := range lease.Errors() {
		for _, action := range []string{addPortMapping, deletePortMapping} {
			if c := refusal(action, 1, err); slices.Contains(added, c) {
				t.Errorf("%v in %s: version 1 gets %v", err, action, c)
			}
		}
	}
}

func TestEveryCodeHasItsText(t *testing.T) {
	for _, err := range lease.Errors() {
		for _, action := range []string{addPortMapping, addAnyPortMapping, deletePortMapping, deletePortMappingRange, addPinhole, deletePinhole} {
			for version := 1; version <= 2; version++ {
				if c := refusal(action, version, err); c.String() == "Error" {
					t.Errorf("code %d has no text", int(c))
				}
			}
		}
	}
	if got := code(799).String(); got != "Error" {
		t.Errorf("an unknown code is called %q", got)
	}
	if got := noSuchPinhole.String() + setupFailed.String(); got != "NoSuchEntryConnectionSetupFailed" || noSuchPinhole.number() != setupFailed.number() {
		t.Errorf("704 is %q", got)
	}
	if err := error(conflict); !errors.Is(err, conflict) || err.Error() != "718 ConflictInMappingEntry" {
		t.Errorf("a code as an error reads %q", err)
	}
}
