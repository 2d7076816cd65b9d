package igd_test

import (
	"encoding/xml"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/huin/goupnp"
	"github.com/huin/goupnp/scpd"

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
		igd.DescriptionPath:  "root.xml",
		"/scpd/IPConn.xml":   "wanipconnection1.xml",
		"/scpd/CmnIfCfg.xml": "wancommoninterfaceconfig1.xml",
		"/scpd/L3F.xml":      "layer3forwarding1.xml",
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

func TestDescribedServices(t *testing.T) {
	handler := igd.Handler(t, newServer(t, offline{}, &line{}), lan())
	var root goupnp.RootDevice
	if err := xml.Unmarshal([]byte(get(t, handler, igd.DescriptionPath)), &root); err != nil {
		t.Fatal(err)
	}
	// The actions that the specifications require, and the optional ones that we have.
	want := map[string][]string{
		l3f1: {"GetDefaultConnectionService", "SetDefaultConnectionService"},
		wcic1: {
			"GetCommonLinkProperties", "GetTotalBytesReceived", "GetTotalBytesSent",
			"GetTotalPacketsReceived", "GetTotalPacketsSent",
		},
		wipc1: {
			"AddPortMapping", "DeletePortMapping", "ForceTermination", "GetConnectionTypeInfo", "GetExternalIPAddress",
			"GetGenericPortMappingEntry", "GetNATRSIPStatus", "GetSpecificPortMappingEntry", "GetStatusInfo",
			"RequestConnection", "SetConnectionType",
		},
	}
	got := map[string][]string{}
	root.Device.VisitServices(func(s *goupnp.Service) {
		if s.EventSubURL.Str != "" {
			t.Errorf("%s announces events", s.ServiceType)
		}
		document := get(t, handler, s.SCPDURL.Str)
		if strings.Contains(document, "List></") {
			t.Errorf("%s has an empty list:\n%s", s.ServiceType, document)
		}
		var description scpd.SCPD
		if err := xml.Unmarshal([]byte(document), &description); err != nil {
			t.Fatal(err)
		}
		checkVariables(t, description)
		actions := []string{}
		for _, a := range description.Actions {
			actions = append(actions, a.Name)
		}
		slices.Sort(actions)
		got[s.ServiceType] = actions
	})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("described actions (-want +got):\n%s", diff)
	}
}

// checkVariables tells whether each argument has its variable and each variable an argument.
func checkVariables(t *testing.T, description scpd.SCPD) {
	t.Helper()
	used := map[string]bool{}
	for _, a := range description.Actions {
		outs := 0
		for _, arg := range a.Arguments {
			used[arg.RelatedStateVariable] = true
			if description.GetStateVariable(arg.RelatedStateVariable) == nil {
				t.Errorf("%s: %s is related to %q, which is not there", a.Name, arg.Name, arg.RelatedStateVariable)
			}
			if arg.Direction == "out" {
				outs++
			} else if outs > 0 {
				t.Errorf("%s: %s comes after an out argument", a.Name, arg.Name)
			}
		}
	}
	for _, v := range description.StateVariables {
		if !used[v.Name] {
			t.Errorf("no argument is related to %s", v.Name)
		}
		if v.SendEvents != "no" {
			t.Errorf("%s claims to send events", v.Name)
		}
	}
}

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

func TestTargets(t *testing.T) {
	server := newServer(t, offline{}, &line{})
	var names []string
	udns := map[string]bool{}
	for _, target := range server.Targets() {
		udns[target.UDN] = true
		names = append(names, strings.TrimPrefix(target.Type, "urn:schemas-upnp-org:"))
		if versioned := strings.HasPrefix(target.Type, "urn:"); versioned != (target.Version == 1) {
			t.Errorf("%+v: wrong version", target)
		}
	}
	want := []string{
		"upnp:rootdevice", "", "device:InternetGatewayDevice", "service:Layer3Forwarding",
		"", "device:WANDevice", "service:WANCommonInterfaceConfig",
		"", "device:WANConnectionDevice", "service:WANIPConnection",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("targets (-want +got):\n%s", diff)
	}
	if len(udns) != 3 {
		t.Errorf("%d device names, want 3", len(udns))
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
