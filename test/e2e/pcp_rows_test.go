package e2e_test

import (
	"errors"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/pcp"
	"github.com/portreeve/portreeve/test/lab"
)

// pcpRows are what other servers get wrong at the edges of PCP and NAT-PMP, and the tests that we do not. The first words of
// each row are a number: that of the behaviour, or of the row in the table of edges.
func pcpRows() map[string][]string {
	return map[string][]string{
		"edge 1: the epoch is the age of the state, not of the machine": {"lease.TestPromise7EpochGoesOnWithTheState", "e2e.TestPromise7EpochAfterRestart"},
		"edge 2: another address outside begins a new epoch":            {"e2e.TestPCPAddressChangeIsAnnounced", "e2e.TestPCPAddressChangedWhileDown", "pcp.TestEpochStartsAnewWithAnotherAddress"},
		"edge 3: announcements are repeated, on each LAN":               {"pcp.TestAnnouncementsAfterTheStart", "pcp.TestAnnouncementsOnTheLAN", "e2e.TestPromise7EpochAfterRestart"},
		"edge 4: interfaces are watched, whatever is switched on":       {"e2e.TestPCPAddressChangeIsAnnounced", "e2e.TestPCPFollowsThePrefix"},
		"edge 5: lifetimes of PCP are bounded":                          {"e2e.TestPCPRenewal"},
		"edge 6: lifetimes of NAT-PMP are bounded, and told as granted": {"e2e.TestNATPMPEdges", "e2e.TestNatPortMapper"},
		"edge 7: errors last half a minute or half an hour":             {"pcp.TestHowLongErrorsLast", "e2e.TestPCPRefusalsAreToldOnce"},
		"edge 8: another nonce renews nothing over IPv4":                {"pcp.TestNonceOfAMapping", "e2e.TestPCPNonce"},
		"edge 9: another nonce renews nothing over IPv6":                {"pcp.TestPinholes", "pcp.TestNonceOfAMapping"},
		"edge 10: another nonce deletes nothing":                        {"e2e.TestPCPNonce"},
		"edge 11: to delete what is not there is a success":             {"e2e.TestPCPEdges"},
		"edge 12: delete all of PCP":                                    {"e2e.TestPCPDeleteAll", "pcp.TestDeleteAll"},
		"edge 13: delete all of NAT-PMP is of one protocol":             {"e2e.TestNATPMPEdges"},
		"edge 14: asking again with another port makes no second one":   {"e2e.TestPCPRenewal", "e2e.TestNATPMPEdges"},
		"edge 15: a renewal over IPv6 tells the same port":              {"e2e.TestPCPRenewal", "pcp.TestPinholes"},
		"edge 16: PREFER_FAILURE never gives another port":              {"e2e.TestPCPEdges", "e2e.TestPCPTwoHostsOnePort", "pcp.TestPreferFailure"},
		"edge 17: FILTER is honoured":                                   {"e2e.TestPCPFilter"},
		"edge 18: THIRD_PARTY is for who may, and from the LAN":         {"e2e.TestPCPThirdParty", "e2e.TestPromise8PCPIsSilentOutside"},
		"edge 19: the address in the header is that of the sender":      {"e2e.TestPCPRefusals"},
		"edge 20: short and odd packets":                                {"e2e.TestPCPGarbage", "pcp.TestMalformedRequestsOfPCP"},
		"edge 21: no address outside is NETWORK_FAILURE":                {"e2e.TestPCPWithoutAnAddressOutside"},
		"edge 22: who may open nothing is NOT_AUTHORIZED":               {"e2e.TestPCPRefusalsAreToldOnce"},
		"edge 23: another version is told ours":                         {"e2e.TestPCPVersions"},
		"edge 24: a protocol that cannot be mapped is UNSUPP_PROTOCOL":  {"e2e.TestPCPOtherProtocols", "e2e.TestPCPRefusals"},
		"edge 25: a mapping belongs to the protocol that made it":       {"e2e.TestPCPEdges", "e2e.TestPCPBesideNATPMP", "pcp.TestMappingsOfOtherProtocols"},
		"edge 26: a restart keeps what there is and when it ends":       {"e2e.TestPromise7EpochAfterRestart", "e2e.TestPromise1KilledAtRandomMoments"},

		"behaviour 19: the address by NAT-PMP":                    {"e2e.TestNATPMPEdges", "e2e.TestPCPWithoutAnAddressOutside", "e2e.TestNatpmpc"},
		"behaviour 20: map by NAT-PMP":                            {"e2e.TestNATPMPEdges", "e2e.TestGoNATPMP"},
		"behaviour 21: delete by NAT-PMP":                         {"e2e.TestNATPMPEdges"},
		"behaviour 22: map by PCP, renew, another nonce":          {"e2e.TestPCPMapping", "e2e.TestPCPRenewal", "e2e.TestPCPNonce"},
		"behaviour 23: delete by PCP":                             {"e2e.TestPCPEdges", "e2e.TestPCPDeleteAll"},
		"behaviour 24: PREFER_FAILURE":                            {"e2e.TestPCPEdges"},
		"behaviour 25: FILTER":                                    {"e2e.TestPCPFilter"},
		"behaviour 26: THIRD_PARTY":                               {"e2e.TestPCPThirdParty"},
		"behaviour 27: mismatch, short, version, R bit, options":  {"e2e.TestPCPRefusals", "e2e.TestPCPGarbage", "e2e.TestPCPVersions", "e2e.TestPCPEdges"},
		"behaviour 28: pinholes, and off is off":                  {"e2e.TestPCPMapping", "e2e.TestPCPRenewal", "e2e.TestPCPVersions"},
		"a flood of one host harms nobody else":                   {"e2e.TestPCPFlood", "pcp.TestFloodOfOneHostIsBoundedAndHarmsNobody"},
		"behaviour 29: the epoch after a restart, and being told": {"e2e.TestPromise7EpochAfterRestart"},
	}
}

// Each row has its tests, by the names that are given for it.
func TestPCPRowsHaveTests(t *testing.T) {
	folders := map[string]string{"e2e": ".", "pcp": "../../pcp", "lease": "../../lease"}
	tests := map[string]bool{}
	declaration := regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`)
	for name, folder := range folders {
		files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, found := range declaration.FindAllSubmatch(text, -1) {
				tests[name+"."+string(found[1])] = true
			}
		}
	}
	for row, names := range pcpRows() {
		for _, name := range names {
			if !tests[name] {
				t.Errorf("%s: there is no test %s", row, name)
			}
		}
	}
}

// What a table of edges says of PCP that no other test is about.
func TestPCPEdges(t *testing.T) {
	t.Parallel()
	home, d := newHome(t, usual(), lab.DaemonOptions{})
	client := pcpClient4(t, home, home.LAN1)
	for _, family := range families(home) {
		c := pcpClient(t, home.LAN1, family.inside, family.router)
		for _, port := range []uint16{4000, 0} {
			if r := mustMap(t, c, deletion(mapRequest(lease.TCP, port, 0))); r.Lifetime != 0 {
				t.Errorf("%s: what is not there is deleted with lifetime %s", family.name, r.Lifetime)
			}
		}
	}

	home.Router.Echo(t, "tcp", "0.0.0.0:7777")
	mustMap(t, pcpClient4(t, home, home.LAN2), mapRequest(lease.TCP, 5000, 5000))
	for port, why := range map[uint16]string{5000: "another host has it", 445: "nobody may have it", 7777: "the router serves it"} {
		lab.Eventually(t, within, why, func() error { // the router's own ports are asked now and then
			_, err := client.Map(t.Context(), mapRequest(lease.TCP, 5001, port, pcp.PreferFailure{}))
			if refused, ok := errors.AsType[*pcp.ResultError](err); !ok || refused.Result != pcp.ResultCannotProvideExternal {
				return errorText("PREFER_FAILURE is answered with another result")
			}
			return nil
		})
	}
	if all := leases(t, d); len(all) != 1 {
		t.Errorf("what was refused has made %+v", all)
	}
	mustRefuse(t, client, mapRequest(lease.TCP, 5001, 0, pcp.PreferFailure{}), pcp.ResultMalformedOption)

	unknown := func(code pcp.OptionCode) pcp.Option {
		return pcp.UnknownOption{OptionCode: code, Data: []byte{1, 2, 3}}
	}
	mustRefuse(t, client, mapRequest(lease.TCP, 5001, 6001, unknown(100)), pcp.ResultUnsuppOption)
	if r := mustMap(t, client, mapRequest(lease.TCP, 5001, 6001, unknown(200))); r.External.Port() != 6001 || len(r.Options) > 0 {
		t.Errorf("with an optional option that nobody knows: %+v", r)
	}

	status, _ := soap(t, home.LAN1, wanIP1, "DeletePortMapping", []arg{{"NewRemoteHost", ""}, {"NewExternalPort", "6001"}, {"NewProtocol", "TCP"}})
	if status == 200 {
		t.Error("UPnP deletes a mapping of PCP")
	}
	leaseAt(t, d, "tcp", 6001)
}

// What it says of NAT-PMP.
func TestNATPMPEdges(t *testing.T) {
	t.Parallel()
	home, d := newHome(t, usual(), lab.DaemonOptions{})
	client := pcpClient4(t, home, home.LAN1)
	ask := func(protocol lease.Protocol, internal, external uint16, lifetime time.Duration) pcp.PMPMapResponse {
		t.Helper()
		r, err := client.PMPMap(t.Context(), pcp.PMPMapRequest{Protocol: protocol, InternalPort: internal, ExternalPort: external, Lifetime: lifetime})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r, err := client.PMPAddress(t.Context()); err != nil || r.Addr != home.WAN {
		t.Errorf("the address: %+v, %v", r, err)
	}
	if r := ask(lease.TCP, 5000, 6000, math.MaxUint32*time.Second); r.ExternalPort != 6000 || r.Lifetime != 24*time.Hour {
		t.Errorf("for the longest time that can be said: %+v, want a day", r)
	}
	if r := ask(lease.TCP, 5000, 7000, time.Hour); r.ExternalPort != 6000 || r.Lifetime != time.Hour {
		t.Errorf("asked again with another port: %+v, want the one that it has", r)
	}
	if r := ask(lease.TCP, 5000, 0, time.Hour); r.ExternalPort != 6000 {
		t.Errorf("asked again for any port: %+v, want the one that it has", r)
	}
	ask(lease.UDP, 5000, 6000, time.Hour)
	ask(lease.UDP, 5001, 6001, time.Hour)
	if other, err := pcpClient4(t, home, home.LAN2).PMPMap(t.Context(), pcp.PMPMapRequest{
		Protocol: lease.TCP, InternalPort: 5000, ExternalPort: 6001, Lifetime: time.Hour,
	}); err != nil || other.ExternalPort == 6001 {
		t.Errorf("another host gets %+v (%v), whose companion is taken", other, err)
	}
	if r := ask(lease.UDP, 5001, 6001, 0); r.InternalPort != 5001 || r.ExternalPort != 0 || r.Lifetime != 0 {
		t.Errorf("one is deleted: %+v", r)
	}
	ask(lease.UDP, 5001, 0, 0) // it is not there
	if all := leases(t, d); len(all) != 3 {
		t.Errorf("left: %+v, want three", all)
	}
	if r := ask(lease.UDP, 0, 0, 0); r.InternalPort != 0 || r.ExternalPort != 0 || r.Lifetime != 0 {
		t.Errorf("all of UDP are deleted: %+v", r)
	}
	leaseAt(t, d, "tcp", 6000)
	if all := leases(t, d); len(all) != 2 {
		t.Errorf("left: %+v, want TCP of both hosts", all)
	}
}

// Without an address outside both say so, and go on when there is one.
func TestPCPWithoutAnAddressOutside(t *testing.T) {
	t.Parallel()
	home := usual().home(t)
	home.Router.Run(t, "ip", "addr", "del", home.WAN.String()+"/24", "dev", "wan0")
	usual().start(t, home, lab.DaemonOptions{Args: []string{"--wan", "wan0"}})
	client := pcpClient4(t, home, home.LAN1)
	request := mapRequest(lease.UDP, 5000, 5000)
	if wait := mustRefuse(t, client, request, pcp.ResultNetworkFailure); wait != 30*time.Second {
		t.Errorf("it is told to wait %s, want 30 s", wait)
	}
	_, addrErr := client.PMPAddress(t.Context())
	_, mapErr := client.PMPMap(t.Context(), pcp.PMPMapRequest{Protocol: lease.UDP, InternalPort: 5000, Lifetime: time.Hour})
	for what, err := range map[string]error{"the address": addrErr, "a mapping": mapErr} {
		if refused, ok := errors.AsType[*pcp.PMPResultError](err); !ok || refused.Result != pcp.PMPNetworkFailure {
			t.Errorf("NAT-PMP, %s: %v, want a network failure", what, err)
		}
	}
	mustMap(t, pcpClient6(t, home, home.LAN1), mapRequest(lease.UDP, 5000, 0)) // which needs none

	// A private one is better than none.
	private := netip.MustParseAddr("100.64.1.2")
	home.Router.Run(t, "ip", "addr", "add", private.String()+"/24", "dev", "wan0")
	lab.Eventually(t, within, "a mapping at the private address", func() error {
		r, err := client.Map(t.Context(), request)
		if err == nil && r.External.Addr() != private {
			err = errorText("mapped to " + r.External.String())
		}
		return err
	})
}
