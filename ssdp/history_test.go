package ssdp

import (
	"strings"
	"testing"
)

// What others got wrong in SSDP, one test for each fault that was published. After each the searches of others are answered.
func TestSecurityHistory(t *testing.T) {
	const start = "M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nMX: 2\r\n"
	for _, tt := range []struct {
		fault   string
		packets []string
	}{
		{"CVE-2013-0229: a search without an end of its lines", []string{
			"M-SEARCH * HTTP/1.1", start + "ST:", start + "ST", start[:len(start)-1], strings.ReplaceAll(start, "\r\n", "") + "ST: upnp:rootdevice",
		}},
		{"CVE-2013-1461, CVE-2013-1462, CVE-2013-2600: a search without a target, or with a part of one", []string{
			start + "\r\n", start + "ST: \r\n\r\n", start + "ST: u\r\n\r\n", start + "ST: urn:schemas-upnp-org:device:InternetGatewayDevice\r\n\r\n",
			start + "ST: uuid:\r\n\r\n", start + "ST: urn:\r\n\r\n", start + "ST: " + urnD + "\r\n\r\n",
		}},
		{"2009: a target longer than the buffer", []string{
			start + "ST: " + strings.Repeat("A", maxPacket-len(start)-8) + "\r\n\r\n", start + "ST: " + urnD + "InternetGatewayDevice:" + strings.Repeat("1", 1300) + "\r\n\r\n",
			start + "ST: upnp:rootdevice" + strings.Repeat(" ", 1500) + "\r\n\r\n",
		}},
		{"2017: overruns of header names and values", []string{
			start + strings.Repeat("A", 1300) + ": b\r\nST:x\r\n\r\n", start + ":\r\nST:x\r\n\r\n", start + "ST:x\r\n" + strings.Repeat(":\r\n", 100), "\x00\x01\x02",
			"M-SEARCH * HTTP/1.1\x00\r\nST: upnp:rootdevice\r\n\r\n", start + "ST: upnp:rootdevice\x00\r\n\r\n",
		}},
	} {
		t.Run(tt.fault, func(t *testing.T) {
			r := newResponder(t)
			for _, packet := range tt.packets {
				if a := r.handle(host, group4().Addr(), []byte(packet)); len(a.messages) != 0 {
					t.Errorf("%q is answered", packet)
				}
			}
			if a := r.handle(host, group4().Addr(), []byte(msearch("upnp:rootdevice"))); len(a.messages) != 1 {
				t.Error("a good search is not answered any more")
			}
		})
	}
}
