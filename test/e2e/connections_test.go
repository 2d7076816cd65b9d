package e2e_test

import (
	"errors"
	"testing"
	"time"

	"github.com/portreeve/portreeve/test/lab"
)

// What becomes of an established connection when the client deletes its mapping is for the owner to say. A new one is
// shut out either way.
func TestConnectionsOfADeletedMapping(t *testing.T) {
	t.Parallel()
	for name, ends := range map[string]bool{"ended": true, "kept": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inAll(t, func(t *testing.T, f flavour) {
				o := lab.DaemonOptions{}
				if !ends {
					o.Config = "[firewall]\nend_connections = false\n"
				}
				home, _ := newHome(t, f, o)
				home.LAN1.Echo(t, "tcp", "192.168.1.10:8080")
				mustSOAP(t, home.LAN1, wanIP1, "AddPortMapping", mapping(8080, "TCP", 8080, "192.168.1.10", "3600"))
				conn, err := home.Internet.Dial(t.Context(), "tcp", at(home.WAN, 8080).String())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				echoed := func(wait time.Duration) error {
					if _, err := conn.Write([]byte("still there?\n")); err != nil {
						return err
					}
					if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
						return err
					}
					_, err := conn.Read(make([]byte, 256))
					return err
				}
				if err := echoed(within); err != nil {
					t.Fatalf("before: %v", err)
				}
				mustSOAP(t, home.LAN1, wanIP1, "DeletePortMapping", which(8080, "TCP"))
				lab.Probe{Network: "tcp", From: home.Internet, To: at(home.WAN, 8080)}.MustNotReach(t)
				if !ends {
					if err := echoed(within); err != nil {
						t.Errorf("the connection was to go on: %v", err)
					}
					return
				}
				lab.Eventually(t, within, "the connection ends", func() error {
					const moment = 300 * time.Millisecond
					if err := echoed(moment); err == nil {
						return errors.New("it goes on")
					}
					return nil // reset, or nothing comes back any more
				})
			})
		})
	}
}
