// Package config turns the TOML configuration file into checked values. It is pure: it reads from an
// [io.Reader] and knows neither file names, nor the clock, nor the network.
package config

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/portreeve/portreeve/lease"
)

// Config is what the daemon needs to know, with defaults applied.
type Config struct {
	// WANs and LANs are interface names. None means that they are found: the WAN is the interface of the
	// default route, the LANs are those with a private address.
	WANs, LANs []string

	// MDNS: machines of the LAN are asked for their names.
	MDNS bool

	// Backend is "auto", "nftables" or "iptables".
	Backend string

	// EndConnections: closing a mapping ends what goes through it, and opening one ends what would keep it from
	// working.
	EndConnections bool

	IGD    IGD
	PCP    bool // serve PCP on UDP port 5351
	NATPMP bool // serve NAT-PMP on the same port
	Web    Web

	// Rules are the owner's forwards, DMZ hosts and addresses that the file declares.
	Rules []lease.Rule

	// NAT is what the router does besides mappings.
	NAT lease.NAT

	// Policy says who may have which mapping for how long.
	Policy lease.Policy

	// Store is the file of the lease store; a relative path is relative to the state directory. Empty
	// keeps everything in memory.
	Store string

	// Warnings name settings that are understood but cannot be followed by this version.
	Warnings []string
}

// IGD is the UPnP gateway device.
type IGD struct {
	Enable  bool
	Version int    // that it describes itself as: 1, 2, or 0 for the one that a client asks for
	Port    uint16 // TCP, on each LAN address
}

// Web is the admin UI.
type Web struct {
	Enable bool
	Port   uint16 // TCP, on each LAN address

	// TLS: the page is served encrypted, with the certificate and the key of two PEM files. Without files the daemon makes
	// a certificate that nobody has signed.
	TLS              bool
	Certificate, Key string
}

// Default returns the configuration that holds without a file.
func Default() Config {
	return Config{
		Backend: "auto", EndConnections: true, MDNS: true,
		IGD:    IGD{Enable: true, Port: 49000},
		PCP:    true,
		NATPMP: true,
		Web:    Web{Enable: true, Port: 8351},
		Policy: lease.DefaultPolicy(),
		Store:  "portreeve.db",
	}
}

// file is exactly what the TOML file may contain. Pointers tell what is absent from what is zero.
type file struct {
	WAN struct {
		Interfaces []string `toml:"interfaces"`
	} `toml:"wan"`
	LAN struct {
		Interfaces []string          `toml:"interfaces"`
		WAN        map[string]string `toml:"wan"`
		MDNS       *bool             `toml:"mdns"`
	} `toml:"lan"`
	Firewall struct {
		Backend        *string `toml:"backend"`
		EndConnections *bool   `toml:"end_connections"`
	} `toml:"firewall"`
	IGD struct {
		Enable  *bool  `toml:"enable"`
		Version any    `toml:"version"`
		Port    *int64 `toml:"port"`
	} `toml:"igd"`
	PCP struct {
		PCP         *bool  `toml:"pcp"`
		NATPMP      *bool  `toml:"natpmp"`
		MinLifetime *int64 `toml:"min_lifetime"`
		MaxLifetime *int64 `toml:"max_lifetime"`
		ThirdParty  *bool  `toml:"third_party"`
	} `toml:"pcp"`
	Web struct {
		Enable      *bool   `toml:"enable"`
		Port        *int64  `toml:"port"`
		TLS         *bool   `toml:"tls"`
		Certificate *string `toml:"certificate"`
		Key         *string `toml:"key"`
	} `toml:"web"`
	Limits struct {
		PerDevice *int64 `toml:"mappings_per_device"`
		Mappings  *int64 `toml:"mappings"`
	} `toml:"limits"`
	Store struct {
		Path *string `toml:"path"`
	} `toml:"store"`
	Policy  policyFile `toml:"policy"`
	NAT     natFile    `toml:"nat"`
	Forward []ruleFile `toml:"forward"`
	DMZ     []ruleFile `toml:"dmz"`
	Address []ruleFile `toml:"address"`
}

// Parse reads a configuration file. The error lists every fault that was found, each with the setting's name, its
// value and what is allowed; for text that is no TOML, or a key that does not exist, it shows the line.
func Parse(r io.Reader) (Config, error) {
	var f file
	decoder := toml.NewDecoder(r)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&f); err != nil {
		return Config{}, explain(err)
	}
	cfg := Default()
	var c checker
	cfg.WANs, cfg.LANs = f.WAN.Interfaces, f.LAN.Interfaces
	if len(f.LAN.WAN) > 0 {
		cfg.Policy.WANs = f.LAN.WAN
	}
	set(&cfg.MDNS, f.LAN.MDNS)
	set(&cfg.Backend, f.Firewall.Backend)
	set(&cfg.EndConnections, f.Firewall.EndConnections)
	set(&cfg.IGD.Enable, f.IGD.Enable)
	c.igdVersion(&cfg, f.IGD.Version)
	c.port("igd.port", &cfg.IGD.Port, f.IGD.Port)
	set(&cfg.PCP, f.PCP.PCP)
	set(&cfg.NATPMP, f.PCP.NATPMP)
	if f.PCP.ThirdParty != nil && *f.PCP.ThirdParty {
		cfg.Policy.ThirdParty = []lease.Origin{lease.OriginPCP}
	}
	c.lifetimes(&cfg, f)
	set(&cfg.Web.Enable, f.Web.Enable)
	c.port("web.port", &cfg.Web.Port, f.Web.Port)
	set(&cfg.Web.TLS, f.Web.TLS)
	set(&cfg.Web.Certificate, f.Web.Certificate)
	set(&cfg.Web.Key, f.Web.Key)
	c.certificate(cfg.Web)
	c.number("limits.mappings_per_device", &cfg.Policy.MappingsPerDevice, f.Limits.PerDevice, 1, 65535)
	c.number("limits.mappings", &cfg.Policy.Mappings, f.Limits.Mappings, 1, 65535)
	set(&cfg.Store, f.Store.Path)
	c.policy(&cfg.Policy, f.Policy)
	c.nat(&cfg, f.NAT)
	c.ownRules(&cfg, f)
	return cfg, errors.Join(append(c.faults, cfg.Check())...)
}

// Check returns what is wrong with values that may also come from the command line, nil if nothing is.
func (cfg Config) Check() error {
	var c checker
	c.interfaces("wan.interfaces", cfg.WANs)
	c.interfaces("lan.interfaces", cfg.LANs)
	c.disjoint(cfg.WANs, cfg.LANs)
	c.uplinks(cfg)
	c.choice("firewall.backend", cfg.Backend, "auto", "nftables", "iptables")
	if cfg.IGD.Enable && cfg.Web.Enable && cfg.IGD.Port == cfg.Web.Port {
		c.fault("igd.port and web.port are both %d: they must differ", cfg.Web.Port)
	}
	return errors.Join(c.faults...)
}

func set[T any](to *T, value *T) {
	if value != nil {
		*to = *value
	}
}

// lifetimes sets the bounds of NAT-PMP and PCP. NAT-PMP has no lower one: RFC 6886, section 3.3, does not want a
// lifetime raised.
func (c *checker) lifetimes(cfg *Config, f file) {
	bounds := cfg.Policy.Lifetimes[lease.OriginPCP]
	shortest, longest := int(bounds.Min/time.Second), int(bounds.Max/time.Second)
	const year = 365 * 24 * 3600
	c.number("pcp.min_lifetime", &shortest, f.PCP.MinLifetime, 1, year)
	c.number("pcp.max_lifetime", &longest, f.PCP.MaxLifetime, 1, year)
	if f.PCP.MinLifetime == nil {
		shortest = min(shortest, longest)
	}
	if shortest > longest {
		c.fault("pcp.min_lifetime (%d) must not be more than pcp.max_lifetime (%d)", shortest, longest)
	}
	low, high := time.Duration(shortest)*time.Second, time.Duration(longest)*time.Second
	cfg.Policy.Lifetimes[lease.OriginPCP] = lease.Lifetimes{Min: low, Max: high}
	cfg.Policy.Lifetimes[lease.OriginNATPMP] = lease.Lifetimes{Min: time.Second, Max: high}
}

func (c *checker) igdVersion(cfg *Config, version any) {
	switch version {
	case nil, "both":
	case int64(1), int64(2):
		cfg.IGD.Version = int(version.(int64))
	default:
		c.fault(`igd.version is %v: allowed are 1, 2 and "both"`, version)
	}
}

// explain makes go-toml's errors show the place.
func explain(err error) error {
	if missing, ok := errors.AsType[*toml.StrictMissingError](err); ok {
		return fmt.Errorf("unknown setting (see docs/configuration.md for those that exist):\n%s", missing.String())
	}
	if decode, ok := errors.AsType[*toml.DecodeError](err); ok {
		return fmt.Errorf("not valid TOML, or a value of the wrong type:\n%s", decode.String())
	}
	return err
}
