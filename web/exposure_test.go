package web_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/portreeve/portreeve/lease"
)

// A port of a game console is usual, the same of a camera is worth a look.
func TestExposureOfDevicesThatAreSeldomReached(t *testing.T) {
	h := newHome(t)
	h.open()
	b := h.owner()
	page := func() string { return string(b.want(http.StatusOK, b.get("/exposure")).body) }
	if got := page(); !strings.Contains(got, `<span class="state usual">`) || strings.Contains(got, "seldom meant") {
		t.Error("the port of a console is not usual")
	}
	_, err := h.manager.SetDevice(t.Context(), lease.Device{MAC: "00:50:f2:12:34:56", Icon: "camera"}, lease.DeviceOptions{By: lease.OriginWeb})
	must(t, err)
	if got := page(); !strings.Contains(got, `<span class="state look">`) || !strings.Contains(got, "“Camera”, which is seldom meant to be reached") {
		t.Error("the port of a camera is usual")
	}
}
