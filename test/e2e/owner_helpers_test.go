package e2e_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portreeve/portreeve/test/lab"
)

// Protocols that tell addresses in what they say, with programs of Debian at both ends: with the helper a transfer of FTP in
// active mode works, and a call of SIP is heard and ended by the other side; without it neither does.
func TestHelpersWithRealPrograms(t *testing.T) {
	t.Parallel()
	inAll(t, func(t *testing.T, f flavour) {
		home, state := f.home(t), t.TempDir()
		site := filepath.Dir(write(t, "news", "all is well\n"))
		serveFTP(t, home.Internet, home.Peers[0].String(), site)
		serveFTP(t, home.LAN1, home.LAN1.Addr.String(), site)
		for _, on := range []bool{false, true} {
			config := ""
			if on {
				config = "[nat]\nhelpers = [\"ftp\", \"sip\"]\n"
			}
			d := f.start(t, home, lab.DaemonOptions{StateDir: state, Config: config})
			if !on {
				d.MustCLI(t, "forward", "add", "--name", "ftp", "--protocol", "tcp", "--ports", "2121", "--to-ports", "21", "--to", home.LAN1.Addr.String())
			}
			// A server at home speaks to those who know only the router's address (RFC 959, section 3.2: active and passive).
			inside, outside := "ftp://"+home.Peers[0].String()+"/news", "ftp://"+home.WAN.String()+":2121/news"
			for name, err := range map[string]error{
				"curl, active (EPRT)":                     fetch(t, home.LAN1, "curl", "-sS", "--max-time", "5", "--ftp-port", "-", inside),
				"curl, active (PORT)":                     fetch(t, home.LAN1, "curl", "-sS", "--max-time", "5", "--ftp-port", "-", "--disable-eprt", inside),
				"tnftp, active":                           fetch(t, home.LAN2, "tnftp", "-A", "-V", "-o", "-", inside),
				"curl, passive (EPSV), the server inside": fetch(t, home.Internet, "curl", "-sS", "--max-time", "5", "--connect-timeout", "1", outside),
			} {
				if (err == nil) != on {
					t.Errorf("helper %v: FTP by %s: %v", on, name, err)
				}
			}
			// A call while the router remembers the one before would not be read along: helpers are given to what begins.
			home.Router.Run(t, "conntrack", "-F")
			if heard, err := telephone(t, home); heard != on || (err == nil) != on {
				t.Errorf("helper %v: the caller heard something: %v; how the call ended: %v", on, heard, err)
			}
			if err := d.Stop(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// serveFTP serves a folder to everybody.
func serveFTP(t *testing.T, h *lab.Host, addr, folder string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	// Debian's Python, which need not be the first of the path.
	cmd := h.Command(ctx, "/usr/bin/python3", "-m", "pyftpdlib", "-i", addr, "-p", "21", "-d", folder)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was killed
	})
	lab.Eventually(t, within, "an FTP server", func() error {
		conn, err := h.Dial(t.Context(), "tcp", addr+":21")
		if err == nil {
			err = conn.Close()
		}
		return err
	})
}

// fetch runs a command that writes the news to its output, and returns an error if it does not.
func fetch(t *testing.T, h *lab.Host, command string, args ...string) error {
	t.Helper()
	out, err := h.Output(t.Context(), command, args...)
	if err == nil && !strings.Contains(out, "all is well") {
		err = errors.New("it wrote " + out)
	}
	return err
}

// telephone has a host call somebody in the internet. It tells whether what that one says is heard, and how the call ends,
// which the one who was called hangs up.
func telephone(t *testing.T, home *lab.Home) (heard bool, err error) {
	t.Helper()
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "talk.raw"), make([]byte, 8000), 0o600); err != nil {
		t.Fatal(err)
	}
	phone := func(h *lab.Host, scenario, media string, more ...string) func() error {
		path, err := filepath.Abs(filepath.Join("testdata", scenario))
		if err != nil {
			t.Fatal(err)
		}
		cmd := h.Command(t.Context(), "sipp", append([]string{
			"-sf", path, "-i", h.Addr.String(), "-p", "5060", "-mp", media, "-m", "1", "-nostdin", "-timeout", "8",
		}, more...)...)
		cmd.Dir = folder
		output := &strings.Builder{}
		cmd.Stdout, cmd.Stderr = output, output
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return func() error {
			if err := cmd.Wait(); err != nil {
				return errors.New(scenario + ": " + err.Error() + "\n" + output.String())
			}
			return nil
		}
	}
	ear := home.LAN1.Capture(t)
	called := phone(home.Internet, "sip-callee.xml", "7000")
	lab.Eventually(t, within, "a telephone", func() error {
		if out := home.Internet.Run(t, "ss", "-Huln", "sport", "=", "5060"); out == "" {
			return errors.New("none listens")
		}
		return nil
	})
	calls := phone(home.LAN1, "sip-caller.xml", "6000", home.Peers[0].String()+":5060")
	err = errors.Join(called(), calls())
	heard = len(ear.Packets(func(p lab.Packet) bool { return p.Network == "udp" && p.Dst == at(home.LAN1.Addr, 6000) })) > 0
	return heard, err
}
