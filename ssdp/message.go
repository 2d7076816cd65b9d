package ssdp

import (
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"
)

// maxAge is how long clients may believe an announcement. UDA 1.1 asks for half an hour at least.
const maxAge = 1800 * time.Second

// identity is what all messages of one interface have in common.
type identity struct {
	product string         // header SERVER
	config  uint32         // header CONFIGID.UPNP.ORG
	boot    *atomic.Uint32 // header BOOTID.UPNP.ORG
}

// reply answers a search for one version of a target (UDA 1.1, section 1.3.3).
func (id identity) reply(t Target, version int, location string) []byte {
	return fmt.Appendf(nil, "HTTP/1.1 200 OK\r\n"+
		"CACHE-CONTROL: max-age=%d\r\n"+
		"EXT:\r\n"+
		"LOCATION: %s\r\n"+
		"SERVER: %s\r\n"+
		"ST: %s\r\n"+
		"USN: %s\r\n%s\r\n",
		maxAge/time.Second, location, id.product, t.name(version), t.usn(version), id.numbers())
}

// alive announces a target to a group (UDA 1.1, section 1.2.2).
func (id identity) alive(t Target, group netip.AddrPort, location string) []byte {
	return fmt.Appendf(nil, "NOTIFY * HTTP/1.1\r\n"+
		"HOST: %s\r\n"+
		"CACHE-CONTROL: max-age=%d\r\n"+
		"LOCATION: %s\r\n"+
		"NT: %s\r\n"+
		"NTS: ssdp:alive\r\n"+
		"SERVER: %s\r\n"+
		"USN: %s\r\n%s\r\n",
		group, maxAge/time.Second, location, t.name(t.Announced), id.product, t.usn(t.Announced), id.numbers())
}

// byebye takes an announcement back (UDA 1.1, section 1.2.3).
func (id identity) byebye(t Target, group netip.AddrPort) []byte {
	return fmt.Appendf(nil, "NOTIFY * HTTP/1.1\r\n"+
		"HOST: %s\r\n"+
		"NT: %s\r\n"+
		"NTS: ssdp:byebye\r\n"+
		"USN: %s\r\n%s\r\n",
		group, t.name(t.Announced), t.usn(t.Announced), id.numbers())
}

// update says that the boot ID will be another one although nothing has been restarted (UDA 1.1, section 1.2.4).
func (id identity) update(t Target, group netip.AddrPort, location string, next uint32) []byte {
	return fmt.Appendf(nil, "NOTIFY * HTTP/1.1\r\n"+
		"HOST: %s\r\n"+
		"LOCATION: %s\r\n"+
		"NT: %s\r\n"+
		"NTS: ssdp:update\r\n"+
		"USN: %s\r\n"+
		"NEXTBOOTID.UPNP.ORG: %d\r\n%s\r\n",
		group, location, t.name(t.Announced), t.usn(t.Announced), next, id.numbers())
}

// numbers are the headers by which clients notice a restart and a changed description. OPT and 01-NLS say the
// same as BOOTID to clients from before UDA 1.1.
func (id identity) numbers() string {
	boot := id.boot.Load()
	return fmt.Sprintf("OPT: \"http://schemas.upnp.org/upnp/1/0/\"; ns=01\r\n"+
		"01-NLS: %d\r\n"+
		"BOOTID.UPNP.ORG: %d\r\n"+
		"CONFIGID.UPNP.ORG: %d\r\n",
		boot, boot, id.config)
}
