package notify

import (
	"fmt"
	"strings"
)

// words is the sentences of one language, with names in braces for what is put in.
type words map[string]string

// Languages returns those in which messages can be.
func Languages() []string { return []string{"en", "zh"} }

// wordsOf returns the sentences of a language; English for one that is not known.
func wordsOf(language string) words {
	if language == "zh" {
		return chinese()
	}
	return english()
}

func english() words {
	return words{
		"new_device":      "{who} asks for a port for the first time: {what}",
		"waiting":         "{who} asks for {what}, and waits for your answer.",
		"risky_port":      "{who} has opened {what}. {service}",
		"service":         "This port is usually {service}, which attackers look for.",
		"low":             "Ports below 1024 belong to well-known services.",
		"all":             "That is every port there is.",
		"long_dmz":        "{who} gets everything that nothing else takes (DMZ host), for more than {hours} hours now.",
		"wan_address":     "The address outside ({wan}) was {before} and is {after}.",
		"wan_reach":       "{wan} has the address {after}, which nobody on the internet can reach: {why} Ports that are opened are of no use from there.",
		"wan_reach.over":  "{wan} has the public address {after} again: ports that are opened can be reached from the internet.",
		"private":         "another router stands between this one and the internet.",
		"shared":          "the provider puts several customers behind one address.",
		"special":         "it is not used on the internet.",
		"refusals":        "{who} was refused {count} times within an hour. The last time: {what}",
		"trouble":         "Trouble with {source}: {reason}",
		"trouble.over":    "The trouble with {source} is over.",
		"ports.all":       "all ports",
		"test":            "This is a test. If you can read it, messages of your router arrive here.",
		"more":            "And {count} more of this kind: {kind}",
		"title.one":       "{router}: {kind}",
		"title.many":      "{router}: {count} news",
		"title.test":      "{router}: test",
		"kind.new_device": "a new device asks for ports", "kind.waiting": "a request waits for you", "kind.risky_port": "a risky port was opened",
		"kind.long_dmz": "a DMZ host is on for long", "kind.wan_address": "another address outside", "kind.wan_reach": "whether the internet reaches you",
		"kind.refusals": "a device is refused very often", "kind.trouble": "trouble",
		"source.store": "the stored state", "source.firewall": "the firewall", "source.rival": "another program that changes the firewall",
	}
}

func chinese() words {
	return words{
		"new_device":      "{who} 首次请求端口：{what}",
		"waiting":         "{who} 请求 {what}，正在等待您的答复。",
		"risky_port":      "{who} 打开了 {what}。{service}",
		"service":         "此端口通常用于 {service}，攻击者会寻找它。",
		"low":             "1024 以下的端口属于众所周知的服务。",
		"all":             "这是全部端口。",
		"long_dmz":        "{who} 作为 DMZ 主机接收所有未被占用的流量已超过 {hours} 小时。",
		"wan_address":     "外部地址（{wan}）已从 {before} 变为 {after}。",
		"wan_reach":       "{wan} 的地址为 {after}，互联网上无人能访问它：{why} 从那里无法使用已打开的端口。",
		"wan_reach.over":  "{wan} 又有了公网地址 {after}：互联网可以访问已打开的端口。",
		"private":         "此路由器与互联网之间还有另一台路由器。",
		"shared":          "运营商让多个客户共用一个地址。",
		"special":         "该地址不在互联网上使用。",
		"refusals":        "{who} 一小时内被拒绝 {count} 次。最近一次：{what}",
		"trouble":         "{source}出现问题：{reason}",
		"trouble.over":    "{source}的问题已解决。",
		"ports.all":       "所有端口",
		"test":            "这是一条测试消息。如果您能看到它，说明路由器的消息可以送达此处。",
		"more":            "另有 {count} 条同类消息：{kind}",
		"title.one":       "{router}：{kind}",
		"title.many":      "{router}：{count} 条消息",
		"title.test":      "{router}：测试",
		"kind.new_device": "新设备请求端口", "kind.waiting": "有请求等待您答复", "kind.risky_port": "打开了有风险的端口",
		"kind.long_dmz": "DMZ 主机已长时间开启", "kind.wan_address": "外部地址已改变", "kind.wan_reach": "互联网能否访问您",
		"kind.refusals": "某设备频繁被拒绝", "kind.trouble": "故障",
		"source.store": "已存储的状态", "source.firewall": "防火墙", "source.rival": "更改防火墙的其他程序",
	}
}

// say puts values into a sentence: they are pairs of names and what is put in. What is put in is not looked at again.
func (w words) say(key string, pairs ...any) string {
	replace := make([]string, 0, len(pairs))
	for i := 0; i+1 < len(pairs); i += 2 {
		replace = append(replace, fmt.Sprintf("{%v}", pairs[i]), fmt.Sprint(pairs[i+1]))
	}
	return strings.TrimSpace(strings.NewReplacer(replace...).Replace(w[key]))
}

// known returns a sentence, or the plain word where there is none.
func (w words) known(key, plain string) string {
	if text, ok := w[key+"."+plain]; ok {
		return text
	}
	return plain
}

// tell says what has happened. core translates what the core says.
func (w words) tell(n News, core func(text string) string) string {
	service, reason := "", ""
	if n.Kind == Trouble {
		reason = core(n.Reason)
	}
	switch {
	case n.Ports == "all":
		service = w["all"]
	case n.Service != "":
		service = w.say("service", "service", n.Service)
	case n.Kind == RiskyPort:
		service = w["low"]
	}
	return w.say(
		n.key(), "who", n.who(), "what", w.what(n), "service", service, "hours", n.Hours, "count", n.Count,
		"wan", n.WAN, "before", n.Before, "after", n.After, "why", w[n.Reason],
		"source", w.known("source", n.Source), "reason", reason,
	)
}

// what says which ports a device wants.
func (w words) what(n News) string {
	if n.Ports == "" {
		return ""
	}
	text := strings.ToUpper(n.Protocol) + " " + n.Ports
	if n.Ports == "all" {
		text = w["ports.all"]
	}
	if n.Description != "" {
		text += fmt.Sprintf(" (%q)", n.Description)
	}
	return text
}
