package igd_test

import (
	"testing"

	"github.com/portreeve/portreeve/test/netns"
)

// The sockets of these tests are on a loopback interface of their own.
func TestMain(m *testing.M) { netns.Main(m) }
