package igd_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/portreeve/portreeve/igd"
)

// Each action of each service of both descriptions is called with valid, missing, extra, doubled and
// wrong-typed arguments, and with values out of their range. What is called, and with what, comes from the documents that clients
// read.
func TestEachAction(t *testing.T) {
	for _, path := range []string{igd.DialledDescriptionPath, igd.Description2Path} {
		r := newDualRouter(t)
		d := readAll(t, r.handler, path, "")
		for name, s := range d.services {
			for _, a := range s.Actions {
				t.Run(fmt.Sprintf("%s %s of %s", path, a.Name, name), func(t *testing.T) {
					try := attempt{t, r, name, s, a}
					try.valid()
					try.missing()
					try.extra()
					try.doubled()
					try.wrong()
				})
			}
		}
	}
}

// attempt is about one action.
type attempt struct {
	t      *testing.T
	router dualRouter
	name   string
	s      wireService
	a      wireAction
}

// good are values for arguments that are right, by their state variables.
func good(argument, variable string) string {
	values := map[string]string{
		"ConnectionType": "IP_Routed", "ExternalPort": "8080", "PortMappingProtocol": "TCP", "InternalPort": "8080",
		"InternalClient": alice, "PortMappingEnabled": "1", "PortMappingDescription": "t", "PortMappingLeaseDuration": "600",
		"PortMappingNumberOfEntries": "0", "A_ARG_TYPE_Manage": "0",
		"A_ARG_TYPE_Port": "8080", "A_ARG_TYPE_Protocol": "6", "A_ARG_TYPE_LeaseTime": "600",
	}
	if argument == "InternalClient" && variable == "A_ARG_TYPE_IPv6Address" {
		return alice6
	}
	return values[variable]
}

// prepare makes what the action needs to be there, and returns arguments that are right.
func (a attempt) prepare() []arg {
	a.t.Helper()
	id := ""
	if a.name == w6fc1 {
		id = a.router.ask(alice6, ip6fCtl, w6fc1, "AddPinhole", pinhole("", "8080", alice6, "8080", "6", "600")...).values["UniqueID"]
		a.router.line.packets = 3
	} else if !strings.HasPrefix(a.a.Name, "Add") {
		a.router.call(alice, wipc1, "AddPortMapping", add("", "8080", "TCP", "8080", alice, "1", "t", "600")...)
	}
	var args []arg
	for _, in := range a.in() {
		value := good(in.Name, in.Variable)
		switch in.Variable {
		case "A_ARG_TYPE_UniqueID":
			value = id
		case "DefaultConnectionService":
			value = a.router.ask(alice, a.s.Control, a.name, "GetDefaultConnectionService").values["NewDefaultConnectionService"]
		}
		args = append(args, arg{in.Name, value})
	}
	return args
}

func (a attempt) in() (list []wireArgument) {
	for _, argument := range a.a.Arguments {
		if argument.Direction == "in" {
			list = append(list, argument)
		}
	}
	return list
}

func (a attempt) call(args []arg) reply {
	a.t.Helper()
	return a.router.ask(alice, a.s.Control, a.name, a.a.Name, args...)
}

// valid expects an answer with just the results that are described, each of its type.
func (a attempt) valid() {
	a.t.Helper()
	got := a.call(a.prepare())
	if a.a.Name == "ForceTermination" { // by nobody on the LAN
		if got.fault != 606 {
			a.t.Errorf("got %s, want 606", got)
		}
		return
	}
	if got.String() != "200" || got.space != a.name {
		a.t.Fatalf("got %s in %q\n%s", got, got.space, got.body)
	}
	var want []string
	for _, argument := range a.a.Arguments {
		if argument.Direction != "out" {
			continue
		}
		want = append(want, argument.Name)
		i := slices.IndexFunc(a.s.Variables, func(v wireVariable) bool { return v.Name == argument.Variable })
		if v := a.s.Variables[i]; !fits(v, got.values[argument.Name]) {
			a.t.Errorf("%s is %q, which is no %s of %v", argument.Name, got.values[argument.Name], v.Type, v.Allowed)
		}
	}
	if len(want) != len(got.values) {
		a.t.Errorf("got %v, want %v", got.values, want)
	}
}

// fits tells whether a value is one of the variable.
func fits(v wireVariable, text string) bool {
	switch v.Type {
	case "string":
		return len(v.Allowed) == 0 || slices.Contains(v.Allowed, text)
	case "boolean":
		return text == "0" || text == "1"
	}
	most := map[string]uint64{"ui2": 1<<16 - 1, "ui4": 1<<32 - 1}[v.Type]
	if v.Maximum != nil {
		most = *v.Maximum
	}
	var n uint64
	_, err := fmt.Sscanf(text, "%d", &n)
	return err == nil && fmt.Sprint(n) == text && n <= most && (v.Minimum == nil || n >= *v.Minimum)
}

func (a attempt) missing() {
	a.t.Helper()
	args := a.prepare()
	for i := range args {
		if got := a.call(slices.Delete(slices.Clone(args), i, i+1)); got.fault != 402 {
			a.t.Errorf("without %s: got %s, want 402", args[i].name, got)
		}
	}
}

// extra expects that an argument is ignored that the action does not know, as other routers do.
func (a attempt) extra() {
	a.t.Helper()
	with := a.call(append(a.prepare(), arg{"NewNoSuchThing", "1"}))
	if without := a.call(a.prepare()); with.String() != without.String() {
		a.t.Errorf("with an argument more: got %s, want %s", with, without)
	}
}

func (a attempt) doubled() {
	a.t.Helper()
	args := a.prepare()
	for _, again := range args {
		if got := a.call(append(slices.Clone(args), again)); got.fault != 402 {
			a.t.Errorf("%s twice: got %s, want 402", again.name, got)
		}
	}
}

// wrong expects a clear refusal of what is not of the type, or not among the values that are described.
func (a attempt) wrong() {
	a.t.Helper()
	right := a.prepare()
	before := a.router.mappings()
	for i, in := range a.in() {
		v := a.s.Variables[slices.IndexFunc(a.s.Variables, func(v wireVariable) bool { return v.Name == in.Variable })]
		bad := map[string][]string{
			"ui2": {"x", "-1", "65536", "1.5", "0x50", "+1", "1 1"}, "ui4": {"x", "-1", "4294967296", "1e3"}, "boolean": {"2", "maybe", ""},
		}[v.Type]
		if len(v.Allowed) > 0 {
			bad = append(bad, "Foo", "")
		}
		if v.Minimum != nil && v.Name != "PortMappingLeaseDuration" { // 0 and too long ones mean something there
			bad = append(bad, fmt.Sprint(*v.Minimum-1), fmt.Sprint(*v.Maximum+1))
		}
		for _, value := range bad {
			args := slices.Clone(right)
			args[i].value = value
			got := a.call(args)
			if !slices.Contains([]int{402, 601, 706, 732}, got.fault) {
				a.t.Errorf("%s %q: got %s, want 402 or 601", in.Name, value, got)
			}
			if after := a.router.mappings(); !slices.Equal(before, after) {
				a.t.Errorf("%s %q changed %v to %v", in.Name, value, before, after)
			}
		}
	}
}

// Actions that the specifications know and that we do not have are 602, all others 401.
func TestActionsThatAreNotThere(t *testing.T) {
	r := newDualRouter(t)
	for _, path := range []string{igd.DialledDescriptionPath, igd.Description2Path} {
		for name, s := range readAll(t, r.handler, path, "").services {
			there := map[string]bool{}
			for _, a := range s.Actions {
				there[a.Name] = true
			}
			for _, action := range required()[name][1] {
				if got := r.ask(alice, s.Control, name, action); !there[action] && got.fault != 602 {
					t.Errorf("%s of %s: got %s, want 602", action, name, got)
				}
			}
			for _, action := range []string{"NoSuchAction", "X_Reboot", "addportmapping"} {
				if got := r.ask(alice, s.Control, name, action); got.fault != 401 {
					t.Errorf("%s of %s: got %s, want 401", action, name, got)
				}
			}
		}
	}
}

// Both control URLs of a service take both of its versions, in kind.
func TestEitherVersionAtEitherPath(t *testing.T) {
	r := newDualRouter(t)
	for _, path := range []string{"/ctl/IPConn", "/ctl/2/IPConn", "/ctl/PPPConn"} {
		for _, namespace := range []string{wipc1, wipc2, wppc1} {
			got := r.ask(alice, path, namespace, "GetExternalIPAddress")
			if path == "/ctl/PPPConn" && namespace != wppc1 {
				if got.fault != 401 {
					t.Errorf("%s at %s: got %s, want 401", namespace, path, got)
				}
			} else if got.String() != "200" || got.space != namespace || got.values["NewExternalIPAddress"] != "203.0.113.5" {
				t.Errorf("%s at %s: got %s in %s", namespace, path, got, got.space)
			}
		}
	}
}

// The default connection is that of the description which somebody has read.
func TestDefaultConnectionServiceOfEachVersion(t *testing.T) {
	r := newDualRouter(t)
	for version, path := range map[int]string{1: "/ctl/L3F", 2: "/ctl/2/L3F"} {
		got := r.ask(alice, path, l3f1, "GetDefaultConnectionService").values["NewDefaultConnectionService"]
		if !strings.HasSuffix(got, fmt.Sprintf(":WANConnectionDevice:%d,urn:upnp-org:serviceId:WANIPConn1", version)) {
			t.Errorf("%s: %q", path, got)
		}
	}
}

// WANPPPConnection:1 and WANEthernetLinkConfig:1 tell of the same line as the others.
func TestOtherServicesOfTheLine(t *testing.T) {
	r := newDualRouter(t)
	rates := r.ask(alice, "/ctl/PPPConn", wppc1, "GetLinkLayerMaxBitRates").values
	if rates["NewUpstreamMaxBitRate"] != "20000000" || rates["NewDownstreamMaxBitRate"] != "4294967295" {
		t.Errorf("rates %v", rates)
	}
	status := func() string {
		return r.ask(alice, "/ctl/EthLinkC", weth1, "GetEthernetLinkStatus").values["NewEthernetLinkStatus"]
	}
	if got := status(); got != "Up" {
		t.Errorf("link %q", got)
	}
	r.line.state.Up = false
	if got := status(); got != "Down" {
		t.Errorf("link %q after it went down", got)
	}
	r.line.state.Access, r.line.state.Dialled = "", true
	if got := r.ask(alice, cmnIfCfg, wcic1, "GetCommonLinkProperties").values["NewWANAccessType"]; got != "DSL" {
		t.Errorf("a dialled line is %q", got)
	}
}

// SystemUpdateID counts what changes mappings, once for each operation, and nothing else.
func TestSystemUpdateID(t *testing.T) {
	r := newRouter(t, lan())
	const ns = "urn:schemas-upnp-org:control-1-0"
	now := func() string {
		return r.do(request(alice, ipConn, ns, "QueryStateVariable", body(ns, "QueryStateVariable", arg{"varName", "SystemUpdateID"}))).values["return"]
	}
	mapping := add("", "8080", "TCP", "8080", alice, "1", "t", "600")
	for _, tt := range []struct {
		name string
		step step
		want string
	}{
		{"start", step{alice, wipc2, "GetExternalIPAddress", nil, "200", nil}, "0"},
		{"added", step{alice, wipc2, "AddPortMapping", mapping, "200", nil}, "1"},
		{"refused", step{bob, wipc2, "AddPortMapping", add("", "8080", "TCP", "8080", bob, "1", "t", "600"), "718", nil}, "1"},
		{"renewed", step{alice, wipc2, "AddPortMapping", mapping, "200", nil}, "2"},
		{"another", step{alice, wipc2, "AddPortMapping", add("", "8081", "TCP", "8081", alice, "1", "t", "600"), "200", nil}, "3"},
		{"read", step{alice, wipc2, "GetSpecificPortMappingEntry", key("", "8080", "TCP"), "200", nil}, "3"},
		{"both deleted at once", step{alice, wipc2, "DeletePortMappingRange", ports("8080", "8081", "TCP", "0"), "200", nil}, "4"},
	} {
		run(t, r, []step{tt.step})
		if got := now(); got != tt.want {
			t.Errorf("%s: SystemUpdateID is %s, want %s", tt.name, got, tt.want)
		}
	}
}
