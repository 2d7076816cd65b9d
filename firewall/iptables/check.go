package iptables

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/portreeve/portreeve/firewall"
)

// Check looks at the kernel's forwarding, at the rights to read and end connections and to read rules, at the other
// variant of iptables, and at what the owner's own rules do with packets that are forwarded, those of nf_tables included.
func (b *Backend) Check(ctx context.Context) []firewall.Problem {
	var problems []firewall.Problem
	report := func(what, do string) { problems = append(problems, firewall.Problem{What: what, Do: do}) }

	const forwarding = "/proc/sys/net/ipv4/ip_forward"
	switch value, err := os.ReadFile(forwarding); {
	case err != nil:
		report(fmt.Sprintf("cannot tell whether the kernel forwards packets: %v", err), "make "+forwarding+" readable")
	case strings.TrimSpace(string(value)) == "0":
		report("the kernel does not forward packets, so no mapping works",
			"sysctl -w net.ipv4.ip_forward=1, and net.ipv4.ip_forward = 1 in a file of /etc/sysctl.d")
	}
	if err := firewall.ProbeConnections(); errors.Is(err, errors.ErrUnsupported) {
		report("connections of a closed mapping go on until they are idle: "+err.Error(),
			"load the kernel module nf_conntrack_netlink (OpenWrt: opkg install kmod-nf-conntrack-netlink)")
	} else if err != nil {
		report("the kernel's connections cannot be read: "+err.Error(), "give the daemon the capability CAP_NET_ADMIN")
	}
	if found, err := candidates(ctx); err == nil {
		for _, c := range found {
			if c.variant != b.program.variant && c.rules > 0 {
				report(fmt.Sprintf("there are rules in %s too, which may drop what %s accepts", c.name, b.program.name),
					"move them to "+b.program.name+", or have a look at them with "+c.name+"-save")
			}
		}
	}
	problems = append(problems, b.passages.Check(ctx)...)
	tables, err := b.program.saved(ctx)
	if err != nil {
		report("the rules cannot be read: "+err.Error(), "run as root, or give the daemon the capabilities CAP_NET_ADMIN and CAP_NET_RAW")
		return problems
	}
	if t := tables["filter"]; t != nil && t.cutsEstablished() {
		report("the FORWARD chain drops packets and accepts no established connections: what runs through a mapping breaks when portreeve stops",
			"iptables -I FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT, and save it the way this system does")
	}
	return problems
}

// cutsEstablished tells whether forwarded packets are dropped in the end and no rule of the owner accepts by the state of
// the connection. It looks at all chains that forwarded packets may come through.
func (t *savedTable) cutsEstablished() bool {
	forward := t.chains["FORWARD"]
	if forward == nil {
		return false
	}
	drops := forward.policy == "DROP"
	for _, name := range t.names {
		if isOurs(name) || name == "INPUT" || name == "OUTPUT" {
			continue
		}
		for _, r := range t.chains[name].rules {
			states := r.value("--ctstate") + r.value("--state")
			if strings.Contains(states, "ESTABLISHED") && r.value("-j") == "ACCEPT" {
				return false
			}
			everything := len(r.words) > 1 && r.words[0] == "-j"
			drops = drops || name == "FORWARD" && everything && (r.words[1] == "DROP" || r.words[1] == "REJECT")
		}
	}
	return drops
}
