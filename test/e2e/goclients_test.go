package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/huin/goupnp/dcps/internetgateway1"
	natpmp "github.com/jackpal/go-nat-pmp"

	"github.com/portreeve/portreeve/test/lab"
)

// clientTask is the variable that makes the test binary one of the Go clients, which start goroutines of their own and
// so must be processes in the LAN host's network.
const clientTask = "PORTREEVE_E2E_CLIENT"

// runClient does one task and prints what it learned.
func runClient(task string, args []string) int {
	err := map[string]func([]string) error{"goupnp": useGoupnp, "goupnp-versions": useGoupnpVersions, "go-nat-pmp": useNATPMP, "browser": useBrowser}[task](args)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// useGoupnp discovers the gateway and opens, reads and deletes a mapping for args[0].
func useGoupnp(args []string) error {
	clients, faults, err := internetgateway1.NewWANIPConnection1Clients()
	if err != nil || len(faults) > 0 || len(clients) != 1 {
		return fmt.Errorf("discovery found %d clients, faults %v, error %w", len(clients), faults, err)
	}
	c := clients[0]
	status, lastError, _, err := c.GetStatusInfo()
	if err != nil || status != "Connected" || lastError != "ERROR_NONE" {
		return fmt.Errorf("status %q, last error %q, error %w", status, lastError, err)
	}
	if _, nat, err := c.GetNATRSIPStatus(); err != nil || !nat {
		return fmt.Errorf("NAT enabled: %v, error %w", nat, err)
	}
	external, err := c.GetExternalIPAddress()
	if err != nil {
		return err
	}
	if err := c.AddPortMapping("", 6000, "UDP", 6001, args[0], true, "goupnp", 600); err != nil {
		return err
	}
	port, client, enabled, description, lifetime, err := c.GetSpecificPortMappingEntry("", 6000, "UDP")
	if err != nil {
		return err
	}
	fmt.Println(external, port, client, enabled, description, lifetime > 595 && lifetime <= 600)
	if err := c.DeletePortMapping("", 6000, "UDP"); err != nil {
		return err
	}
	switch _, _, _, _, _, err := c.GetSpecificPortMappingEntry("", 6000, "UDP"); {
	case err == nil:
		return errors.New("the mapping is still there after the delete")
	case !strings.Contains(err.Error(), "714"):
		return fmt.Errorf("after the delete, want 714: %w", err)
	}
	return nil
}

// useNATPMP maps a port at the gateway args[0] and deletes it.
func useNATPMP(args []string) error {
	c := natpmp.NewClientWithTimeout(net.ParseIP(args[0]), 10*time.Second)
	external, err := c.GetExternalAddress()
	if err != nil {
		return err
	}
	m, err := c.AddPortMapping("tcp", 7000, 7001, 7200)
	if err != nil {
		return err
	}
	again, err := c.AddPortMapping("tcp", 7000, 7999, 7200)
	if err != nil {
		return err
	}
	fmt.Println(net.IP(external.ExternalIPAddress[:]), m.MappedExternalPort, again.MappedExternalPort, m.PortMappingLifetimeInSeconds)
	_, err = c.AddPortMapping("tcp", 7000, 0, 0)
	return err
}

func goClient(t *testing.T, from *lab.Host, task string, args ...string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := from.Command(ctx, self, args...)
	cmd.Env = append(cmd.Env, clientTask+"="+task)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", task, err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

func TestGoupnp(t *testing.T) {
	t.Parallel()
	home, d := newHome(t, usual(), lab.DaemonOptions{})
	want := strings.Join([]string{home.WAN.String(), "6001", "192.168.1.10", "true", "goupnp", strconv.FormatBool(true)}, " ")
	if got := goClient(t, home.LAN1, "goupnp", "192.168.1.10"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if left := leases(t, d); len(left) != 0 {
		t.Errorf("left over: %+v", left)
	}
}

func TestGoNATPMP(t *testing.T) {
	t.Parallel()
	home, d := newHome(t, usual(), lab.DaemonOptions{})
	want := home.WAN.String() + " 7001 7001 7200"
	if got := goClient(t, home.LAN1, "go-nat-pmp", "192.168.1.1"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if left := leases(t, d); len(left) != 0 {
		t.Errorf("left over: %+v", left)
	}
}
