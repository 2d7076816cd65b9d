package web

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/wan"
)

func chinese(text string) bool {
	return strings.ContainsFunc(text, func(r rune) bool { return unicode.Is(unicode.Han, r) })
}

func TestWhatTheCoreSaysIsTranslated(t *testing.T) {
	words, err := loadCoreWords("zh")
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"": "", "something new": "something new",
		"it is switched off": "已停用",
		"external port not allowed: port 3389 against allowed 1024-65535, never 135, 445": "不允许的外部端口：端口 3389；允许 1024-65535；永不开放 135, 445",
		"not authorized: rule \"no camera\" denies port 80":                               "未获授权：规则“no camera”拒绝端口 80",
		"the device holds 3 of 128 mappings":                                              "设备已有 3/128 个映射",
		"the device holds 3 of 4 mappings and wants 2 more":                               "设备已有 3/4 个映射，还要 2 个",
		"is \"70000\", allowed is a port from 1 to 65535, or a range such as 5000-5010":   "“70000”无效；应为 1 到 65535 的端口，或 5000-5010 这样的范围",
	} {
		if got := words.translate(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	for _, wrong := range [][2]string{{"{} and {}", "{}"}, {"{}", "{} {}"}, {"{}", "{1}"}, {"{}", "{x}"}, {"{}", "{"}} {
		if p, err := newCorePattern(wrong[0], wrong[1]); err == nil {
			t.Errorf("%q was taken: %+v", wrong, p)
		}
	}
	for language, want := range map[string]string{"en": "new ports are paused for 10 min 00 s", "zh": "新端口已暂停 10 分 00 秒"} {
		if got := Translate(language, "new ports are paused for 10m0s"); got != want {
			t.Errorf("%s: a pause is %q, want %q", language, got, want)
		}
	}
	if english, err := loadCoreWords("en"); err != nil || english.translate("it is switched off") != "it is switched off" {
		t.Errorf("English: %v, %v", english, err)
	}
}

// What a manager says of a life with refusals, rules and closed ports is known to the patterns.
func TestPatternsKnowWhatTheManagerSays(t *testing.T) {
	words, err := loadCoreWords("zh")
	if err != nil {
		t.Fatal(err)
	}
	lan := netip.MustParsePrefix("192.168.1.1/24")
	policy := lease.DefaultPolicy()
	policy.Rules = []lease.PolicyRule{{Name: "no tcp", Protocols: []lease.Protocol{lease.TCP}, Deny: true}}
	m, err := lease.New(t.Context(), lease.Config{
		Firewall: firewall.NewFake(), Policy: policy,
		Topology: lease.Topology{
			WANs: []lease.WAN{{Name: "wan", Addrs: []netip.Addr{netip.MustParseAddr("203.0.113.5")}}},
			LANs: []lease.LAN{{Name: "lan", Prefixes: []netip.Prefix{lan}}},
		},
		Listeners: func(context.Context) (lease.Listeners, error) {
			return lease.Listeners{{Protocol: lease.UDP, Number: 5000}: {}}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- m.Run(t.Context()) }()
	<-m.Ready()
	host, other := netip.MustParseAddr("192.168.1.50"), netip.MustParseAddr("192.168.1.51")
	open := func(p lease.Protocol, port uint16, client, to netip.Addr) (lease.Lease, error) {
		return m.Open(t.Context(), lease.Request{
			Mapping: lease.Mapping{Protocol: p, External: netip.AddrPortFrom(netip.Addr{}, port), Internal: netip.AddrPortFrom(to, port)},
			Origin:  lease.OriginUPnP, Client: client, Lifetime: time.Hour,
		})
	}
	var said []string
	refuse := func(_ lease.Lease, err error) {
		t.Helper()
		if err == nil {
			t.Fatal("no error")
		}
		said = append(said, err.Error())
	}
	l, err := open(lease.UDP, 3074, host, host)
	if err != nil {
		t.Fatal(err)
	}
	refuse(open(lease.UDP, 3074, other, other))
	refuse(open(lease.UDP, 445, host, host))
	refuse(open(lease.UDP, 5000, host, host))
	refuse(open(lease.TCP, 4000, host, host))
	refuse(open(lease.UDP, 4000, host, other))
	rule := lease.Rule{
		Kind: lease.RuleForward, Name: "nas", Enabled: true, Protocols: []lease.Protocol{lease.UDP}, Ports: lease.PortRange{First: 3074, Last: 3074},
		Target: lease.Target{Addr: other},
	}
	_, err = m.PutRule(t.Context(), rule, lease.RuleOptions{By: lease.OriginWeb})
	refuse(lease.Lease{}, err)
	if _, err := m.CloseID(t.Context(), lease.Actor{Origin: lease.OriginWeb}, l.ID); err != nil {
		t.Fatal(err)
	}
	change, err := m.PutRule(t.Context(), rule, lease.RuleOptions{By: lease.OriginWeb})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.RemoveRule(t.Context(), change.Rule.ID, lease.RuleOptions{By: lease.OriginWeb}); err != nil {
		t.Fatal(err)
	}
	for _, e := range m.Snapshot().Events() {
		said = append(said, e.Reason)
		for _, step := range e.Trace {
			said = append(said, step.Why)
		}
	}
	slices.Sort(said)
	for _, text := range slices.Compact(said) {
		if strings.Count(text, " ") > 1 && !chinese(words.translate(text)) {
			t.Errorf("no pattern for %q", text)
		}
	}
}

// What is put together of pieces is known as a whole.
func TestSentencesOfPiecesAreTranslated(t *testing.T) {
	words, err := loadCoreWords("zh")
	if err != nil {
		t.Fatal(err)
	}
	rule := lease.PolicyRule{
		Name: "night", Networks: []string{"br-lan"}, Devices: []string{"02:00:00:00:00:10"}, Clients: []netip.Prefix{netip.MustParsePrefix("192.168.1.0/28")},
		Origins: []lease.Origin{lease.OriginUPnP, lease.OriginPCP}, Protocols: []lease.Protocol{lease.TCP, lease.UDP}, Ports: lease.PortSet{{First: 80, Last: 81}},
		Schedule: lease.Schedule{{Days: []time.Weekday{time.Friday}, From: 60, To: 120}}, Description: "new devices", Ask: true, MappingsPerDevice: 3,
		MaxLifetime: 90 * time.Minute, Disabled: true,
	}
	device := lease.Device{
		MAC: "02:00:00:00:00:10", Access: lease.AccessAsk, Ports: lease.PortSet{{First: 80, Last: 81}}, Mappings: 3, MaxLifetime: time.Hour, NoIPv6: true,
		Protocols: []lease.Protocol{lease.UDP}, LowPorts: true, Schedule: lease.Schedule{{From: 60, To: 120}},
	}
	forward := lease.Rule{
		Kind: lease.RuleForward, Name: "nas", Protocols: []lease.Protocol{lease.TCP}, Ports: lease.PortRange{First: 80, Last: 80},
		Target: lease.Target{Addr: netip.MustParseAddr("192.168.1.5")},
	}
	for _, text := range []string{
		`policy: rule "night" added: ` + rule.String(), `policy: rule "night" removed: ` + lease.PolicyRule{Deny: true}.String(),
		`policy: rule "night" changed: ` + lease.PolicyRule{}.String(), "policy: mappings_per_device set to 5, was 6", "policy: ports not set any more, was 80",
		"policy: rules put into another order", `device "camera": ` + device.String(), "new devices: " + lease.Device{Access: lease.AccessDeny}.String(),
		`not authorized: device "camera": ` + device.String(), `forward "nas" added: ` + forward.String(), `forward "nas" is out of force: it has ended`,
		lease.PolicyRule{Deny: true, Ask: true, MappingsPerDevice: -1, Devices: []string{"nas"}}.Validate().Error(),
		"closed by the owner (web)", "the device was not seen for 24h0m0s", "asked 1h0m0s, granted no end",
		`save to the store: store /var/lib/portreeve.db: no space left on device (the disk is full: free some space there)`,
	} {
		got := words.translate(text)
		if !chinese(got) || english.MatchString(quoted.ReplaceAllString(got, "")) {
			t.Errorf("%q: %q", text, got)
		}
	}
	if got, want := words.translate(`policy: rule "night" added: `+rule.String()),
		"策略：已添加规则“night”：询问所有者：tcp/udp，端口 80-81，设备 02:00:00:00:00:10，地址 192.168.1.0/28，说明含“new devices”，网络 br-lan，请求方式 upnp, pcp，时间 Fri 01:00-02:00，每个设备最多 3 个映射，最长 1 小时 30 分（已停用）"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// What is said of the line outside is known to the patterns, whatever it is.
func TestPatternsKnowTheLine(t *testing.T) {
	words, err := loadCoreWords("zh")
	if err != nil {
		t.Fatal(err)
	}
	lines := []wan.Interface{{Name: "wan"}, {Name: "wan", Index: 2}, {Name: "wan", Index: 2, Up: true}}
	for _, addr := range []string{"81.2.69.10", "192.168.0.2", "100.64.3.17", "192.0.0.2"} {
		lines = append(lines, wan.Interface{Name: "wan", Index: 2, Up: true, Addrs: []netip.Addr{netip.MustParseAddr(addr)}})
	}
	for _, line := range lines {
		if got := words.translate(line.Note()); !chinese(got) {
			t.Errorf("no pattern for %q", line.Note())
		}
	}
	if got := words.translate(new(wan.Snapshot).Note()); !chinese(got) {
		t.Errorf("without a line: %q", got)
	}
}
