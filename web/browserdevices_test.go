package web_test

import (
	"strings"
	"testing"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/web"
)

// deviceButtons blocks, closes, forgets and takes back, on the list and on the page of a device.
func deviceButtons(t *testing.T, c *chromium) {
	h := newHome(t, func(c *web.Config) {
		neighbours(c)
		c.DeviceName = func(lease.Lease) string { return "Xbox" }
	})
	h.open()
	const open, mac = "udp 3074 -> 192.168.1.50:3074", "00:50:f2:12:34:56"
	b := h.signedIn(t, c)
	set := func() lease.Device { return h.manager.Snapshot().Own.Devices[mac] }

	b.open(h.url + "/devices?all=1")
	if got := b.text(`tbody`); !strings.Contains(got, "Game console") || !strings.Contains(got, "guest") {
		t.Errorf("the list is %q, want what the device is, and the networks", got)
	}
	b.press(`tbody tr:has(a[href="/devices/`+mac+`"]) .action button`, `#undo`)
	h.stands()
	if got := b.text(`.done`); !strings.Contains(got, "Xbox may not open ports any more. Ports closed: 1.") {
		t.Errorf("the page says %q", got)
	}
	b.press(`#undo`, `.done:not(.undo)`)
	h.stands(open)
	b.wait(`table`) // it is the list still
	if set().Version != 0 {
		t.Errorf("it was taken back, and this is set: %+v", set())
	}

	// The same on its own page, where there is more.
	b.open(h.url + "/devices/" + mac)
	if got := b.text(`#works`); !strings.Contains(got, "UDP 3074 is open") {
		t.Errorf("whether it works: %q", got)
	}
	b.press(`#block`, `#undo`)
	h.stands()
	if got := b.text(`#works`); !strings.Contains(got, "may not open ports") {
		t.Errorf("whether it works: %q", got)
	}
	b.wait(`#letit`)
	b.press(`#undo`, `#closeall`)
	h.stands(open)
	b.press(`#closeall`, `#undo`)
	h.stands()
	b.press(`#undo`, `#closeall`)
	h.stands(open)

	// Limits of its own, with what is wrong with them.
	b.click(`#may summary`)
	b.eval(`document.querySelector("#icon").value = "tv"; document.querySelector("#protocols").value = "udp"`)
	b.fill(`#schedule`, "late")
	b.press(`#may button`, `#faults`)
	b.eval(`document.querySelector("#schedule").value = "00:00-12:00; Mon-Sun 12:00-24:00"`)
	b.click(`#low_ports`)
	b.press(`#may button`, `#undo`)
	if d := set(); d.Icon != "tv" || len(d.Protocols) != 1 || d.Protocols[0] != lease.UDP || len(d.Schedule) != 2 || !d.LowPorts {
		t.Errorf("this is set: %+v", d)
	}
	if got := b.text(`#device`); !strings.Contains(got, "Television") || strings.Contains(got, "guessed") {
		t.Errorf("its page says %q", got)
	}
	h.stands(open)
	b.press(`#forget`, `#undo`)
	if set().Version != 0 {
		t.Errorf("it was forgotten, and this is set: %+v", set())
	}
	b.press(`#undo`, `.done:not(.undo)`)
	if set().Icon != "tv" {
		t.Errorf("taken back, and this is set: %+v", set())
	}

	// What it means that a device makes up its address.
	b.open(h.url + "/devices/da:a1:19:00:00:01")
	b.click(`.random summary`)
	if got := b.text(`.random`); !strings.Contains(got, "Private Wi-Fi Address") {
		t.Errorf("of a made-up address the page says %q", got)
	}
}
