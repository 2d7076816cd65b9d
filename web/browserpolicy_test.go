package web_test

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// policyInOrder moves rules by keys and by dragging, switches one off, and gets a removed one back.
func policyInOrder(t *testing.T, c *chromium) {
	h := newHome(t)
	h.open()
	own := lease.OwnPolicy{Rules: []lease.PolicyRule{
		{Name: "camera", Deny: true, Clients: []netip.Prefix{netip.MustParsePrefix("192.168.1.60/32")}},
		{Name: "torrents", Ask: true, MaxLifetime: 90 * time.Second, Description: "torrent", Protocols: []lease.Protocol{lease.TCP, lease.SCTP}},
		{Name: "rest"},
	}}
	_, err := h.manager.SetPolicy(t.Context(), own, lease.PolicyOptions{By: lease.OriginWeb})
	must(t, err)
	names := func() (all []string) {
		for _, r := range h.manager.Snapshot().Own.Rules {
			all = append(all, r.Name)
		}
		return all
	}
	is := func(what string, want ...string) {
		t.Helper()
		eventually(t, what, func() bool { return slices.Equal(names(), want) })
	}
	b := h.signedIn(t, c)
	b.open(h.url + "/policy")
	b.wait(`[data-sorthelp]:not([hidden])`)
	if got := b.text(`#otherwise`); !strings.Contains(got, "built in") || !strings.Contains(got, "Decisions: 1") {
		t.Errorf("what is built in says %q, want that it has decided once", got)
	}
	if got := b.text(`#rules li:nth-child(1)`); !strings.Contains(got, "Never used since") {
		t.Errorf("the first rule says %q", got)
	}
	for _, language := range []string{"en", "zh"} {
		b.language(language)
		b.open(h.url + "/policy?client=192.168.1.50&protocol=tcp&port=6881&description=MyTorrent")
		b.wait(`#answers .warn`)
		b.accessible(language + " policy")
		if dir := os.Getenv("PORTREEVE_SCREENSHOTS"); strings.HasPrefix(dir, "/tmp") {
			b.picture(dir, "policy-"+language)
		}
		b.open(h.url + "/policy/rules/new")
		b.accessible(language + " rule of the policy")
	}
	b.language("en")

	// By the keys: the rule that was moved has the focus, so that the next key moves it on.
	b.open(h.url + "/policy")
	press := func(rule int, key string) {
		b.eval(fmt.Sprintf(`document.querySelector("#rules li:nth-child(%d) button").focus();
			document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {key: %q, altKey: true, bubbles: true}))`, rule, key))
	}
	press(1, "ArrowDown")
	is("moved down", "torrents", "camera", "rest")
	b.eventually("it has the focus", `document.activeElement.closest("li")?.textContent.includes("camera") && document.querySelector(".done")`)
	b.eval(`document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowDown", altKey: true, bubbles: true}))`)
	is("moved down again", "torrents", "rest", "camera")
	b.eventually("the page shows it", `document.querySelector("#rules li:nth-child(3)")?.textContent.includes("camera")`)
	press(3, "ArrowDown") // it is the last that can be moved: nothing happens
	b.eval(`{ const rules = document.querySelectorAll("#rules li"), data = new DataTransfer();
		const say = (name, on) => on.dispatchEvent(new DragEvent(name, {dataTransfer: data, bubbles: true, cancelable: true}));
		say("dragstart", rules[2]); say("dragover", rules[0]); say("drop", rules[0]); }`)
	is("dragged to the top", "camera", "torrents", "rest")
	b.eventually("the page shows it", `document.querySelector("#rules li:nth-child(1)")?.textContent.includes("camera")`)

	b.open(h.url + "/policy")
	b.press(`#rules li:nth-child(1) form[action$="/switch"] button`, `#rules li.off`)
	if !h.manager.Snapshot().Own.Rules[0].Disabled {
		t.Error("the rule is not switched off")
	}
	b.press(`#rules li:nth-child(1) form[action$="/switch"] button`, `#rules li:nth-child(1):not(.off)`)
	before := h.manager.Snapshot().Own.Rules[1]
	b.press(`#rules li:nth-child(2) form[action$="/remove"] button`, `form.undo`)
	is("removed", "camera", "rest")
	b.press(`form.undo button`, `.done`)
	is("back", "camera", "torrents", "rest")
	after := h.manager.Snapshot().Own.Rules[1]
	if before.ID = after.ID; fmt.Sprint(before) != fmt.Sprint(after) {
		t.Errorf("it is %+v, and was %+v", after, before)
	}

	// What the form says becomes the rule, and nothing else of it changes.
	b.click(`#rules li:nth-child(2) a.button`)
	b.wait(`#clients`)
	b.fill(`#clients`, "192.168.1.0/28, 2001:db8:1::9")
	b.eval(`document.querySelector("#protocol-sctp").checked = false; document.querySelector("#off").checked = true`)
	b.press(`button[value=save]`, `.done`)
	r := h.manager.Snapshot().Own.Rules[1]
	if !r.Ask || !r.Disabled || r.Description != "torrent" || len(r.Protocols) != 1 || len(r.Clients) != 2 || r.MaxLifetime != 90*time.Second {
		t.Errorf("the rule is %+v", r)
	}
}
