package web_test

import (
	"net/http"
	"os"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/web"
)

func TestLeasesInPages(t *testing.T) {
	h := newHome(t)
	for n := range 7 {
		h.open(port(uint16(4000 + n)))
	}
	c := h.cli()
	c.want(http.StatusOK, c.delete("/api/v1/leases/"+string(h.manager.Snapshot().Leases[2].ID)))
	var got []int
	for after, pages := uint64(0), 0; pages == 0 || after != 0; pages++ {
		path := "/api/v1/leases?limit=2"
		if after != 0 {
			path += "&after=" + strconv.FormatUint(after, 10)
		}
		list := decode[web.LeaseList](t, c.want(http.StatusOK, c.get(path)))
		for _, l := range list.Leases {
			got = append(got, int(l.ExternalPort))
		}
		if after = list.Next; pages > 5 {
			t.Fatal("the list does not end")
		}
	}
	if d := cmp.Diff([]int{4000, 4001, 4003, 4004, 4005, 4006}, got); d != "" {
		t.Errorf("ports (-want +got):\n%s", d)
	}
	if list := decode[web.LeaseList](t, c.want(http.StatusOK, c.get("/api/v1/leases"))); len(list.Leases) != 6 || list.Next != 0 {
		t.Errorf("without a limit: %d leases, next %d", len(list.Leases), list.Next)
	}
	if list := decode[web.LeaseList](t, c.want(http.StatusOK, c.get("/api/v1/leases?after=1000"))); len(list.Leases) != 0 {
		t.Errorf("after the last one: %d leases", len(list.Leases))
	}
	for _, query := range []string{"limit=0", "limit=x", "limit=10001", "after=0", "after=-1"} {
		c.refused(web.CodeInvalid, c.get("/api/v1/leases?"+query))
	}
}

func TestDryRunOfAClose(t *testing.T) {
	h := newHome(t)
	l := h.open()
	c := h.cli()
	c.want(http.StatusOK, c.delete("/api/v1/leases/"+string(l.ID)+"?dry_run=true"))
	c.refused(web.CodeInvalid, c.delete("/api/v1/leases/"+string(l.ID)+"?dry_run=maybe"))
	c.refused(web.CodeNoLease, c.delete("/api/v1/leases/aaaaaaaa?dry_run=true"))
	if n := len(h.manager.Snapshot().Leases); n != 1 {
		t.Errorf("%d leases, want that it is still open", n)
	}
}

func TestTheDocumentIsServed(t *testing.T) {
	h := newHome(t)
	want, err := os.ReadFile("../docs/openapi.yaml")
	must(t, err)
	for name, c := range map[string]*client{"lan": h.browser(), "local": h.cli()} {
		a := c.want(http.StatusOK, c.get("/api/openapi.yaml"))
		if string(a.body) != string(want) || a.Header.Get("Content-Type") != "application/yaml" {
			t.Errorf("%s: %d bytes of %s, want the file", name, len(a.body), a.Header.Get("Content-Type"))
		}
	}
}
