package firewall

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/portreeve/portreeve/lease"
)

// Report takes something that is wrong with the router, and what its owner can do about it, see [Problem].
type Report func(what, do string)

// CheckForwarding looks whether the kernel forwards packets.
func CheckForwarding(report Report) {
	checkSwitch(report, ForwardingFile, "net.ipv4.ip_forward", "the kernel does not forward packets, so no mapping works")
}

// CheckForwarding6 is CheckForwarding for IPv6.
func CheckForwarding6(report Report) {
	checkSwitch(report, "/proc/sys/net/ipv6/conf/all/forwarding", "net.ipv6.conf.all.forwarding",
		"the kernel does not forward packets of IPv6, so no pinhole works")
}

// checkSwitch reads one of the kernel's switches.
func checkSwitch(report Report, file, setting, off string) {
	switch value, err := os.ReadFile(file); {
	case err != nil:
		report(fmt.Sprintf("cannot tell whether the kernel forwards packets: %v", err), "make "+file+" readable")
	case !isOn(value):
		report(off, fmt.Sprintf("sysctl -w %s=1, and %[1]s = 1 in a file of /etc/sysctl.d", setting))
	}
}

// CheckConnections looks whether the kernel's connections can be read and ended.
func CheckConnections(report Report) {
	if err := ProbeConnections(); errors.Is(err, errors.ErrUnsupported) {
		report("connections of a closed mapping go on until they are idle: "+err.Error(),
			"load the kernel module nf_conntrack_netlink (OpenWrt: opkg install kmod-nf-conntrack-netlink)")
	} else if err != nil {
		report("the kernel's connections cannot be read: "+err.Error(), "give the daemon the capability CAP_NET_ADMIN")
	}
}

// NeedsMasquerade tells whether there are private addresses on a LAN that somebody has to translate, and we do not.
func NeedsMasquerade(t lease.Topology, nat lease.NAT) bool {
	return !nat.Masquerade && len(Addrs(t, "")) > 0 &&
		slices.ContainsFunc(Subnets(t), func(p netip.Prefix) bool { return p.Addr().IsPrivate() })
}

// ReportNoMasquerade tells that nobody does. The rule is one by which the owner would.
func ReportNoMasquerade(report Report, rule string) {
	report("nothing translates the addresses of the LANs to that of the router: their packets come back from the internet nowhere",
		"set nat.masquerade = true for portreeve, or add a rule of your own: "+rule)
}
