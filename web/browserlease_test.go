package web_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/web"
)

// inUse makes the leases of a home be in use, some more than others. The home is looked at when somebody asks.
func inUse(of **home) func(*web.Config) {
	index := func(id lease.ID) uint64 {
		for i, l := range (*of).manager.Snapshot().Leases {
			if l.ID == id {
				return uint64(i)
			}
		}
		return 0
	}
	return func(c *web.Config) {
		c.Use = func(id lease.ID) (web.Use, bool) {
			n := index(id)
			return web.Use{BytesIn: 70000 * n, BytesOut: 5000 * n, PacketsIn: 80 * n, PacketsOut: 20 * n, Connections: int(n), Active: n%2 == 1, Last: (*of).manager.Now().Add(-30 * time.Second)}, true
		}
		c.Minutes = func(id lease.ID) []web.Minute {
			n, all := index(id), make([]web.Minute, 60)
			for i := range all {
				if m := uint64(i); n > 0 {
					all[i] = web.Minute{BytesIn: (m*m + 5*n) % 17 * 1000 * n, BytesOut: m % 5 * 300 * n, Connections: int(n)}
				}
			}
			return all
		}
	}
}

// used is a home in which some leases are in use.
func used(t *testing.T) *home {
	t.Helper()
	var h *home
	h = newHome(t, inUse(&h), func(c *web.Config) {
		c.DeviceName = func(l lease.Lease) string {
			return map[string]string{"00:50:f2:12:34:56": "Xbox", "00:50:f2:65:43:21": "Xbox upstairs"}[l.Device]
		}
	})
	h.fillList()
	return h
}

func (h *home) holder(port uint16) (lease.Lease, bool) {
	for _, l := range h.manager.Snapshot().Leases {
		if l.External.Port() == port {
			return l, true
		}
	}
	return lease.Lease{}, false
}

func (h *home) isOpen(port uint16) bool { _, ok := h.holder(port); return ok }

// menuOf opens the menu of a row.
func (b *browser) menuOf(id lease.ID) {
	b.t.Helper()
	b.click("#lease-" + string(id) + " [data-menu]")
	b.wait("dialog[open]")
}

func leasesByHand(t *testing.T, c *chromium) {
	h := used(t)
	b := h.signedIn(t, c)
	b.wait(`#live:not([hidden])`)
	xbox, _ := h.holder(3074)
	row := "#lease-" + string(xbox.ID)
	for _, want := range []string{"Xbox", "Active", "in,", "59 min"} {
		b.eventually("the row says "+want, `document.querySelector("`+row+`").textContent.includes("`+want+`")`)
	}
	if got := evaluate[string](b, `document.querySelector("`+row+` svg").getAttribute("aria-label")`); !strings.HasPrefix(got, "Last hour: ") {
		t.Errorf("the picture says %q", got)
	}

	t.Run("close, and take it back", func(t *testing.T) {
		b.click(row + ` [data-close] button`)
		b.gone(row)
		b.wait(`#toast:not([hidden])`)
		if got := b.text(`#toast span`); got != "Closed UDP 3074 of Xbox." || h.isOpen(3074) {
			t.Errorf("the page says %q, open is %t", got, h.isOpen(3074))
		}
		b.click(`#toast button`)
		b.wait(row)
		if l, _ := h.holder(3074); l.ID != xbox.ID {
			t.Errorf("open is %+v", l)
		}
		b.wait(`#toast[hidden]`)
	})
	t.Run("a note, and another end", func(t *testing.T) {
		b.menuOf(xbox.ID)
		if got := b.text(`#menu-title`); got != "UDP 3074 of Xbox" {
			t.Errorf("the menu is of %q", got)
		}
		b.fill(`#lease-note`, "for Sunday")
		b.eval(`document.querySelector("#lease-left").value = "600"`)
		b.press(`dialog .amend button`, `.done`)
		b.eventually("the note is in the row", `document.querySelector("`+row+` .ownnote bdi").textContent === "for Sunday"`)
		l, _ := h.holder(3074)
		if left := l.Remaining(h.manager.Now()); l.Note != "for Sunday" || left > 10*time.Minute || left < 9*time.Minute {
			t.Errorf("note %q, %s left", l.Note, left)
		}
	})
	t.Run("close and forbid the port, and take it back", func(t *testing.T) {
		b.wait(`#live:not([hidden])`)
		b.menuOf(xbox.ID)
		b.press(`dialog form[action$="/forbid"] button`, `form.undo`)
		own := h.manager.Snapshot().Own.Rules
		if len(own) != 1 || !own[0].Deny || h.isOpen(3074) {
			t.Fatalf("rules %+v, open %t", own, h.isOpen(3074))
		}
		b.press(`form.undo button`, `p.done`)
		if n := len(h.manager.Snapshot().Own.Rules); n != 0 || !h.isOpen(3074) {
			t.Errorf("%d rules, open %t", n, h.isOpen(3074))
		}
	})
	t.Run("close and forbid the device, and take it back", func(t *testing.T) {
		b.wait(`#live:not([hidden])`)
		b.menuOf(xbox.ID)
		b.press(`dialog form[action$="/block"] button`, `form.undo`)
		if h.manager.Snapshot().Own.Devices[xbox.Device].Access != lease.AccessDeny || h.isOpen(3074) {
			t.Error("the device is not forbidden")
		}
		b.press(`form.undo button`, `p.done`)
		if d, set := h.manager.Snapshot().Own.Devices[xbox.Device]; set || !h.isOpen(3074) {
			t.Errorf("the device is %+v, open %t", d, h.isOpen(3074))
		}
	})
	t.Run("a selection", func(t *testing.T) {
		b.open(h.url + "/leases?q=port:51413")
		b.wait(`tbody tr`)
		b.click(`#leases tbody [name=id]`)
		b.click(`#chooseall`)
		b.eventually("it is counted", `document.querySelector("#chosen").textContent.includes("2")`)
		// What is chosen stays so when the page renews itself.
		h.open(port(4999))
		b.eventually("it is renewed", `document.querySelector("#count").textContent.includes("7")`)
		b.press(`#bulk [value=close]`, `form.undo`)
		if h.isOpen(51413) {
			t.Error("the selection is open")
		}
		b.press(`form.undo button`, `p.done`)
		if !h.isOpen(51413) {
			t.Error("the selection was not opened again")
		}
	})
	t.Run("filters and groups", func(t *testing.T) {
		b.open(h.url + "/leases?q=via:upnp+state:active&group=device")
		b.wait(`.group`)
		if !b.true(`[...document.querySelectorAll("tr[data-id]")].every(r => r.querySelector(".state").classList.contains("is-active"))`) {
			t.Error("a row is not active")
		}
		if got := evaluate[int](b, `document.querySelectorAll(".chips .chip").length`); got != 2 {
			t.Errorf("%d filters, want 2", got)
		}
		b.press(`.chips li:first-child a`, `.chips li:only-child`)
		if got := evaluate[string](b, `location.search`); got != "?group=device&q=state%3Aactive" {
			t.Errorf("the address is %s", got)
		}
	})
	t.Run("kept as forwards", func(t *testing.T) {
		b.open(h.url + "/leases?q=port:3074")
		b.wait(`tbody tr`)
		b.eval(`document.querySelector("#lease-` + string(xbox.ID) + ` [name=id]").click()`)
		b.press(`#bulk [value=pin]`, `tr[id^=rule-]`)
		rules := h.manager.Snapshot().Rules
		if len(rules) != 1 || rules[0].Target.Device != xbox.Device || rules[0].Ports.First != 3074 {
			t.Errorf("rules %v", rules)
		}
	})
}

func leasesWithoutScript(t *testing.T, c *chromium) {
	h := used(t)
	b := c.tab(t)
	call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	b.open(h.url)
	b.fill(`#code`, h.code())
	b.fill(`#password`, password)
	b.click(`button[type=submit]`)
	b.wait(`#verdict`)
	xbox, _ := h.holder(3074)
	b.open(h.url + "/leases?sort=port")
	b.click("#lease-" + string(xbox.ID) + " [data-close] button")
	b.wait(`form.undo`)
	if h.isOpen(3074) {
		t.Error("it is open")
	}
	b.click(`form.undo button`)
	b.wait(`p.done`)
	if !h.isOpen(3074) {
		t.Error("it was not opened again")
	}
	// The list is the one that it was before.
	b.wait(`#sort option[value=port][selected]`)
	b.click("#lease-" + string(xbox.ID) + " [data-menu]")
	b.wait(`#actions`)
	b.fill(`#lease-note`, "mine")
	b.click(`.amend button`)
	b.wait(`p.done`)
	if l, _ := h.holder(3074); l.Note != "mine" {
		t.Errorf("the note is %q", l.Note)
	}
	b.click("#lease-" + string(xbox.ID) + " [name=id]")
	b.click(`#bulk [value=close]`)
	b.wait(`form.undo`)
	if h.isOpen(3074) {
		t.Error("the selection is open")
	}
}

// A thousand rows cost what they weigh: those of a page stay below half a megabyte.
func TestRowsAreLight(t *testing.T) {
	h := newHome(t, func(c *web.Config) {
		c.Use = func(lease.ID) (web.Use, bool) { return web.Use{BytesIn: 1e9, Connections: 9, Active: true}, true }
		c.Minutes = func(lease.ID) []web.Minute {
			all := make([]web.Minute, 60)
			for i := range all {
				all[i] = web.Minute{BytesIn: uint64(i+1) * 1000, BytesOut: 7, Connections: 9}
			}
			return all
		}
	})
	for n := range uint16(300) {
		h.open(port(10000+n), func(r *lease.Request) {
			r.Client = netip.AddrFrom4([4]byte{192, 168, 1, byte(2 + n/100)})
			r.Internal = netip.AddrPortFrom(r.Client, 10000+n)
		})
	}
	b := h.owner()
	if size := len(b.want(200, b.get("/leases")).body); size > 1<<20 {
		t.Errorf("the page has %d bytes", size)
	} else {
		t.Logf("the page has %d bytes", size)
	}
}
