package conformance

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/test/lab"
)

// control is a control connection of FTP, both ends of it.
type control struct{ client, server net.Conn }

// openControl connects a client to a server that listens on one host by what is dialled from another.
func openControl(t *testing.T, from, to *lab.Host, listen, dialled netip.AddrPort) control {
	t.Helper()
	listener, err := to.Listen(t.Context(), "tcp4", listen.String())
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	c := control{client: dial(t, from, dialled)}
	if c.server, err = listener.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.server.Close() })
	passes(t, c.server, c.client, "220 ready") // the kernel reads from the second line on
	passes(t, c.client, c.server, "USER anonymous")
	return c
}

// passes sends a line and returns what comes out at the other end.
func passes(t *testing.T, from, to net.Conn, line string) string {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	if err := to.SetDeadline(deadline); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprint(from, line, "\r\n"); err != nil {
		t.Fatal(err)
	}
	got, err := bufio.NewReader(to).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(got)
}

// inFTP writes an address and port as FTP does (RFC 959, section 4.1.2), fromFTP finds one in a line.
func inFTP(a netip.AddrPort) string {
	return fmt.Sprintf("%s,%d,%d", strings.ReplaceAll(a.Addr().String(), ".", ","), a.Port()>>8, a.Port()&0xff)
}

func fromFTP(t *testing.T, line string) netip.AddrPort {
	t.Helper()
	n := regexp.MustCompile(`\d+,\d+,\d+,\d+,\d+,\d+`).FindString(line)
	parts := strings.Split(n, ",")
	if len(parts) != 6 {
		t.Fatalf("no address in %q", line)
	}
	high, _ := strconv.Atoi(parts[4])
	low, _ := strconv.Atoi(parts[5])
	return netip.AddrPortFrom(netip.MustParseAddr(strings.Join(parts[:4], ".")), uint16(high<<8|low))
}

// With the helper, FTP works where one end tells the other an address and port of a LAN host: in active mode of a client, and
// of a server behind a mapping, whatever port that has outside. Without it, it does not.
func TestHelperOfFTP(t *testing.T) {
	inOwners(t, lab.Options{}, func(t *testing.T, s subject, home *lab.Home) {
		server := mapping(t, "tcp 2121 192.168.1.10:21")
		data := home.LAN1.Echo(t, "tcp", "192.168.1.10:5000")
		mentioned := at(home.LAN1.Addr, 5000)
		exchanged := func() (active, passive netip.AddrPort) {
			t.Helper()
			c := openControl(t, home.LAN1, home.Internet, at(home.Peers[0], 21), at(home.Peers[0], 21))
			active = fromFTP(t, passes(t, c.client, c.server, "PORT "+inFTP(mentioned)))
			c.server.Close()
			c = openControl(t, home.Internet, home.LAN1, at(home.LAN1.Addr, 21), at(home.WAN, 2121))
			passive = fromFTP(t, passes(t, c.server, c.client, "227 Entering Passive Mode ("+inFTP(mentioned)+")"))
			return active, passive
		}
		for _, nat := range []lease.NAT{{}, {Helpers: []lease.Helper{{Name: "ftp", LAN: "other"}}}} {
			s.syncNAT(t, nat, server)
			if active, passive := exchanged(); active != mentioned || passive != mentioned {
				t.Errorf("without helper %s becomes %s and %s", mentioned, active, passive)
			}
		}
		for _, nat := range []lease.NAT{
			{Helpers: []lease.Helper{{Name: "ftp"}, {Name: "ftp", LAN: "br-lan"}}},
			{Helpers: []lease.Helper{{Name: "sip"}, {Name: "ftp", LAN: "br-lan"}}},
		} {
			s.syncNAT(t, nat, server)
			c := openControl(t, home.LAN1, home.Internet, at(home.Peers[0], 21), at(home.Peers[0], 21))
			told := fromFTP(t, passes(t, c.client, c.server, "PORT "+inFTP(mentioned)))
			if told.Addr() != home.WAN {
				t.Errorf("a server is told %s, want the router", told)
			}
			lab.Probe{Network: "tcp", From: home.Internet, Local: at(home.Peers[0], 0), To: told}.MustReach(t)
			c.server.Close()

			c = openControl(t, home.Internet, home.LAN1, at(home.LAN1.Addr, 21), at(home.WAN, 2121))
			told = fromFTP(t, passes(t, c.server, c.client, "227 Entering Passive Mode ("+inFTP(mentioned)+")"))
			if told.Addr() != home.WAN {
				t.Errorf("a client is told %s, want the router", told)
			}
			before := len(data.Peers())
			lab.Probe{Network: "tcp", From: home.Internet, To: told}.MustReach(t)
			if len(data.Peers()) == before {
				t.Error("somebody else than the server was reached")
			}
			if n := s.syncNAT(t, nat, server); n != 0 {
				t.Errorf("sync again has repaired %d leases", n)
			}
		}
		s.syncNAT(t, lease.NAT{}, server)
		if active, _ := exchanged(); active != mentioned {
			t.Errorf("helper off again: %s becomes %s", mentioned, active)
		}
	})
}

// All helpers that there are can be had at once. One that the kernel lacks is told, and keeps nothing else from working.
func TestHelpers(t *testing.T) {
	inOwners(t, lab.Options{}, func(t *testing.T, s subject, home *lab.Home) {
		home.LAN1.Echo(t, "udp", "0.0.0.0:3074")
		s.sync(t, console(t))
		empty := s.rules(t)
		var nat lease.NAT
		for _, name := range lease.HelperNames() {
			nat.Helpers = append(nat.Helpers, lease.Helper{Name: name})
		}
		s.syncNAT(t, nat, console(t))
		full := s.rules(t)
		if n := s.syncNAT(t, nat, console(t)); n != 0 {
			t.Errorf("sync again has repaired %d leases", n)
		}
		s.add(t, whole("dmz", "", "192.168.1.11"))
		s.remove(t, whole("dmz", "", "192.168.1.11"))
		sameRules(t, "after others have come and gone", full, s.rules(t))
		if problems := s.Check(t.Context()); len(problems) > 0 {
			t.Errorf("problems %+v", problems)
		}
		nat.Helpers = append(nat.Helpers, lease.Helper{Name: "nosuchhelper"})
		s.syncNAT(t, nat, console(t))
		sameRules(t, "with one that is not there", full, s.rules(t))
		fromPeer(home, "udp", 0, 3074).MustReach(t)
		if problems := s.Check(t.Context()); len(problems) != 1 || !strings.Contains(problems[0].What, "nosuchhelper") || problems[0].Do == "" {
			t.Errorf("problems %+v, want one about the helper", problems)
		}
		s.flush(t)
		s.syncNAT(t, nat, console(t))
		sameRules(t, "repaired", full, s.rules(t))
		s.sync(t, console(t))
		sameRules(t, "without helpers again", empty, s.rules(t))
	})
}
