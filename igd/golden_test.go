package igd_test

import (
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/igd"
)

// noon is a Leases at which time stands still.
type noon struct{ igd.Leases }

func (noon) Now() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) }

// The answers byte for byte: what net/http and others make of them is tested elsewhere, what the clients of a dozen years make
// of them is not known.
func TestGoldenAnswers(t *testing.T) {
	call := func(action string) string {
		text := body(wipc1, action)
		return "POST /ctl/IPConn HTTP/1.1\r\nHost: 192.168.1.1:49000\r\nSOAPAction: \"" + wipc1 + "#" + action + "\"\r\nContent-Length: " +
			strconv.Itoa(len(text)) + "\r\n\r\n" + text
	}
	address := call("GetExternalIPAddress")
	for name, raw := range map[string]string{
		"address":          address,
		"address-1.0":      strings.Replace(address, "HTTP/1.1", "HTTP/1.0", 1),
		"address-1.0-kept": strings.Replace(address, "HTTP/1.1", "HTTP/1.0\r\nConnection: Keep-Alive", 1),
		"address-last":     strings.Replace(address, "HTTP/1.1", "HTTP/1.1\r\nConnection: close", 1),
		"address-expected": strings.Replace(address, "HTTP/1.1", "HTTP/1.1\r\nExpect: 100-continue", 1),
		"no-results":       call("RequestConnection"),
		"fault":            call("NoSuchAction"),
		"head":             "HEAD /rootDesc.xml HTTP/1.1\r\nHost: 192.168.1.1:49000\r\nAccept-Language: de\r\n\r\n",
		"method":           "GET /ctl/IPConn HTTP/1.1\r\nHost: 192.168.1.1:49000\r\n\r\n",
		"method-unknown":   "SUBSCRIBE /ctl/IPConn HTTP/1.1\r\nHost: 192.168.1.1:49000\r\n\r\n",
		"path-unknown":     "GET /favicon.ico HTTP/1.1\r\nHost: 192.168.1.1:49000\r\n\r\n",
		"host-foreign":     "GET /rootDesc.xml HTTP/1.1\r\nHost: evil.example\r\n\r\n",
		"malformed":        "GET /rootDesc.xml\r\n\r\n",
		"too-long":         "POST /ctl/IPConn HTTP/1.1\r\nSOAPAction: a#b\r\nContent-Length: 1000000\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			l := &line{state: igd.WANState{Up: true, Addr: netip.MustParseAddr("203.0.113.5")}}
			// The body comes later, so that who expects to be asked is asked.
			head, text, _ := strings.Cut(raw, "\r\n\r\n")
			sent := io.MultiReader(strings.NewReader(head+"\r\n\r\n"), strings.NewReader(text))
			got := string(igd.Exchange(newServer(t, noon{}, l), lan(), netip.MustParseAddr(alice), sent))
			golden := filepath.Join("testdata", "golden", "answers", name+".http")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
}
