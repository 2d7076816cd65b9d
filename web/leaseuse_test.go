package web_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/web"
)

// What the API tells of the use of leases is what its document says, for one and for all.
func TestUseInTheAPI(t *testing.T) {
	h := used(t)
	c := h.cli()
	list := decode[web.LeaseList](t, c.want(http.StatusOK, c.get("/api/v1/leases"))).Leases
	last := list[len(list)-1]
	if use := last.Traffic; use == nil || use.BytesIn != 350000 || use.Connections != 5 || use.LastSeconds == nil || *use.LastSeconds < 29 || last.State != web.LeaseActive {
		t.Errorf("%s, %+v", last.State, last.Traffic)
	}
	detail := decode[web.LeaseDetail](t, c.want(http.StatusOK, c.get("/api/v1/leases/"+string(last.ID))))
	if n := len(detail.Traffic.Minutes); n != 60 || detail.Traffic.Minutes[1] != (web.Minute{BytesIn: 45000, BytesOut: 1500, Connections: 5}) {
		t.Errorf("%d minutes: %+v", n, detail.Traffic.Minutes)
	}
}

// The list is exported as it is searched, or as it is chosen.
func TestExportOfASelection(t *testing.T) {
	h := used(t)
	b := h.owner()
	xbox, _ := h.holder(3074)
	other, _ := h.holder(9308)
	for path, want := range map[string]int{
		"/leases.json": 6, "/leases.json?q=port:51413": 2, "/leases.json?q=state:active": 3, "/leases.json?q=state:nothing": 0,
		"/leases.json?id=" + string(xbox.ID) + "&id=" + string(other.ID): 2, "/leases.json?q=port:3074&id=" + string(other.ID): 0,
	} {
		a := b.want(http.StatusOK, b.get(path))
		if list := decode[web.LeaseList](t, a); len(list.Leases) != want || !strings.Contains(a.Header.Get("Content-Disposition"), "leases.json") {
			t.Errorf("%s: %d leases, want %d", path, len(list.Leases), want)
		}
	}
	csv := string(b.want(http.StatusOK, b.get("/leases.csv?id="+string(xbox.ID))).body)
	if lines := strings.Split(strings.TrimSpace(csv), "\n"); len(lines) != 2 || !strings.Contains(lines[1], ",active,350000,25000") {
		t.Errorf("the table is %q", csv)
	}
}

// Forms refuse what makes no sense, and lead back to no other site.
func TestFormsOfLeases(t *testing.T) {
	h := used(t)
	b := h.owner()
	xbox, _ := h.holder(3074)
	path := "/leases/" + string(xbox.ID)
	for form, status := range map[string]int{
		"left=soon": http.StatusUnprocessableEntity, "left=0": http.StatusUnprocessableEntity, "note=" + strings.Repeat("x", 300): http.StatusUnprocessableEntity,
		"": http.StatusUnprocessableEntity, "note=fine&back=//evil.example/leases": http.StatusSeeOther, "note=fine&back=/settings": http.StatusSeeOther,
	} {
		a := b.form(path, form)
		if a.StatusCode != status && (status == http.StatusSeeOther || a.StatusCode != http.StatusBadRequest) {
			t.Errorf("%.40q: status %d, want %d", form, a.StatusCode, status)
		}
		if to := a.Header.Get("Location"); status == http.StatusSeeOther && to != "/leases?done=lease" {
			t.Errorf("%q leads to %q", form, to)
		}
	}
	if a := b.form("/leases/selection", "do=close"); a.StatusCode < 400 {
		t.Errorf("nothing is chosen, and the answer is %d", a.StatusCode)
	}
	if a := b.form("/leases/undo", "undo=AAAA"); a.StatusCode != http.StatusNotFound {
		t.Errorf("nothing can be taken back, and the answer is %d", a.StatusCode)
	}
	if a := b.form("/leases/nothing/block", ""); a.StatusCode != http.StatusNotFound {
		t.Errorf("there is no lease, and the answer is %d", a.StatusCode)
	}
	// What is back open by itself cannot be taken back, and says so.
	a := b.want(http.StatusSeeOther, b.form(path+"/close", ""))
	_, key, _ := strings.Cut(a.Header.Get("Location"), "undo=")
	h.open(func(r *lease.Request) { r.Client = xbox.Client })
	if a := b.form("/leases/undo", "undo="+key); a.StatusCode != http.StatusConflict {
		t.Errorf("somebody has the port, and the answer is %d", a.StatusCode)
	}
}
