package config_test

import (
	"os"
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
		firewall = { backend = "iptables", end_connections = false }
		igd = { enable = false, version = "both", port = 5000 }
		pcp = { pcp = true, natpmp = false, min_lifetime = 60, max_lifetime = 7200, third_party = true }
		web = { enable = false, port = 80 }
		limits = { mappings_per_device = 5, mappings = 50 }
		store.path = ""
	`))
	if err != nil {
		t.Fatal(err)
	}
	want := config.Default()
	want.WANs, want.LANs = []string{"ppp0"}, []string{"br-lan", "br-guest"}
	want.Backend, want.EndConnections = "iptables", false
	want.Policy.WANs = map[string]string{"br-guest": "ppp0"}
	want.IGD = config.IGD{Port: 5000}
	want.NATPMP = false
	want.Web = config.Web{Port: 80}
	want.Policy.ThirdParty = []lease.Origin{lease.OriginPCP}
	want.Policy.MappingsPerDevice, want.Policy.Mappings = 5, 50
	want.Policy.Lifetimes[lease.OriginPCP] = lease.Lifetimes{Min: time.Minute, Max: 2 * time.Hour}
	want.Policy.Lifetimes[lease.OriginNATPMP] = lease.Lifetimes{Min: time.Second, Max: 2 * time.Hour}
	want.Store = ""
	want.Warnings = got.Warnings
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for i, setting := range []string{"igd.version", "pcp.pcp", "pcp.third_party", "pcp.min_lifetime"} {
		if len(got.Warnings) != 4 || !strings.HasPrefix(got.Warnings[i], setting+" = ") {
			t.Fatalf("warnings %q, want one for each setting that has no effect yet, and %s in place %d", got.Warnings, setting, i)
		}
	}
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
		{"same ports", "web.port = 49000", "igd.port and web.port are both 49000"},
		{"backend", `firewall.backend = "pf"`, `firewall.backend is "pf": allowed are ["auto" "nftables" "iptables"]`},
		{"version", "igd.version = 3", `igd.version is 3: allowed are 1, 2 and "both"`},
		{"quota", "limits.mappings_per_device = 0", "limits.mappings_per_device is 0: allowed are 1 to 65535"},
		{"lifetimes", "pcp.min_lifetime = 100000", "pcp.min_lifetime (100000) must not be more than pcp.max_lifetime (86400)"},
		{"interface", `wan.interfaces = ["eth0; reboot"]`, `wan.interfaces: "eth0; reboot" is no interface name`},
		{"interface pattern", `lan.interfaces = ["eth+"]`, `"eth+" is no interface name`},
		{"interface option", `lan.interfaces = ["-j"]`, `"-j" is no interface name`},
		{"interface twice", `lan.interfaces = ["a", "a"]`, "lan.interfaces names a twice"},
		{"WAN of no LAN", "lan.interfaces = [\"a\"]\nlan.wan = { b = \"c\" }", `lan.wan names b, which is not in lan.interfaces: allowed are ["a"]`},
		{"no WAN of a LAN", "wan.interfaces = [\"a\"]\nlan.wan = { b = \"c\" }", `lan.wan.b is "c", which is not in wan.interfaces: allowed are ["a"]`},
		{"WAN that cannot be", "lan.wan = { b = \"c d\" }", `lan.wan.b: "c d" is no interface name`},
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
