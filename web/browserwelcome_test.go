package web_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/web"
)

// firstSteps goes from a setup code to a console that works, with a script and without, in either language.
func firstSteps(t *testing.T, c *chromium) {
	for _, tt := range []struct {
		name, language string
		script         bool
		width          int64
	}{{"with a script", "en", true, 1280}, {"without, on a telephone", "zh", false, 360}} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHome(t, visited)
			b := c.tab(t)
			b.size(tt.width, 800)
			b.language(tt.language)
			if !tt.script {
				call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
			}
			h.stepsToConsole(b)

			// The console was allowed at once, and so its port opens while the page is looked at.
			b.wait(`#opened .pulse`)
			h.open()
			if !tt.script {
				b.press(`noscript a`, `#opened .good`)
			}
			b.wait(`#opened .good`)
			if got := b.text(`#opened`); !strings.Contains(got, "UDP 3074") {
				t.Errorf("opened: %q", got)
			}
			// Whoever was not has to ask, and every page says so.
			_, err := h.manager.Open(t.Context(), lease.Request{
				Mapping: lease.Mapping{Protocol: lease.TCP, External: netip.AddrPortFrom(netip.Addr{}, 5000), Internal: netip.MustParseAddrPort("192.168.1.61:5000")},
				Origin:  lease.OriginUPnP, Client: netip.MustParseAddr("192.168.1.61"), Lifetime: time.Hour,
			})
			if !errors.Is(err, lease.ErrWaiting) {
				t.Errorf("a device that was not ticked: %v, want that it waits", err)
			}
			b.press(`.onward a.primary`, `#counters`)
			b.wait(`#waiting`)
			if got := b.text(`#holders`); !strings.Contains(got, "UDP 3074") {
				t.Errorf("devices: %q", got)
			}
			b.open(h.url + "/settings")
			b.press(`a[href="/welcome"]`, `#found-wan`)
		})
	}
}

// stepsToConsole gives a password, looks at what was found, lets new devices ask and the console not, and looks at the check.
func (h *home) stepsToConsole(b *browser) {
	b.t.Helper()
	b.open(h.url)
	b.fill(`#code`, h.code())
	b.fill(`#user`, "mother")
	b.fill(`#password`, password)
	b.press(`button.primary`, `#found-wan .good`)
	if got := b.text(`#found-wan`); !strings.Contains(got, "203.0.113.5") {
		b.t.Errorf("WAN: %q", got)
	}
	b.click(`details summary`)
	if got := b.text(`#lines`); !strings.Contains(got, "[wan]\ninterfaces = [\"wan\"]") || !strings.Contains(got, "[igd]\nenable = true") {
		b.t.Errorf("lines for the file: %q", got)
	}
	b.press(`.onward .primary`, `#who-ask`)
	if !b.true(`document.querySelector("#who-everyone").checked`) || b.true(`document.querySelector(".allowlist").checkVisibility()`) {
		b.t.Error("at first not everyone may")
	}
	b.click(`label[for="who-ask"]`)
	b.click(`label[for="allow-00:50:f2:12:34:56"]`)
	b.press(`.onward .primary`, `.findings .bad`)
	if !b.true(`document.querySelectorAll(".findings .good").length === 6 && document.querySelectorAll(".findings .warn").length === 1`) {
		b.t.Errorf("check: %q", b.text(`.findings`))
	}
	b.press(`.onward .primary`, `#heard li`)
}

// pauseByHand pauses new ports, with what is open and without, sees that on every page, and ends it.
func pauseByHand(t *testing.T, c *chromium) {
	h := newHome(t)
	h.open()
	b := h.signedIn(t, c)
	b.open(h.url)
	b.press(`button[name=minutes][value="10"]`, `.pausing`)
	if p := h.manager.Snapshot().Paused(); !p.On || len(h.manager.Snapshot().Leases) != 1 {
		t.Errorf("pause %+v, %d leases", p, len(h.manager.Snapshot().Leases))
	}
	b.open(h.url + "/forwards")
	b.eventually("the time that is left ticks", `document.querySelector(".pausing [data-left]").textContent < "9 min 59 s"`)
	_, err := h.manager.Open(t.Context(), lease.Request{
		Mapping: lease.Mapping{Protocol: lease.UDP, External: netip.AddrPortFrom(netip.Addr{}, 4000), Internal: netip.AddrPortFrom(console, 4000)},
		Origin:  lease.OriginUPnP, Client: console, Lifetime: time.Hour,
	})
	if !errors.Is(err, lease.ErrPaused) {
		t.Errorf("a new port gets %v", err)
	}
	b.press(`.pausing button`, `#pause:not([hidden])`)
	b.gone(`.pausing`)
	h.open(port(4000))

	b.click(`label[for="pause-close"]`)
	b.press(`button[name=minutes][value="0"]`, `.pausing`)
	if p := h.manager.Snapshot().Paused(); !p.On || !p.Until.IsZero() || len(h.manager.Snapshot().Leases) != 0 {
		t.Errorf("pause %+v, %d leases", p, len(h.manager.Snapshot().Leases))
	}
	b.press(`#verdict form button`, `#verdict.good`)
	if h.manager.Snapshot().Paused().On {
		t.Error("the pause goes on")
	}
}

// visited is a daemon that has heard some devices, knows who is at home, and has checked itself.
func visited(c *web.Config) {
	at := func(mac, addr string) web.Neighbour { return web.Neighbour{MAC: mac, Addr: netip.MustParseAddr(addr)} }
	c.Neighbours = func() []web.Neighbour {
		return []web.Neighbour{
			at("00:50:f2:12:34:56", "192.168.1.50"), at("bc:33:29:0a:1b:2c", "192.168.1.61"), at(nasMAC, "192.168.1.40"),
			at("62:11:22:33:44:55", "192.168.1.23"), at("44:61:32:0c:0d:0e", "192.168.1.87"),
		}
	}
	c.Heard = func() []web.HeardHost {
		return []web.HeardHost{
			{Address: console, MAC: "00:50:f2:12:34:56", Searches: 4, Calls: 11, AgoSeconds: 3},
			{Address: netip.MustParseAddr("192.168.1.40"), MAC: nasMAC, Requests: 2, AgoSeconds: 95},
		}
	}
	c.Check = func(context.Context) []web.Finding {
		return []web.Finding{
			{Subject: "firewall", OK: true, What: "nftables: the kernel has nf_tables, and this router's own rules are not iptables'"},
			{Subject: "forwarding", OK: true, What: "the kernel forwards packets"},
			{Subject: "rules", OK: true, What: "7 mappings are stored and in the kernel"},
			{Subject: "wan", OK: true, What: "wan has the public address 203.0.113.5. Ports that are opened here can be reached from the internet."},
			{Subject: "lan", OK: true, What: "lan 192.168.1.1/24"},
			{Subject: "port", OK: true, What: "tcp 49000 listens"},
			{Subject: "port", What: "udp 1900 does not listen", Do: "look at the log, and start portreeve again"},
			{Subject: "miniupnpd", OK: true, What: "there is a configuration of miniupnpd, /etc/config/upnpd, and portreeve does not use it", Do: "make sure that miniupnpd is not started, and set here again what you need of it"},
		}
	}
	c.ConfigFile = web.ConfigFile{Path: "/etc/portreeve/portreeve.toml"}
}

// blockAndUndo blocks a device from the first page, sees its port closed, and takes that back.
func blockAndUndo(t *testing.T, c *chromium) {
	h := newHome(t)
	h.open()
	b := h.signedIn(t, c)
	b.open(h.url)
	b.press(`.holder button`, `#undo`)
	if n := len(h.manager.Snapshot().Leases); n != 0 {
		t.Errorf("%d leases, want that the port is closed", n)
	}
	if got := b.text(`form.done`); !strings.Contains(got, " may not open ports any more. Ports closed: 1.") {
		t.Errorf("said: %q", got)
	}
	b.press(`#undo`, `p.done`)
	if got := b.text(`p.done`); got != "It is as it was before." {
		t.Errorf("said: %q", got)
	}
	b.wait(`.holder`)
	h.stands("udp 3074 -> 192.168.1.50:3074") // without being asked for again

	// Who was heard changes without the state, and is asked for anew.
	b.do(chromedp.WaitVisible(chromedp.CSS(`#heard`)))
	h.setFacts(func(f *web.Facts) { f.WANs[0].State = web.WANShared })
	b.open(h.url)
	b.wait(`#verdict.warn`)
	if got := b.text(`#consoles`); !strings.Contains(got, "Strict") || !b.true(`new Set([...document.querySelectorAll("#consoles dl > div")].map(e => e.className)).size === 1`) {
		t.Errorf("consoles: %q", got)
	}
}
