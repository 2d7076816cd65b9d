package igd_test

import (
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/igd"
)

var update = flag.Bool("update", false, "write the golden files anew")

func get(t *testing.T, handler http.Handler, path string) string {
	t.Helper()
	req := httptest.NewRequest(http.MethodGet, path, nil)
	req.RemoteAddr, req.Host = alice+":40000", "192.168.1.1:49000"
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, req)
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != `text/xml; charset="utf-8"` {
		t.Fatalf("%s: status %d, content type %q", path, w.Code, w.Header().Get("Content-Type"))
	}
	return w.Body.String()
}

// The documents are an interface: every change of them is a change for every client and belongs into a review.
func TestGoldenDescriptions(t *testing.T) {
	handler := igd.Handler(t, newServer(t, offline{}, &line{}), lan())
	for path, file := range map[string]string{
		igd.DescriptionPath:        "root.xml",
		igd.Description2Path:       "root2.xml",
		igd.DialledDescriptionPath: "rootppp.xml",
		"/scpd/IPConn.xml":         "wanipconnection1.xml",
		"/scpd/2/IPConn.xml":       "wanipconnection2.xml",
		"/scpd/PPPConn.xml":        "wanpppconnection1.xml",
		"/scpd/IP6FCtl.xml":        "wanipv6firewallcontrol1.xml",
		"/scpd/EthLinkC.xml":       "wanethernetlinkconfig1.xml",
		"/scpd/CmnIfCfg.xml":       "wancommoninterfaceconfig1.xml",
		"/scpd/L3F.xml":            "layer3forwarding1.xml",
	} {
		t.Run(file, func(t *testing.T) {
			got := get(t, handler, path)
			golden := filepath.Join("testdata", "golden", file)
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
				t.Errorf("%s (-want +got):\n%s", path, diff)
			}
		})
	}
}

// offline is a Leases that nobody asks.
type offline struct{ igd.Leases }

func (offline) Now() time.Time { return time.Now() }

func TestDescriptionIsPerLAN(t *testing.T) {
	server := newServer(t, offline{}, &line{})
	document := get(t, igd.Handler(t, server, lan()), igd.DescriptionPath)
	if !strings.Contains(document, "<presentationURL>http://192.168.1.1:8351/</presentationURL>") {
		t.Errorf("no link to the router's pages:\n%s", document)
	}
	if strings.Contains(document, "URLBase") || strings.Count(document, "192.168.1.1") != 1 {
		t.Errorf("addresses in the description:\n%s", document)
	}
}

func TestIdentity(t *testing.T) {
	cfg := igd.Config{UUID: [16]byte{15: 1}, Leases: offline{}, Outside: &line{}, Version: "1"}
	build := func(cfg igd.Config) *igd.Server {
		t.Helper()
		server, err := igd.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return server
	}
	first, again := build(cfg), build(cfg)
	if diff := cmp.Diff(first.Targets(), again.Targets()); diff != "" || first.ConfigID() != again.ConfigID() {
		t.Errorf("the same machine is another device after a restart:\n%s", diff)
	}
	cfg.Version = "2"
	if updated := build(cfg); updated.ConfigID() == first.ConfigID() || updated.ConfigID() >= 1<<24 {
		t.Errorf("configuration number %d after %d", updated.ConfigID(), first.ConfigID())
	}
	cfg.UUID[0] = 1
	if other := build(cfg); other.Targets()[0] == first.Targets()[0] {
		t.Error("two machines have the same name")
	}
	for _, target := range first.Targets() {
		if strings.Contains(target.UDN, "00000000-0000") {
			t.Errorf("%s gives the machine's identity away", target.UDN)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	_, err := igd.New(igd.Config{Product: "a\r\nb"})
	for _, want := range []string{"UUID is all zero", "printable ASCII", "leases and outside"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not tell of %q", err, want)
		}
	}
}
