package config_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/config"
)

// Every setting with a value that it cannot have: each is named, with what is allowed.
func TestEverySettingWithABadValue(t *testing.T) {
	_, err := config.Parse(strings.NewReader(`
		wan.interfaces = ["eth 0", "a", "a"]
		lan.interfaces = ["-j", "a"]
		lan.wan = { b = "c/d" }
		firewall = { backend = "pf" }
		igd = { version = 3, port = 65536 }
		pcp = { min_lifetime = 0, max_lifetime = 31536001 }
		web = { port = 0 }
		limits = { mappings_per_device = 0, mappings = 65536 }
		nat = { pool = ["203.0.113", "2001:db8::/127", "10.0.0.0/8"], helpers = ["smtp", "ftp@a b"] }
		[policy]
		ports = [0, "80,81", 1.5]
		never = ["9-8"]
		default = "maybe"
		[[policy.rule]]
		name = "x"
		action = "drop"
		networks = ["a b"]
		devices = ["nas"]
		via = ["http"]
		clients = ["console", "10.0.0.0/33"]
		protocol = ["both", "icmp"]
		ports = [65536]
		schedule = ["nights", "Mun 1:00-2:00", "24:00-1:00", "1:00-25:00"]
		mappings_per_device = 0
		max_lifetime = -1
		[[forward]]
		name = "nas"
		protocol = "icmp"
		ports = "9-8"
		to_ports = "x"
		to = "nas"
		device = "nas"
		when_gone = "stay"
		public = "here"
		from = ["everybody", "198.51.100.0/33"]
		except = [0]
		wan = "w w"
		until = "tomorrow"
		schedule = ["9:61-10:00"]
		[[dmz]]
		to = "192.168.1.300"
		protocol = "tcp"
		ports = 80
		to_ports = 80
		except = ["1-2-3"]
		take_from_router = true
		[[address]]
		public = "203.0.113.1.1"
		device = "00:11:22"
		[[address]]
		to = "192.168.1.2"
	`))
	if err == nil {
		t.Fatal("taken")
	}
	want := []string{
		`igd.version is 3: allowed are 1, 2 and "both"`,
		"igd.port is 65536: allowed are 1 to 65535",
		"pcp.min_lifetime is 0: allowed are 1 to 31536000",
		"pcp.max_lifetime is 31536001: allowed are 1 to 31536000",
		"web.port is 0: allowed are 1 to 65535",
		"limits.mappings_per_device is 0: allowed are 1 to 65535",
		"limits.mappings is 65536: allowed are 1 to 65535",
		`policy.ports is 0: allowed is a port from 1 to 65535, or a range such as "5000-5010"`,
		`policy.ports is 80,81: allowed is a port from 1 to 65535, or a range such as "5000-5010"`,
		`policy.ports is 1.5: allowed is a port from 1 to 65535, or a range such as "5000-5010"`,
		`policy.never is 9-8: allowed is a port from 1 to 65535, or a range such as "5000-5010"`,
		`policy.default is "maybe": allowed are "allow" and "deny"`,
		`policy.rule 1 ("x"): ports is 65536: allowed is a port from 1 to 65535, or a range such as "5000-5010"`,
		`policy.rule 1 ("x"): schedule: "nights": a window needs a beginning and an end, such as 16:00-22:00`,
		`policy.rule 1 ("x"): schedule: "Mun 1:00-2:00": days are "Mun", allowed are Mon, Tue, Wed, Thu, Fri, Sat, Sun, and such as Mon-Fri`,
		`policy.rule 1 ("x"): schedule: "24:00-1:00": a window begins before 24:00`,
		`policy.rule 1 ("x"): schedule: time "25:00", allowed are 00:00 to 24:00`,
		`policy.rule 1 ("x"): clients has "console": allowed are addresses and subnets such as 198.51.100.0/24`,
		`policy.rule 1 ("x"): clients has "10.0.0.0/33": allowed are addresses and subnets such as 198.51.100.0/24`,
		`policy.rule 1 ("x"): action is "drop": allowed are "allow", "ask" and "deny"`,
		`policy.rule 1 ("x"): networks: "a b" is no interface name: allowed are 1 to 15 printable ASCII characters without spaces and / : + ! quotes, not starting with a dash`,
		`policy.rule 1 ("x"): devices is "nas": allowed is a MAC address such as 02:00:00:00:00:10`,
		`policy.rule 1 ("x"): via is "http": allowed are "upnp", "nat-pmp" and "pcp"`,
		`policy.rule 1 ("x"): protocol is "icmp": allowed are "tcp", "udp", "sctp", "udplite", "dccp" and "both"`,
		`policy.rule 1 ("x"): mappings_per_device is 0: allowed are 1 to 65535`,
		`policy.rule 1 ("x"): max_lifetime is -1: allowed are 1 to 31536000`,
		`nat.pool has "203.0.113": allowed are addresses and subnets such as 198.51.100.0/24`,
		"nat.pool has 2001:db8::/127: allowed are IPv4 addresses",
		"nat.pool has more than 256 addresses",
		`nat.helpers is "smtp": allowed are "ftp", "h323", "irc", "pptp", "sip" and "tftp"`,
		`nat.helpers: "a b" is no interface name: allowed are 1 to 15 printable ASCII characters without spaces and / : + ! quotes, not starting with a dash`,
		`forward 1 ("nas"): public is "here": allowed is an IP address`,
		`forward 1 ("nas"): from has "everybody": allowed are addresses and subnets such as 198.51.100.0/24`,
		`forward 1 ("nas"): from has "198.51.100.0/33": allowed are addresses and subnets such as 198.51.100.0/24`,
		`forward 1 ("nas"): except is 0: allowed is a port from 1 to 65535, or a range such as "5000-5010"`,
		`forward 1 ("nas"): until is tomorrow: allowed is a date with a time such as 2026-12-24T18:00:00`,
		`forward 1 ("nas"): schedule: time "9:61", allowed are 00:00 to 24:00`,
		`forward 1 ("nas"): wan: "w w" is no interface name: allowed are 1 to 15 printable ASCII characters without spaces and / : + ! quotes, not starting with a dash`,
		`forward 1 ("nas"): device is "nas": allowed is a MAC address such as 02:00:00:00:00:10`,
		`forward 1 ("nas"): to is "nas": allowed is an IP address`,
		`forward 1 ("nas"): when_gone is "stay": allowed are "keep" and "close"`,
		`forward 1 ("nas"): protocol is "icmp": allowed are "tcp", "udp" and "both"`,
		`forward 1 ("nas"): ports is 9-8: allowed is a port from 1 to 65535, or a range such as "5000-5010"`,
		`forward 1 ("nas"): to_ports is x: allowed is a port from 1 to 65535, or a range such as "5000-5010"`,
		`forward 1 ("nas"): except is for a DMZ host`,
		`dmz 1: except is 1-2-3: allowed is a port from 1 to 65535, or a range such as "5000-5010"`,
		`dmz 1: to is "192.168.1.300": allowed is an IP address`,
		"dmz 1: protocol, ports, to_ports and take_from_router are for a forward",
		`address 1: public is "203.0.113.1.1": allowed is an IP address`,
		`address 1: device is "00:11:22": allowed is a MAC address such as 02:00:00:00:00:10`,
		"address 2: public is absent: allowed is a public IPv4 address of yours",
		`wan.interfaces: "eth 0" is no interface name: allowed are 1 to 15 printable ASCII characters without spaces and / : + ! quotes, not starting with a dash`,
		"wan.interfaces names a twice",
		`lan.interfaces: "-j" is no interface name: allowed are 1 to 15 printable ASCII characters without spaces and / : + ! quotes, not starting with a dash`,
		"a is in wan.interfaces and in lan.interfaces: an interface is either outside or inside",
		`lan.wan.b: "c/d" is no interface name: allowed are 1 to 15 printable ASCII characters without spaces and / : + ! quotes, not starting with a dash`,
		`lan.wan names b, which is not in lan.interfaces: allowed are "-j" and "a"`,
		`lan.wan.b is "c/d", which is not in wan.interfaces: allowed are "eth 0", "a" and "a"`,
		`firewall.backend is "pf": allowed are "auto", "nftables" and "iptables"`,
	}
	if d := cmp.Diff(want, strings.Split(err.Error(), "\n")); d != "" {
		t.Errorf("faults (-want +got):\n%s", d)
	}
}
