package igd_test

import (
	"strings"
	"testing"
)

// S33, and the rest of Layer3Forwarding.
func TestLayer3Forwarding(t *testing.T) {
	r := newRouter(t, lan())
	call := func(action string, args ...arg) reply {
		t.Helper()
		return r.do(request(alice, l3f, l3f1, action, body(l3f1, action, args...)))
	}
	got := call("GetDefaultConnectionService").values["NewDefaultConnectionService"]
	device, service, _ := strings.Cut(got, ",")
	udn := ""
	for _, target := range r.server.Targets() {
		if strings.HasSuffix(target.Type, "service:WANIPConnection") {
			udn = target.UDN
		}
	}
	if device != udn+":WANConnectionDevice:1" || service != "urn:upnp-org:serviceId:WANIPConn1" {
		t.Errorf("default connection service is %q, with device %q", got, udn)
	}
	for _, tt := range []struct{ value, want string }{
		{got, "200"},
		{"uuid:1:WANConnectionDevice:1," + service, "720"},
		{device + ",urn:upnp-org:serviceId:WANPPPConn1", "721"},
		{"nonsense", "402"},
	} {
		if r := call("SetDefaultConnectionService", arg{"NewDefaultConnectionService", tt.value}); r.String() != tt.want {
			t.Errorf("set %q: got %s, want %s", tt.value, r, tt.want)
		}
	}
	if r := call("SetDefaultConnectionService"); r.fault != 402 {
		t.Errorf("set without a value: got %s, want 402", r)
	}
}

func TestWANCommonInterfaceConfig(t *testing.T) {
	r := newRouter(t, lan())
	tests := []struct {
		action string
		want   string
		values map[string]string
	}{
		{"GetCommonLinkProperties", "200", map[string]string{
			"NewWANAccessType": "Cable", "NewPhysicalLinkStatus": "Up",
			"NewLayer1UpstreamMaxBitRate":   "20000000",
			"NewLayer1DownstreamMaxBitRate": "4294967295", // 5 Gbit/s do not fit
		}},
		{"GetTotalBytesSent", "200", map[string]string{"NewTotalBytesSent": "7"}}, // counters wrap
		{"GetTotalBytesReceived", "200", map[string]string{"NewTotalBytesReceived": "2"}},
		{"GetTotalPacketsSent", "200", map[string]string{"NewTotalPacketsSent": "3"}},
		{"GetTotalPacketsReceived", "200", map[string]string{"NewTotalPacketsReceived": "4"}},
		{"GetWANAccessProvider", "602", nil},
		{"SetEnabledForInternet", "602", nil},
		{"GetStatusInfo", "401", nil},
	}
	for _, tt := range tests {
		got := r.do(request(alice, cmnIfCfg, wcic1, tt.action, body(wcic1, tt.action)))
		if got.String() != tt.want {
			t.Errorf("%s: got %s, want %s", tt.action, got, tt.want)
		}
		for name, want := range tt.values {
			if got.values[name] != want {
				t.Errorf("%s: %s is %q, want %q", tt.action, name, got.values[name], want)
			}
		}
	}
	r.line.state.Up, r.line.state.Access = false, ""
	got := r.do(request(alice, cmnIfCfg, wcic1, "GetCommonLinkProperties", body(wcic1, "GetCommonLinkProperties")))
	if got.values["NewPhysicalLinkStatus"] != "Down" || got.values["NewWANAccessType"] != "Ethernet" {
		t.Errorf("a line that is down: %v", got.values)
	}
}

func TestQueryStateVariable(t *testing.T) {
	const ns = "urn:schemas-upnp-org:control-1-0"
	r := newRouter(t, lan())
	run(t, r, []step{{alice, wipc1, "AddPortMapping", add("", "8080", "TCP", "8080", alice, "1", "t", "0"), "200", nil}})
	for _, tt := range []struct{ path, variable, want string }{
		{ipConn, "ConnectionStatus", "Connected"},
		{ipConn, "ExternalIPAddress", "203.0.113.5"},
		{ipConn, "PossibleConnectionTypes", "IP_Routed"},
		{ipConn, "PortMappingNumberOfEntries", "1"},
		{cmnIfCfg, "PhysicalLinkStatus", "Up"},
	} {
		// The name of the variable is qualified, unlike the arguments of actions.
		text := body(ns, "QueryStateVariable", arg{"u:varName", tt.variable})
		got := r.do(request(alice, tt.path, ns, "QueryStateVariable", text))
		if got.status != 200 || got.space != ns || got.values["return"] != tt.want {
			t.Errorf("%s: got %s %v, want %q", tt.variable, got, got.values, tt.want)
		}
	}
	for _, variable := range []string{"Uptime", "NoSuch", ""} {
		got := r.do(request(alice, ipConn, ns, "QueryStateVariable", body(ns, "QueryStateVariable", arg{"varName", variable})))
		if got.fault != 404 {
			t.Errorf("%q: got %s, want 404", variable, got)
		}
	}
	if got := r.do(request(alice, ipConn, ns, "QueryStateVariable", body(ns, "QueryStateVariable"))); got.fault != 402 {
		t.Errorf("no variable: got %s, want 402", got)
	}
}
