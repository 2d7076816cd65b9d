package e2e_test

import "net/netip"

// errorText is an error that is only a text, for what a test waits for.
type errorText string

func (e errorText) Error() string { return string(e) }

const errStillThere = errorText("it is still listed")

func mustAddr(s string) netip.Addr { return netip.MustParseAddr(s) }
