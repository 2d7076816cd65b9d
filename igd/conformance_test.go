package igd_test

import (
	"encoding/xml"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/igd"
)

// A checker of descriptions, after UDA 1.1, sections 2.3 and 2.5, and the tables of the services' specifications. It knows nothing
// of how they are made.

type wireDevice struct {
	Type         string       `xml:"deviceType"`
	FriendlyName string       `xml:"friendlyName"`
	Manufacturer string       `xml:"manufacturer"`
	Model        string       `xml:"modelName"`
	Description  string       `xml:"modelDescription"`
	Number       string       `xml:"modelNumber"`
	Serial       string       `xml:"serialNumber"`
	UDN          string       `xml:"UDN"`
	Icons        []wireIcon   `xml:"iconList>icon"`
	Services     []wireEntry  `xml:"serviceList>service"`
	Devices      []wireDevice `xml:"deviceList>device"`
	Presentation string       `xml:"presentationURL"`
}

type wireIcon struct {
	Type   string `xml:"mimetype"`
	Width  int    `xml:"width"`
	Height int    `xml:"height"`
	Depth  int    `xml:"depth"`
	URL    string `xml:"url"`
}

type wireEntry struct {
	Type    string `xml:"serviceType"`
	ID      string `xml:"serviceId"`
	SCPD    string `xml:"SCPDURL"`
	Control string `xml:"controlURL"`
	Event   string `xml:"eventSubURL"`
}

type wireRoot struct {
	XMLName  xml.Name   `xml:"urn:schemas-upnp-org:device-1-0 root"`
	ConfigID string     `xml:"configId,attr"`
	URLBase  *string    `xml:"URLBase"`
	Major    int        `xml:"specVersion>major"`
	Minor    int        `xml:"specVersion>minor"`
	Device   wireDevice `xml:"device"`
}

type wireSCPD struct {
	XMLName   xml.Name `xml:"urn:schemas-upnp-org:service-1-0 scpd"`
	ConfigID  string   `xml:"configId,attr"`
	Actions   []wireAction
	Variables []wireVariable `xml:"serviceStateTable>stateVariable"`
}

type wireAction struct {
	Name      string         `xml:"name"`
	Arguments []wireArgument `xml:"argumentList>argument"`
}

type wireArgument struct {
	Name      string `xml:"name"`
	Direction string `xml:"direction"`
	Variable  string `xml:"relatedStateVariable"`
}

type wireVariable struct {
	Events  string   `xml:"sendEvents,attr"`
	Name    string   `xml:"name"`
	Type    string   `xml:"dataType"`
	Allowed []string `xml:"allowedValueList>allowedValue"`
	Minimum *uint64  `xml:"allowedValueRange>minimum"`
	Maximum *uint64  `xml:"allowedValueRange>maximum"`
}

// fetch gets a document as a client that calls itself agent.
func fetch(t testing.TB, handler http.Handler, path, agent string) string {
	t.Helper()
	req := httptest.NewRequest(http.MethodGet, path, nil)
	req.RemoteAddr, req.Host = alice+":40000", "192.168.1.1:49000"
	req.Header.Set("User-Agent", agent)
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, req)
	if w.Code != http.StatusOK {
		t.Fatalf("%s: status %d", path, w.Code)
	}
	return w.Body.String()
}

func parse(t testing.TB, document string, into any) {
	t.Helper()
	if err := xml.Unmarshal([]byte(document), into); err != nil {
		t.Fatalf("%v\n%s", err, document)
	}
}

// described is what a client learns that reads all.
type described struct {
	wireRoot
	services map[string]wireService // by type
	devices  map[string]string      // UDN by type
}

type wireService struct {
	wireEntry
	wireSCPD
	udn string
}

func readAll(t testing.TB, handler http.Handler, path, agent string) described {
	t.Helper()
	d := described{services: map[string]wireService{}, devices: map[string]string{}}
	parse(t, fetch(t, handler, path, agent), &d.wireRoot)
	var walk func(wireDevice)
	walk = func(device wireDevice) {
		d.devices[device.Type] = device.UDN
		for _, entry := range device.Services {
			s := wireService{wireEntry: entry, udn: device.UDN}
			text := fetch(t, handler, entry.SCPD, agent)
			parse(t, text, &s.wireSCPD)
			var list struct {
				Actions []wireAction `xml:"actionList>action"`
			}
			parse(t, text, &list)
			s.Actions = list.Actions
			d.services[entry.Type] = s
		}
		for _, child := range device.Devices {
			walk(child)
		}
	}
	walk(d.Device)
	return d
}

// required are the actions that the specifications require of a service, and optional those that it may have besides.
func required() map[string][2][]string {
	wip1 := []string{
		"SetConnectionType", "GetConnectionTypeInfo", "RequestConnection", "ForceTermination", "GetStatusInfo", "GetNATRSIPStatus",
		"GetGenericPortMappingEntry", "GetSpecificPortMappingEntry", "AddPortMapping", "DeletePortMapping", "GetExternalIPAddress",
	}
	timers := []string{
		"RequestTermination", "SetAutoDisconnectTime", "SetIdleDisconnectTime", "SetWarnDisconnectDelay",
		"GetAutoDisconnectTime", "GetIdleDisconnectTime", "GetWarnDisconnectDelay",
	}
	ppp := []string{
		"ConfigureConnection", "GetPPPEncryptionProtocol", "GetPPPCompressionProtocol", "GetPPPAuthenticationProtocol",
		"GetUserName", "GetPassword",
	}
	return map[string][2][]string{
		l3f1: {{"SetDefaultConnectionService", "GetDefaultConnectionService"}},
		wcic1: {{"GetCommonLinkProperties"}, {
			"GetTotalBytesSent", "GetTotalBytesReceived", "GetTotalPacketsSent", "GetTotalPacketsReceived", "GetWANAccessProvider",
			"GetMaximumActiveConnections", "SetEnabledForInternet", "GetEnabledForInternet", "GetActiveConnection",
		}},
		weth1: {{"GetEthernetLinkStatus"}},
		wipc1: {wip1, timers},
		wipc2: {append(slices.Clone(wip1), "AddAnyPortMapping", "DeletePortMappingRange", "GetListOfPortMappings"), timers},
		wppc1: {append(slices.Clone(wip1), "GetLinkLayerMaxBitRates"), append(timers, ppp...)},
		w6fc1: {
			{"GetFirewallStatus", "AddPinhole", "UpdatePinhole", "DeletePinhole", "GetPinholePackets"},
			{"GetOutboundPinholeTimeout", "CheckPinholeWorking"},
		},
	}
}

// evented are the variables whose changes the specifications want to be told.
func evented(service string) []string {
	connection := []string{"ConnectionStatus", "ExternalIPAddress", "PortMappingNumberOfEntries", "PossibleConnectionTypes"}
	return map[string][]string{
		l3f1: {"DefaultConnectionService"}, wcic1: {"PhysicalLinkStatus"}, weth1: {"EthernetLinkStatus"},
		wipc1: connection, wppc1: connection, wipc2: append(connection, "SystemUpdateID"),
		w6fc1: {"FirewallEnabled", "InboundPinholeAllowed"},
	}[service]
}

// services are those of a view of the device, by the name of the device that they belong to.
func services(version int, plain, dialled bool) map[string][]string {
	wan := []string{weth1, wipc1}
	if version == 2 {
		wan = []string{weth1, wipc2}
	}
	if dialled {
		wan = append(wan, wppc1)
	}
	if !plain {
		wan = append(wan, w6fc1)
	}
	return map[string][]string{"InternetGatewayDevice": {l3f1}, "WANDevice": {wcic1}, "WANConnectionDevice": wan}
}

// Descriptions of both versions are what the specifications say.
func TestDescriptionsConform(t *testing.T) {
	for _, tt := range []struct {
		path, agent    string
		version        int
		plain, dialled bool
	}{
		{path: igd.DescriptionPath, agent: "MiniUPnPc/2.2", version: 1},
		{path: igd.Description2Path, agent: "syncthing/1.27", version: 2},
		{path: igd.DialledDescriptionPath, version: 1, dialled: true},
		{path: igd.DescriptionPath, agent: "FDSSDP", version: 1, plain: true},
		{path: igd.Description2Path, agent: "Microsoft-Windows/10.0 UPnP/1.0", version: 1, plain: true},
		{path: igd.DialledDescriptionPath, agent: "Xbox/2.0.8955.0 UPnP/1.0 Xbox/2.0.8955.0", version: 1, plain: true, dialled: true},
	} {
		t.Run(tt.path+" "+tt.agent, func(t *testing.T) {
			server := newServer(t, offline{}, &line{})
			handler := igd.Handler(t, server, lan())
			d := readAll(t, handler, tt.path, tt.agent)
			if d.URLBase != nil || d.Major != 1 || d.ConfigID != fmt.Sprint(server.ConfigID()) {
				t.Errorf("head of the description: %+v", d.wireRoot)
			}
			checkDevice(t, d.Device, "InternetGatewayDevice", tt.version, services(tt.version, tt.plain, tt.dialled))
			checkIcons(t, handler, d.Device.Icons)
			for name, s := range d.services {
				if s.ConfigID != d.ConfigID {
					t.Errorf("%s has another number than the device", name)
				}
				checkSCPD(t, name, s)
			}
		})
	}
}

// checkDevice checks one device and those in it, each of which has the same version and a child of a certain type.
func checkDevice(t *testing.T, d wireDevice, name string, version int, want map[string][]string) {
	t.Helper()
	if wanted := fmt.Sprintf("urn:schemas-upnp-org:device:%s:%d", name, version); d.Type != wanted {
		t.Errorf("device type %s, want %s", d.Type, wanted)
	}
	for what, text := range map[string]struct {
		text string
		most int
	}{
		"friendlyName": {d.FriendlyName, 63}, "manufacturer": {d.Manufacturer, 63}, "modelName": {d.Model, 31},
		"modelDescription": {d.Description, 127}, "modelNumber": {d.Number, 31},
	} {
		if text.text == "" || len(text.text) > text.most {
			t.Errorf("%s: %s %q, allowed are 1 to %d characters", name, what, text.text, text.most)
		}
	}
	if !regexp.MustCompile(`^uuid:[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(d.UDN) {
		t.Errorf("%s: UDN %q", name, d.UDN)
	}
	var types []string
	for _, s := range d.Services {
		types = append(types, s.Type)
		if !strings.HasPrefix(s.ID, "urn:upnp-org:serviceId:") || s.SCPD == "" || s.Control == "" {
			t.Errorf("%s: incomplete service %+v", name, s)
		}
	}
	if diff := cmp.Diff(want[name], types); diff != "" {
		t.Errorf("services of %s (-want +got):\n%s", name, diff)
	}
	child := map[string]string{"InternetGatewayDevice": "WANDevice", "WANDevice": "WANConnectionDevice"}[name]
	if child == "" {
		return
	}
	if len(d.Devices) != 1 {
		t.Fatalf("%s has %d devices, want one", name, len(d.Devices))
	}
	checkDevice(t, d.Devices[0], child, version, want)
}

func checkIcons(t *testing.T, handler http.Handler, list []wireIcon) {
	t.Helper()
	if len(list) == 0 {
		t.Error("no icons")
	}
	for _, icon := range list {
		if icon.Type != "image/png" || icon.Width == 0 || icon.Height == 0 || icon.Depth == 0 {
			t.Errorf("icon %+v", icon)
		}
		if picture := fetch(t, handler, icon.URL, ""); !strings.HasPrefix(picture, "\x89PNG") {
			t.Errorf("%s is no picture", icon.URL)
		}
	}
}

// checkSCPD checks the description of a service.
func checkSCPD(t *testing.T, name string, s wireService) {
	t.Helper()
	var actions []string
	for _, a := range s.Actions {
		if slices.Contains(actions, a.Name) {
			t.Errorf("%s has %s twice", name, a.Name)
		}
		actions = append(actions, a.Name)
	}
	tables := required()[name]
	for _, action := range tables[0] {
		if !slices.Contains(actions, action) {
			t.Errorf("%s lacks %s", name, action)
		}
	}
	for _, action := range actions {
		if !slices.Contains(tables[0], action) && !slices.Contains(tables[1], action) {
			t.Errorf("%s has %s, which no table knows", name, action)
		}
	}
	checkArguments(t, name, s)
	var told []string
	for _, v := range s.Variables {
		checkVariable(t, name, v)
		if v.Events == "yes" {
			told = append(told, v.Name)
		}
	}
	slices.Sort(told)
	want := evented(name)
	slices.Sort(want)
	if diff := cmp.Diff(want, told); diff != "" || s.Event == "" {
		t.Errorf("%s: evented variables at %q (-want +got):\n%s", name, s.Event, diff)
	}
}

// checkArguments tells whether each argument has its variable and each variable an argument or events, and whether results
// come after what is asked.
func checkArguments(t *testing.T, name string, s wireService) {
	t.Helper()
	variables, used := map[string]bool{}, map[string]bool{}
	for _, v := range s.Variables {
		if variables[v.Name] {
			t.Errorf("%s has %s twice", name, v.Name)
		}
		variables[v.Name] = true
	}
	for _, a := range s.Actions {
		outs := false
		for _, arg := range a.Arguments {
			used[arg.Variable] = true
			switch {
			case !variables[arg.Variable]:
				t.Errorf("%s %s: %s is related to %q, which is not there", name, a.Name, arg.Name, arg.Variable)
			case arg.Direction != "in" && arg.Direction != "out", arg.Direction == "in" && outs:
				t.Errorf("%s %s: %s is %q", name, a.Name, arg.Name, arg.Direction)
			}
			outs = arg.Direction == "out"
		}
	}
	for v := range maps.Keys(variables) {
		if !used[v] && !slices.Contains(evented(name), v) {
			t.Errorf("%s: nobody uses %s", name, v)
		}
	}
}

func checkVariable(t *testing.T, name string, v wireVariable) {
	t.Helper()
	switch {
	case !slices.Contains([]string{"string", "boolean", "ui2", "ui4"}, v.Type):
		t.Errorf("%s: %s is a %q", name, v.Name, v.Type)
	case v.Events != "yes" && v.Events != "no":
		t.Errorf("%s: events of %s are %q", name, v.Name, v.Events)
	case len(v.Allowed) > 0 && v.Type != "string":
		t.Errorf("%s: %s is a %s with a list of values", name, v.Name, v.Type)
	case (v.Minimum == nil) != (v.Maximum == nil), v.Minimum != nil && (v.Type[0] != 'u' || *v.Minimum >= *v.Maximum):
		t.Errorf("%s: range of %s", name, v.Name)
	}
	for _, value := range v.Allowed {
		if value == "" || len(value) > 31 {
			t.Errorf("%s: %s may be %q", name, v.Name, value)
		}
	}
}

// What SSDP announces and finds is what the descriptions say that it leads to.
func TestTargetsAgreeWithDescriptions(t *testing.T) {
	for versions, highest := range map[igd.Versions]int{igd.BothVersions: 2, igd.OnlyVersion1: 1, igd.OnlyVersion2: 2} {
		t.Run(fmt.Sprint(versions), func(t *testing.T) {
			server := newServer(t, offline{}, &line{}, func(cfg *igd.Config) { cfg.Versions = versions })
			handler := igd.Handler(t, server, lan())
			announced := readAll(t, handler, server.DescriptionPath("", 0), "")
			described := map[string]string{} // types to device names, of what is announced
			for _, target := range server.Targets() {
				if target.Announced > target.Version {
					t.Errorf("%+v announces more than there is", target)
				}
				if !strings.HasPrefix(target.Type, "urn:") {
					continue
				}
				if target.Announced > 0 {
					described[target.Type+":"+strconv.Itoa(target.Announced)] = target.UDN
				}
				for version := 1; version <= target.Version; version++ {
					path, name := server.DescriptionPath(target.Type, version), target.Type+":"+strconv.Itoa(version)
					found := readAll(t, handler, path, "")
					udn := found.devices[name]
					if udn == "" {
						udn = found.services[name].udn
					}
					// A device of version 2 alone stands for one of version 1 as well (UDA 1.1, section 1.3.2).
					if udn != target.UDN && (versions != igd.OnlyVersion2 || version != 1) {
						t.Errorf("a search for %s leads to %s, where it is %q, want %q", name, path, udn, target.UDN)
					}
				}
				if strings.HasSuffix(target.Type, ":InternetGatewayDevice") && target.Version != highest {
					t.Errorf("%+v: want version %d", target, highest)
				}
			}
			want := maps.Clone(announced.devices)
			for name, s := range announced.services {
				want[name] = s.udn
			}
			if diff := cmp.Diff(want, described); diff != "" {
				t.Errorf("announced (-described +announced):\n%s", diff)
			}
			if first := server.Targets()[0]; first.Type != "upnp:rootdevice" || first.UDN != announced.Device.UDN {
				t.Errorf("the first target is %+v", first)
			}
		})
	}
}

// Consoles and Windows get version 1 at every path and whatever is set, and the others what is set.
func TestWhoGetsWhichVersion(t *testing.T) {
	old := []string{
		"Microsoft-Windows/10.0 UPnP/1.0", "Microsoft-Windows-NT/5.1 UPnP/1.0 UPnP-Device-Host/1.0", "FDSSDP",
		"Mozilla/4.0 (compatible; UPnP/1.0; Windows NT/5.1; Microsoft)", "Microsoft BITS/7.8",
		"Xbox/2.0.8955.0 UPnP/1.0 Xbox/2.0.8955.0", "Xbox/10.0 UPnP/1.0", "PlayStation 4 libhttp/5.05", "PLAYSTATION 3", "PS5 PlayStation",
	}
	others := []string{
		"", "Debian, UPnP/1.1, MiniUPnPc/2.2.4", "syncthing/1.27", "Mozilla/4.0 (compatible; UPnP/1.0; Windows 9x)", "Go-http-client/1.1",
		"qBittorrent/4.6.2", "UPnP/1.0",
	}
	for _, versions := range []igd.Versions{igd.BothVersions, igd.OnlyVersion1, igd.OnlyVersion2} {
		handler := igd.Handler(t, newServer(t, offline{}, &line{}, func(cfg *igd.Config) { cfg.Versions = versions }), lan())
		for path, version := range map[string]int{igd.DescriptionPath: 1, igd.Description2Path: 2} {
			for i, agent := range old {
				if text := fetch(t, handler, path, agent); strings.Contains(text, ":2</") || strings.Contains(text, w6fc1) {
					t.Errorf("%d: %s at %s is told\n%s", versions, agent, path, text)
				}
				if i%3 != int(versions) { // reading everything takes its time
					continue
				}
				if d := readAll(t, handler, path, agent); !onlyFirst(d) {
					t.Errorf("%d: %s at %s is told of %v", versions, agent, path, slices.Collect(maps.Keys(d.services)))
				}
			}
			switch versions {
			case igd.OnlyVersion1:
				version = 1
			case igd.OnlyVersion2:
				version = 2
			case igd.BothVersions:
			}
			for _, agent := range others {
				var d wireRoot
				parse(t, fetch(t, handler, path, agent), &d)
				if want := fmt.Sprintf(":InternetGatewayDevice:%d", version); !strings.HasSuffix(d.Device.Type, want) {
					t.Errorf("%d: %q at %s is told of %s", versions, agent, path, d.Device.Type)
				}
			}
		}
	}
}

// onlyFirst tells whether nothing is described that InternetGatewayDevice:1 did not have.
func onlyFirst(d described) bool {
	for name, s := range d.services {
		if strings.HasSuffix(name, ":2") || name == w6fc1 || slices.ContainsFunc(s.Actions, func(a wireAction) bool {
			return slices.Contains([]string{"AddAnyPortMapping", "DeletePortMappingRange", "GetListOfPortMappings"}, a.Name)
		}) {
			return false
		}
	}
	return strings.HasSuffix(d.Device.Type, ":1")
}

// Who asks for a version 2 SCPD and cannot bear it gets that of version 1.
func TestSCPDForTheOld(t *testing.T) {
	handler := igd.Handler(t, newServer(t, offline{}, &line{}), lan())
	first, second := fetch(t, handler, "/scpd/IPConn.xml", ""), fetch(t, handler, "/scpd/2/IPConn.xml", "")
	if first == second || fetch(t, handler, "/scpd/2/IPConn.xml", "Xbox") != first {
		t.Error("an Xbox is shown the actions of version 2")
	}
}

// While the line is dialled, so is the connection.
func TestDialledLine(t *testing.T) {
	l := &line{}
	handler := igd.Handler(t, newServer(t, offline{}, l), lan())
	for _, path := range []string{igd.DescriptionPath, igd.Description2Path} {
		for _, dialled := range []bool{false, true} {
			l.state.Dialled = dialled
			if _, ok := readAll(t, handler, path, "").services[wppc1]; ok != dialled {
				t.Errorf("%s with a dialled line (%t): WANPPPConnection is there: %t", path, dialled, ok)
			}
		}
	}
}
