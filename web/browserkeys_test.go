package web_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/portreeve/portreeve/lease"
)

// keys types as somebody does who has no mouse.
func (b *browser) keys(text string) { b.t.Helper(); b.do(chromedp.KeyEvent(text)) }

// tabTo goes on from one element to the next until it is where it shall be.
func (b *browser) tabTo(selector string) {
	b.t.Helper()
	for range 200 {
		if b.true(fmt.Sprintf(`document.activeElement.matches(%q)`, selector)) {
			return
		}
		b.keys(kb.Tab)
	}
	b.t.Fatalf("the tab key does not lead to %s", selector)
}

// enter presses a key on what has the focus, which leads to another page, and waits for something there.
func (b *browser) enter(key, wanted string) {
	b.t.Helper()
	b.eval(`window.before = true`)
	b.keys(key)
	b.eventually(wanted+" is there", fmt.Sprintf(`!window.before && document.querySelector(%q) !== null`, wanted))
}

// everythingByKeyboard goes through all pages with the tab key: it reaches whatever can be used, and what has the focus can be
// told from the rest.
func everythingByKeyboard(t *testing.T, c *chromium) {
	h := furnished(t)
	b := h.signedIn(t, c)
	for _, path := range h.pagesOf() {
		b.open(h.url + path)
		b.wait(`main h1`)
		n := evaluate[int](b, `(() => {
			window.reached = new Set();
			window.unseen = [];
			document.addEventListener("focusin", (event) => {
				const style = getComputedStyle(event.target);
				reached.add(event.target);
				if (style.outlineStyle === "none" || parseFloat(style.outlineWidth) < 2) unseen.push(event.target.outerHTML.slice(0, 120));
			});
			document.activeElement.blur();
			window.usable = () => [...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary")].filter((e) => !e.disabled && e.checkVisibility({ visibilityProperty: true }));
			return usable().length;
		})()`)
		var steps []chromedp.Action[chromedp.Void]
		for range n + 25 { // a date is several fields
			steps = append(steps, chromedp.KeyEvent(kb.Tab))
		}
		b.do(steps...)
		if unseen := evaluate[[]string](b, `unseen`); len(unseen) > 0 {
			t.Errorf("%s: one cannot see that these have the focus: %s", path, strings.Join(unseen, "\n"))
		}
		// Of buttons of which one is chosen, the keys with arrows reach the others.
		missing := evaluate[[]string](b, `usable().filter((e) => !reached.has(e) && !(e.type === "radio" && [...reached].some((other) => other.name === e.name))).map((e) => e.outerHTML.slice(0, 120))`)
		if len(missing) > 0 {
			t.Errorf("%s: the tab key does not reach %s", path, strings.Join(missing, "\n"))
		}
	}
}

// actionsByKeyboard does without a mouse what an owner does on the main pages.
func actionsByKeyboard(t *testing.T, c *chromium) {
	h := newHome(t)
	l := h.open()
	b := h.signedIn(t, c)
	b.wait(`#live:not([hidden])`)

	// A lease is looked for and closed; the focus stays in the list.
	h.open(port(4000))
	b.wait(`tbody tr:nth-child(2)`)
	b.keys("/")
	if !b.true(`document.activeElement.id === "q"`) {
		t.Error("the key / does not lead to the filter")
	}
	b.eval(`document.querySelector("#q").value = ""`) // chromedp sends the character also when the key was taken
	b.keys("4000")
	b.enter(kb.Enter, `tbody tr:only-child`)
	b.open(h.url + "/leases")
	b.wait(`#live:not([hidden])`)
	b.tabTo(`tbody tr:first-child [data-close] button`)
	b.keys(kb.Enter)
	b.wait(`#lease-` + string(l.ID) + `:only-child`)
	h.stands("udp 3074 -> 192.168.1.50:3074")
	b.eventually("the focus stays in the list", `document.activeElement.closest("#leases")`)

	// A forward, from the link to the switch.
	b.open(h.url + "/forwards")
	b.tabTo(`#add`)
	b.enter(kb.Enter, `#ports`)
	for _, field := range [][2]string{{"#name", "web"}, {"#ports", "8443"}, {"#to", "192.168.1.40"}} {
		b.tabTo(field[0])
		b.keys(field[1])
	}
	b.tabTo(`button[value=save]`)
	b.enter(kb.Enter, `.done`)
	h.stands("udp 3074 -> 192.168.1.50:3074", "tcp 8443 -> 192.168.1.40:8443")
	b.tabTo(`form[action$="/switch"] button`)
	b.enter(" ", `tr.off`)
	h.stands("udp 3074 -> 192.168.1.50:3074")

	// The DMZ host, with the word that has to be typed.
	b.open(h.url + "/dmz")
	b.tabTo(`#to`)
	b.keys("192.168.1.40")
	b.tabTo(`button[value=check]`)
	b.enter(kb.Enter, `#confirm`)
	b.tabTo(`#confirm`)
	b.keys("192.168.1.40")
	b.tabTo(`button[value=save]`)
	b.enter(kb.Enter, `.banner`)
	b.tabTo(`form[action$="/off"] button`)
	b.enter(kb.Enter, `#dmz-off`)

	// A device has to ask, and is answered.
	b.open(h.url + "/devices/00:50:f2:12:34:56")
	b.tabTo(`[name=access]:checked`)
	for range 4 {
		if b.true(`document.querySelector("#ask").checked`) {
			break
		}
		b.keys(kb.ArrowDown)
	}
	b.tabTo(`#may button[type=submit]`)
	b.enter(kb.Enter, `.done`)
	another := lease.Request{
		Mapping: lease.Mapping{Protocol: lease.UDP, External: netip.AddrPortFrom(netip.Addr{}, 5000), Internal: netip.AddrPortFrom(console, 5000)},
		Origin:  lease.OriginUPnP, Client: console, Lifetime: time.Hour,
	}
	if _, err := h.manager.Open(t.Context(), another); err == nil {
		t.Fatal("a device that has to ask has got a port at once")
	}
	b.open(h.url + "/requests")
	b.tabTo(`#requests button[value=allow]`)
	b.enter(kb.Enter, `.done`)
	_, err := h.manager.Open(t.Context(), another)
	must(t, err)
	h.stands("udp 3074 -> 192.168.1.50:3074", "udp 5000 -> 192.168.1.50:5000")

	// Help that is folded is unfolded.
	b.open(h.url + "/policy?client=192.168.1.50&port=4000")
	b.tabTo(`#answers summary`)
	b.keys(kb.Enter)
	b.wait(`#answers details[open] .trace`)
}
