package web

import (
	"slices"
	"strings"

	"github.com/portreeve/portreeve/lease"
)

// deviceKinds are what devices can be, in the order in which the owner is asked. Each has a picture in
// template/devicekind.html and a word in the languages.
func deviceKinds() []string {
	return []string{"console", "pc", "phone", "tv", "nas", "camera", "printer", "speaker", "iot", "router"}
}

// deviceKind tells what a device is: as the owner says, else what it looks like by what it is called, by what its programs say of
// themselves, and by who has made it, in this order; "" when that says nothing. It is for people, who see at a glance which
// line is the television. Nothing is decided by it, so that it does not matter that a device may say anything.
func deviceKind(icon string, texts ...string) string {
	if icon != "" {
		if slices.Contains(deviceKinds(), icon) {
			return icon
		}
		return "" // of another program that uses the API
	}
	for _, text := range texts {
		if kind := guessKind(text); kind != "" {
			return kind
		}
	}
	return ""
}

// kindWords are beginnings of words by which kinds are told; those of up to three letters must be whole words. The first kind
// that has one counts.
func kindWords() []struct {
	kind  string
	words []string
} {
	return []struct {
		kind  string
		words []string
	}{
		{"console", []string{"xbox", "playstation", "ps3", "ps4", "ps5", "nintendo", "wii", "steamdeck", "sony interactive", "steam deck"}},
		{"camera", []string{"camera", "webcam", "ipcam", "cam", "doorbell", "hikvision", "dahua", "reolink", "axis communications", "arlo", "amcrest", "foscam", "wyze"}},
		{"printer", []string{"printer", "officejet", "laserjet", "deskjet", "brother", "epson", "seiko epson", "canon", "lexmark", "kyocera", "ricoh", "xerox"}},
		{"nas", []string{"nas", "synology", "diskstation", "qnap", "truenas", "freenas", "mycloud", "asustor", "server", "proxmox", "plex"}},
		{"tv", []string{"tv", "television", "bravia", "chromecast", "googlecast", "roku", "firetv", "shield", "kodi", "vizio", "webos"}},
		{"speaker", []string{"sonos", "speaker", "homepod", "bose", "denon", "soundbar"}},
		{"phone", []string{"iphone", "ipad", "android", "pixel", "galaxy", "oneplus", "phone", "tablet", "kindle"}},
		{"router", []string{"router", "openwrt", "fritz", "unifi", "ubiquiti", "mikrotik", "accesspoint", "repeater", "tp-link", "avm"}},
		{"iot", []string{
			"espressif", "esp", "esp32", "esp8266", "tuya", "shelly", "tasmota", "sonoff", "signify", "philips lighting", "hue", "ikea",
			"thermostat", "tado", "nest", "bulb", "plug", "vacuum", "roborock", "alexa", "echo",
		}},
		{"pc", []string{
			"pc", "desktop", "laptop", "notebook", "macbook", "imac", "thinkpad", "windows", "ubuntu", "debian", "fedora", "linux",
			"raspberry", "transmission", "qbittorrent", "utorrent", "bittorrent", "libtorrent", "deluge", "dell", "lenovo", "micro-star",
		}},
	}
}

func guessKind(text string) string {
	text = strings.ToLower(lease.CleanText(text, lease.MaxDescription))
	for _, k := range kindWords() {
		for _, w := range k.words {
			if hasWord(text, w) {
				return k.kind
			}
		}
	}
	return ""
}

// hasWord tells whether a text has a word that begins like this, or that is this one if it is short.
func hasWord(text, word string) bool {
	letter := func(at int) bool { return at >= 0 && at < len(text) && (text[at] >= 'a' && text[at] <= 'z') }
	for from := 0; ; {
		i := strings.Index(text[from:], word)
		if i < 0 {
			return false
		}
		begin, end := from+i, from+i+len(word)
		if !letter(begin-1) && (len(word) > 3 || !letter(end)) {
			return true
		}
		from = end
	}
}
