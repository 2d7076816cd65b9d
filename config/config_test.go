package config_test

import (
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/config"
	"github.com/portreeve/portreeve/lease"
)

func TestReferenceIsTheDefault(t *testing.T) {
	f, err := os.Open("reference.toml")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := config.Parse(f)
	if err != nil {
		t.Fatal(err)
	}
	want := config.Default()
	want.WANs, want.LANs = []string{}, []string{}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the reference configuration is not the default (-want +got):\n%s", diff)
	}
}

func TestParse(t *testing.T) {
	got, err := config.Parse(strings.NewReader(`
		wan.interfaces = ["ppp0"]
		lan.interfaces = ["br-lan", "br-guest"]
		lan.wan = { br-guest = "ppp0" }
		lan.mdns = false
		firewall = { backend = "iptables", end_connections = false }
		igd = { enable = false, version = 2, port = 5000 }
		pcp = { pcp = false, natpmp = false, min_lifetime = 60, max_lifetime = 7200, third_party = true }
		web = { enable = false, port = 80 }
		limits = { mappings_per_device = 5, mappings = 50 }
		store.path = ""
		nat = { masquerade = true, pool = ["203.0.113.8/30", "203.0.113.20"], helpers = ["ftp", "sip@br-lan"] }
		[policy]
		ports = ["5000-6000", 80]
		never = []
		default = "deny"
		[[policy.rule]]
		name = "kids"
		action = "deny"
		networks = ["br-guest"]
		devices = ["02:00:00:00:00:AA"]
		via = ["upnp"]
		protocol = "udp"
		ports = [3074]
		schedule = ["Sun-Thu 21:00-06:00"]
		[[policy.rule]]
		action = "allow"
		mappings_per_device = 3
		max_lifetime = 600
		[[policy.rule]]
		name = "off"
		enabled = false
		action = "ask"
		clients = ["192.168.1.9", "2001:db8::/64"]
		protocol = ["sctp", "udplite"]
		description = "Torrent"
		[[forward]]
		name = "nas"
		protocol = "both"
		ports = "5000-5001"
		to_ports = 6000
		device = "02:00:00:00:00:AA"
		when_gone = "close"
		from = ["198.51.100.7", "192.0.2.0/24"]
		wan = "ppp0"
		hairpin = false
		take_from_router = true
		until = 2026-12-24T18:00:00Z
		schedule = ["16:00-22:00"]
		[[dmz]]
		enabled = false
		to = "192.168.1.30"
		except = [25, "8000-8010"]
		[[address]]
		public = "203.0.113.30"
		to = "192.168.1.40"
	`))
	if err != nil {
		t.Fatal(err)
	}
	want := config.Default()
	want.WANs, want.LANs = []string{"ppp0"}, []string{"br-lan", "br-guest"}
	want.Backend, want.EndConnections = "iptables", false
	want.Policy.WANs, want.MDNS = map[string]string{"br-guest": "ppp0"}, false
	want.IGD = config.IGD{Version: 2, Port: 5000}
	want.PCP, want.NATPMP = false, false
	want.Web = config.Web{Port: 80}
	want.Policy.ThirdParty = []lease.Origin{lease.OriginPCP}
	want.Policy.MappingsPerDevice, want.Policy.Mappings = 5, 50
	want.Policy.Lifetimes[lease.OriginPCP] = lease.Lifetimes{Min: time.Minute, Max: 2 * time.Hour}
	want.Policy.Lifetimes[lease.OriginNATPMP] = lease.Lifetimes{Min: time.Second, Max: 2 * time.Hour}
	want.Store = ""
	wantRules(&want)
	slices.SortFunc(got.Rules, func(a, b lease.Rule) int { return strings.Compare(string(b.Kind), string(a.Kind)) })
	for i := range got.Rules {
		if len(got.Rules[i].ID) != 8 {
			t.Errorf("rule %q has the ID %q", got.Rules[i].Name, got.Rules[i].ID)
		}
		got.Rules[i].ID = ""
	}
	if diff := cmp.Diff(want, got, equalAddrs); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

var equalAddrs = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

func wantRules(want *config.Config) {
	p := &want.Policy
	p.Ports, p.Never, p.DefaultDeny = lease.PortSet{{First: 5000, Last: 6000}, {First: 80, Last: 80}}, nil, true
	p.Rules = []lease.PolicyRule{
		{
			Origin: lease.OriginConfig, Name: "kids", Deny: true, Networks: []string{"br-guest"}, Devices: []string{"02:00:00:00:00:aa"},
			Origins: []lease.Origin{lease.OriginUPnP}, Protocols: []lease.Protocol{lease.UDP}, Ports: lease.PortSet{{First: 3074, Last: 3074}},
			Schedule: lease.Schedule{{Days: []time.Weekday{0, 1, 2, 3, 4}, From: 21 * 60, To: 6 * 60}},
		},
		{Origin: lease.OriginConfig, Name: "2", MappingsPerDevice: 3, MaxLifetime: 10 * time.Minute},
		{
			Origin: lease.OriginConfig, Name: "off", Disabled: true, Ask: true, Description: "Torrent", Protocols: []lease.Protocol{lease.SCTP, lease.UDPLite},
			Clients: []netip.Prefix{netip.MustParsePrefix("192.168.1.9/32"), netip.MustParsePrefix("2001:db8::/64")},
		},
	}
	for _, a := range []string{"203.0.113.8", "203.0.113.9", "203.0.113.10", "203.0.113.11", "203.0.113.20"} {
		p.Pool = append(p.Pool, netip.MustParseAddr(a))
	}
	want.NAT = lease.NAT{Masquerade: true, Helpers: []lease.Helper{{Name: "ftp"}, {Name: "sip", LAN: "br-lan"}}}
	declared := lease.Rule{Origin: lease.OriginConfig, Enabled: true, Version: 1}
	forward, dmz, address := declared, declared, declared
	forward.Kind, forward.Name, forward.To = lease.RuleForward, "nas", 6000
	forward.Protocols, forward.Ports = []lease.Protocol{lease.TCP, lease.UDP}, lease.PortRange{First: 5000, Last: 5001}
	forward.Target = lease.Target{Device: "02:00:00:00:00:aa", CloseWhenGone: true}
	forward.Sources = []netip.Prefix{netip.MustParsePrefix("198.51.100.7/32"), netip.MustParsePrefix("192.0.2.0/24")}
	forward.WAN, forward.NoHairpin, forward.FromRouter = "ppp0", true, true
	forward.Until = time.Date(2026, 12, 24, 18, 0, 0, 0, time.UTC)
	forward.Schedule = lease.Schedule{{From: 16 * 60, To: 22 * 60}}
	dmz.Kind, dmz.Enabled, dmz.Target = lease.RuleDMZ, false, lease.Target{Addr: netip.MustParseAddr("192.168.1.30")}
	dmz.Except = lease.PortSet{{First: 25, Last: 25}, {First: 8000, Last: 8010}}
	address.Kind, address.Public, address.Target = lease.RuleAddress, netip.MustParseAddr("203.0.113.30"), lease.Target{Addr: netip.MustParseAddr("192.168.1.40")}
	want.Rules = []lease.Rule{forward, dmz, address}
}

// Messages are part of the interface: they name the setting, its value and what is allowed.
func TestFaults(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"unknown key", "[igd]\nprot = 5000\n", "unknown setting"},
		{"unknown key shows the line", "[igd]\nprot = 5000\n", "2| prot = 5000"},
		{"not TOML", "[igd\n", "not valid TOML"},
		{"wrong type", "[igd]\nport = \"5000\"\n", "2| port = \"5000\""},
		{"port too high", "igd.port = 65536", "igd.port is 65536: allowed are 1 to 65535"},
		{"port zero", "web.port = 0", "web.port is 0: allowed are 1 to 65535"},
		{"port negative", "web.port = -1", "web.port is -1: allowed are 1 to 65535"},
		{"half a certificate", "web.tls = true\nweb.key = \"/key.pem\"", `web.certificate is "" and web.key is "/key.pem": allowed are both or none`},
		{"a certificate from somewhere", "web.tls = true\nweb.key = \"key.pem\"\nweb.certificate = \"/c.pem\"", `web.key is "key.pem": allowed is the path of a file from /`},
		{"a certificate without TLS", "web.key = \"/key.pem\"\nweb.certificate = \"/c.pem\"", "web.certificate is given, and web.tls is false"},
		{"same ports", "web.port = 49000", "igd.port and web.port are both 49000"},
		{"backend", `firewall.backend = "pf"`, `firewall.backend is "pf": allowed are "auto", "nftables" and "iptables"`},
		{"version", "igd.version = 3", `igd.version is 3: allowed are 1, 2 and "both"`},
		{"quota", "limits.mappings_per_device = 0", "limits.mappings_per_device is 0: allowed are 1 to 65535"},
		{"lifetimes", "pcp.min_lifetime = 100000", "pcp.min_lifetime (100000) must not be more than pcp.max_lifetime (86400)"},
		{"interface", `wan.interfaces = ["eth0; reboot"]`, `wan.interfaces: "eth0; reboot" is no interface name`},
		{"interface pattern", `lan.interfaces = ["eth+"]`, `"eth+" is no interface name`},
		{"interface option", `lan.interfaces = ["-j"]`, `"-j" is no interface name`},
		{"interface twice", `lan.interfaces = ["a", "a"]`, "lan.interfaces names a twice"},
		{"WAN of no LAN", "lan.interfaces = [\"a\"]\nlan.wan = { b = \"c\" }", `lan.wan names b, which is not in lan.interfaces: allowed are "a"`},
		{"no WAN of a LAN", "wan.interfaces = [\"a\"]\nlan.wan = { b = \"c\" }", `lan.wan.b is "c", which is not in wan.interfaces: allowed are "a"`},
		{"WAN that cannot be", "lan.wan = { b = \"c d\" }", `lan.wan.b: "c d" is no interface name`},
		{"forward without target", "[[forward]]\nname = \"nas\"\nprotocol = \"tcp\"\nports = 80", `forward 1 ("nas"): neither to nor device says where it leads`},
		{"forward without ports", "[[forward]]\nprotocol = \"tcp\"\nto = \"192.168.1.2\"", "forward 1: ports is absent: allowed is a port"},
		{"port as a float", "[[forward]]\nprotocol = \"tcp\"\nto = \"192.168.1.2\"\nports = 8.0", "ports is 8: allowed is a port"},
		{"range backwards", "[[forward]]\nprotocol = \"tcp\"\nto = \"192.168.1.2\"\nports = \"9-8\"", "ports is 9-8: allowed"},
		{"too few ports inside", "[[forward]]\nprotocol = \"tcp\"\nto = \"192.168.1.2\"\nports = \"8-10\"\nto_ports = \"18-19\"", "to_ports are 2 and ports are 3"},
		{"protocol", "[[forward]]\nprotocol = \"icmp\"\nto = \"192.168.1.2\"\nports = 80", `protocol is "icmp": allowed are "tcp", "udp" and "both"`},
		{"target", "[[dmz]]\nto = \"nas\"", `dmz 1: to is "nas": allowed is an IP address`},
		{"ports of a DMZ host", "[[dmz]]\nto = \"192.168.1.2\"\nports = 80", "protocol, ports, to_ports and take_from_router are for a forward"},
		{"two DMZ hosts", "[[dmz]]\nto = \"192.168.1.2\"\n[[dmz]]\nto = \"192.168.1.3\"", "want the same"},
		{"address of nobody", "[[address]]\npublic = \"ff02::1\"\nto = \"192.168.1.2\"", "public is ff02::1, allowed is an IPv4 address"},
		{"when", "[[dmz]]\nto = \"192.168.1.2\"\nuntil = \"tomorrow\"", "until is tomorrow: allowed is a date with a time"},
		{"schedule", "[[dmz]]\nto = \"192.168.1.2\"\nschedule = [\"nights\"]", `schedule: "nights"`},
		{"unknown key of a forward", "[[forward]]\nport = 80", "unknown setting"},
		{"policy", `policy.default = "maybe"`, `policy.default is "maybe": allowed are "allow" and "deny"`},
		{"policy ports", `policy.ports = ["80,81"]`, "policy.ports is 80,81: allowed is a port"},
		{"policy action", "[[policy.rule]]\nname = \"x\"", `policy.rule 1 ("x"): action is "": allowed are "allow", "ask" and "deny"`},
		{"policy device", "[[policy.rule]]\naction = \"deny\"\ndevices = [\"nas\"]", `devices is "nas": allowed is a MAC address`},
		{"pool", `nat.pool = ["2001:db8::/126"]`, "nat.pool has 2001:db8::/126: allowed are IPv4 addresses"},
		{"large pool", `nat.pool = ["10.0.0.0/8"]`, "nat.pool has more than 256 addresses"},
		{"helper", `nat.helpers = ["smtp"]`, `nat.helpers is "smtp": allowed are "ftp", "h323", "irc", "pptp", "sip" and "tftp"`},
		{"both sides", "wan.interfaces = [\"a\"]\nlan.interfaces = [\"a\"]", "a is in wan.interfaces and in lan.interfaces"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := config.Parse(strings.NewReader(tt.text))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	t.Run("a short maximum needs no other minimum", func(t *testing.T) {
		if _, err := config.Parse(strings.NewReader("pcp.max_lifetime = 60")); err != nil {
			t.Error(err)
		}
	})
	t.Run("all at once", func(t *testing.T) {
		_, err := config.Parse(strings.NewReader("igd.port = 0\nweb.port = 0\nlimits.mappings = 0"))
		if err == nil || strings.Count(err.Error(), "\n") != 2 {
			t.Errorf("got %v, want three lines", err)
		}
	})
}

func FuzzParse(f *testing.F) {
	reference, err := os.ReadFile("reference.toml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(reference))
	f.Add("igd = { version = \"both\" }")
	f.Fuzz(func(t *testing.T, text string) {
		cfg, err := config.Parse(strings.NewReader(text))
		if err != nil {
			return
		}
		for _, name := range append(cfg.WANs, cfg.LANs...) {
			if config.CheckInterface(name) != nil {
				t.Errorf("accepted the interface name %q", name)
			}
		}
		if cfg.IGD.Port == 0 || cfg.Web.Port == 0 || cfg.Policy.Mappings < 1 {
			t.Errorf("accepted %+v", cfg)
		}
	})
}
