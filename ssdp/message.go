package ssdp

import (
	"fmt"
	"net/netip"
	"time"
)

// group is where SSDP over IPv4 happens (UDA 1.1, section 1).
func group() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{239, 255, 255, 250}), 1900)
}

// maxAge is how long clients may believe an announcement. UDA 1.1 asks for half an hour at least.
const maxAge = 1800 * time.Second

// identity is what all messages of one interface have in common.
type identity struct {
	product string // header SERVER
	boot    uint32 // header BOOTID.UPNP.ORG
	config  uint32 // header CONFIGID.UPNP.ORG
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

// alive announces the highest version of a target (UDA 1.1, section 1.2.2).
func (id identity) alive(t Target, location string) []byte {
	return fmt.Appendf(nil, "NOTIFY * HTTP/1.1\r\n"+
		"HOST: %s\r\n"+
		"CACHE-CONTROL: max-age=%d\r\n"+
		"LOCATION: %s\r\n"+
		"NT: %s\r\n"+
		"NTS: ssdp:alive\r\n"+
		"SERVER: %s\r\n"+
		"USN: %s\r\n%s\r\n",
		group(), maxAge/time.Second, location, t.name(t.Version), id.product, t.usn(t.Version), id.numbers())
}

// byebye takes an announcement back (UDA 1.1, section 1.2.3).
func (id identity) byebye(t Target) []byte {
	return fmt.Appendf(nil, "NOTIFY * HTTP/1.1\r\n"+
		"HOST: %s\r\n"+
		"NT: %s\r\n"+
		"NTS: ssdp:byebye\r\n"+
		"USN: %s\r\n%s\r\n",
		group(), t.name(t.Version), t.usn(t.Version), id.numbers())
}

// numbers are the headers by which clients notice a restart and a changed description. OPT and 01-NLS say the
// same as BOOTID to clients from before UDA 1.1.
func (id identity) numbers() string {
	return fmt.Sprintf("OPT: \"http://schemas.upnp.org/upnp/1/0/\"; ns=01\r\n"+
		"01-NLS: %d\r\n"+
		"BOOTID.UPNP.ORG: %d\r\n"+
		"CONFIGID.UPNP.ORG: %d\r\n",
		id.boot, id.boot, id.config)
}
