package web_test

import (
	"net/http"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/web"
)

const consoleMAC = "00:50:f2:12:34:56"

// neighbours are there in the tests of devices.
func neighbours(c *web.Config) {
	c.Neighbours = func() []web.Neighbour {
		return []web.Neighbour{
			{MAC: "da:a1:19:00:00:01", Addr: netip.MustParseAddr("192.168.1.77"), Network: "guest"},
			{MAC: consoleMAC, Addr: netip.MustParseAddr("192.168.1.50"), Network: "lan"},
			{MAC: consoleMAC, Addr: netip.MustParseAddr("2001:db8:1::50"), Network: "lan"},
		}
	}
	c.Vendor = func(mac string) string { return map[string]string{consoleMAC: "Microsoft"}[mac] }
	c.DeviceName = func(l lease.Lease) string { return map[string]string{consoleMAC: "xbox\x1b[31m"}[l.Device] }
}

func TestDevices(t *testing.T) {
	h := newHome(t, neighbours)
	h.open()
	c := h.cli()
	list := func() (all []web.Device) {
		t.Helper()
		return decode[web.DeviceList](t, c.want(http.StatusOK, c.get("/api/v1/devices"))).Devices
	}
	unset := web.DeviceSettings{Access: "inherit", Ports: []string{}, IPv6: true, Protocols: []string{}, Schedule: []string{}}
	want := []web.Device{
		{
			MAC: consoleMAC, Settings: unset, Title: "xbox[31m", Kind: "console", Vendor: "Microsoft", Present: true, Leases: 1,
			Addresses: []netip.Addr{netip.MustParseAddr("192.168.1.50"), netip.MustParseAddr("2001:db8:1::50")},
			Networks:  []string{"lan"},
		},
		{MAC: "da:a1:19:00:00:01", Settings: unset, Randomised: true, Present: true, Addresses: []netip.Addr{netip.MustParseAddr("192.168.1.77")}, Networks: []string{"guest"}},
	}
	equal := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	if d := cmp.Diff(want, list(), equal); d != "" {
		t.Errorf("devices (-want +got):\n%s", d)
	}
	if page := decode[web.DeviceList](t, c.get("/api/v1/devices?limit=1")); len(page.Devices) != 1 || page.Next != consoleMAC {
		t.Errorf("page = %+v", page)
	} else if rest := decode[web.DeviceList](t, c.get("/api/v1/devices?after="+page.Next)); len(rest.Devices) != 1 || rest.Next != "" {
		t.Errorf("rest = %+v", rest)
	}

	first := c.want(http.StatusOK, c.get("/api/v1/devices/"+consoleMAC))
	put := func(path string, s any, headers ...string) answer {
		t.Helper()
		return c.json(http.MethodPut, "/api/v1/devices/"+path, s, headers...)
	}
	settings := web.DeviceSettings{
		Name: "Xbox of Anna", Note: "living room", Icon: "console", Access: "deny", Ports: []string{"3074", "4000-4010"}, Mappings: 4, MaxLifetimeSeconds: 3600,
		Protocols: []string{"udp"}, LowPorts: true, Schedule: []string{"Mon,Tue 16:00-22:00", "20:00-02:00"},
	}
	dry := decode[web.DeviceChange](t, c.want(http.StatusOK, put(consoleMAC+"?dry_run=true", settings)))
	if !dry.DryRun || len(dry.Refused) != 1 || !dry.Closed || len(h.manager.Snapshot().Leases) != 1 {
		t.Errorf("dry run = %+v, want that the lease would be closed, and nothing changed", dry)
	}
	a := c.want(http.StatusOK, put("00-50-F2-12-34-56", settings, "If-Match", first.Header.Get("ETag")))
	change := decode[web.DeviceChange](t, a)
	if d := cmp.Diff(settings, change.Device.Settings); d != "" || !change.Closed || change.Device.Version != 1 || len(h.manager.Snapshot().Leases) != 0 {
		t.Errorf("change = %+v, settings (-want +got):\n%s", change, d)
	}
	if got := list()[0]; got.Title != "Xbox of Anna" || !got.Set || got.Leases != 0 {
		t.Errorf("device = %+v", got)
	}
	c.refused(web.CodeChanged, put(consoleMAC, settings, "If-Match", first.Header.Get("ETag")))
	c.want(http.StatusOK, put(consoleMAC, web.DeviceSettings{}, "If-Match", a.Header.Get("ETag")))
	c.want(http.StatusOK, c.delete("/api/v1/devices/"+consoleMAC+"?dry_run=true"))
	if gone := decode[web.DeviceChange](t, c.want(http.StatusOK, c.delete("/api/v1/devices/"+consoleMAC))); gone.Device.Set {
		t.Errorf("forgotten = %+v", gone)
	}
	c.refused(web.CodeNoDevice, c.delete("/api/v1/devices/"+consoleMAC))
	for _, id := range []string{"nobody", "192.168.1.50", "00:50:f2:12:34:56:78:9a"} {
		c.refused(web.CodeNoDevice, c.get("/api/v1/devices/"+id))
	}
	c.refused(web.CodeNotFound, c.get("/api/v1/devices/..%2Fusers%2Fadmin"))
	p := c.problem(web.CodeInvalid, put("new", `{"access":"maybe","ports":["0"],"icon":"../x","mappings":-1,"max_lifetime_seconds":1e9,"nmae":"x","protocols":["icmp"],"schedule":["late"]}`))
	var wrong []string
	for _, f := range p.Faults {
		wrong = append(wrong, f.Member)
	}
	if len(wrong) != 8 {
		t.Errorf("faults %q, want eight: %s", wrong, p.Detail)
	}
}

func TestRequestsWaitForTheOwner(t *testing.T) {
	h := newHome(t)
	c := h.cli()
	c.want(http.StatusOK, c.json(http.MethodPut, "/api/v1/devices/"+consoleMAC, `{"access":"ask","name":"Xbox"}`))
	ask := lease.Request{
		Mapping: lease.Mapping{
			Protocol: lease.UDP, External: netip.MustParseAddrPort("0.0.0.0:3074"), Internal: netip.AddrPortFrom(console, 3074), Description: "<b>Teredo</b>",
		},
		Origin: lease.OriginUPnP, Client: console, Lifetime: 3600e9,
	}
	ask.External = netip.AddrPortFrom(netip.Addr{}, 3074)
	if _, err := h.manager.Open(t.Context(), ask); err == nil {
		t.Fatal("granted without a question")
	}
	requests := func() []web.WaitingRequest {
		t.Helper()
		return decode[web.RequestList](t, c.want(http.StatusOK, c.get("/api/v1/requests"))).Requests
	}
	all := requests()
	if len(all) != 1 || all[0].DeviceName != "Xbox" || all[0].ExternalPort != 3074 || all[0].Description != "<b>Teredo</b>" || all[0].LifetimeSeconds != 3600 {
		t.Fatalf("requests = %+v, want that of the Xbox", all)
	}
	if n := decode[web.Status](t, c.get("/api/v1/status")).Waiting; n != 1 {
		t.Errorf("status tells of %d, want 1", n)
	}
	path := "/api/v1/requests/" + string(all[0].ID)
	c.refused(web.CodeInvalid, c.post(path, `{"answer":"perhaps"}`))
	c.want(http.StatusOK, c.post(path+"?dry_run=true", web.RequestAnswer{Answer: lease.AllowOnce}))
	c.want(http.StatusOK, c.post(path, web.RequestAnswer{Answer: lease.AllowOnce}))
	c.refused(web.CodeNoRequest, c.post(path, web.RequestAnswer{Answer: lease.AllowOnce}))
	if n := len(requests()); n != 0 {
		t.Errorf("%d still wait", n)
	}
	if _, err := h.manager.Open(t.Context(), ask); err != nil {
		t.Errorf("the next try: %v", err)
	}
}
