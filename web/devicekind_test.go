package web

import (
	"strings"
	"testing"

	"github.com/portreeve/portreeve/docs"
)

func TestKindsOfDevices(t *testing.T) {
	for _, tt := range []struct{ icon, name, agent, vendor, want string }{
		{"", "XBOX-1", "", "", "console"},
		{"", "", "Xbox/2.0.17559.0 UPnP/1.0 Xbox/2.0.17559.0", "Microsoft Corporation", "console"},
		{"", "PS5-123", "", "", "console"},
		{"", "", "", "Sony Interactive Entertainment Inc.", "console"},
		{"", "", "", "Nintendo Co.,Ltd", "console"},
		{"", "annas-iphone", "", "Apple, Inc.", "phone"},
		{"", "DiskStation", "", "Synology Incorporated", "nas"},
		{"", "", "", "Hangzhou Hikvision Digital Technology Co.,Ltd.", "camera"},
		{"", "front-door-cam", "", "", "camera"},
		{"", "cameron-laptop", "", "", "pc"},
		{"", "", "Transmission/3.00 libminiupnpc", "", "pc"},
		{"", "esp-3c61", "", "Espressif Inc.", "iot"},
		{"", "espresso", "", "", ""},
		{"", "living-room-tv", "", "", "tv"},
		{"", "tvheadend", "", "", ""},
		{"", "BRW1234", "", "Brother industries, LTD.", "printer"},
		{"", "pc", "Xbox", "", "pc"},
		{"nas", "xbox", "Xbox", "Microsoft", "nas"},
		{"submarine", "xbox", "Xbox", "Microsoft", ""},
		{"", "", "", "", ""},
		{"", strings.Repeat("x", 10000) + " xbox", "", "", ""},
	} {
		if got := deviceKind(tt.icon, tt.name, tt.agent, tt.vendor); got != tt.want {
			t.Errorf("%+v is %q", tt, got)
		}
	}
}

// Each kind has a picture, and its words begin with its own name or what people call it in no other kind.
func TestKindsAreWhole(t *testing.T) {
	picture, err := files.ReadFile("template/devicekind.html")
	if err != nil {
		t.Fatal(err)
	}
	if want := `kind: { type: string, enum: ["", ` + strings.Join(deviceKinds(), ", ") + "]"; !strings.Contains(string(docs.OpenAPI()), want) {
		t.Errorf("the description of the API has not %s", want)
	}
	words := map[string]string{}
	for _, kind := range deviceKinds() {
		if !strings.Contains(string(picture), `"`+kind+`"`) {
			t.Errorf("no picture of %q", kind)
		}
	}
	for _, k := range kindWords() {
		for _, w := range k.words {
			if other := words[w]; other != "" {
				t.Errorf("%q is both %s and %s", w, other, k.kind)
			}
			words[w] = k.kind
		}
	}
}
