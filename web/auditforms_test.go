package web_test

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/web"
)

// Forms are in the audit log in the same words as what the API does, and only when they have done something.
func TestAuditOfForms(t *testing.T) {
	h := newHome(t)
	l, b := h.open(), h.owner()
	const rule = "name=Web&protocol=tcp&ports=443&to=192.168.1.40&enabled=on&hairpin=on"

	b.want(http.StatusOK, b.form("/forwards", rule+"&do=check"))
	b.want(http.StatusBadRequest, b.form("/forwards", strings.Replace(rule, "443", "none", 1)+"&do=save"))
	b.want(http.StatusSeeOther, b.form("/forwards", rule+"&do=save"))
	id := string(h.manager.Snapshot().Rules[0].ID)
	b.want(http.StatusSeeOther, b.form("/forwards/"+id+"/switch", ""))
	b.want(http.StatusOK, b.form("/forwards/"+id+"/remove", ""))
	b.want(http.StatusSeeOther, b.form("/devices/00:50:f2:12:34:56", "access=allow&name=Xbox&ipv6=on"))
	b.want(http.StatusSeeOther, b.form("/settings/users", "name=anna&role=viewer&password=let+me+look+please"))
	b.want(http.StatusOK, b.form("/settings/tokens", "name=script&role=viewer&days=30"))
	b.want(http.StatusSeeOther, b.form("/policy/settings", "version=0&mappings=32"))
	b.want(http.StatusSeeOther, b.form("/leases/"+string(l.ID), "note=for+the+game"))
	b.want(http.StatusSeeOther, b.form("/leases/"+string(l.ID)+"/close", ""))

	list := decode[web.AuditList](t, b.want(http.StatusOK, b.get("/api/v1/audit")))
	left := regexp.MustCompile(`, [0-9hms]+ left`)
	var got []string
	for _, e := range slices.Backward(list.Entries[:len(list.Entries)-1]) { // the oldest is the setup
		got = append(got, fmt.Sprintf("%s %s: %q -> %q", e.Action, e.Target, left.ReplaceAllString(e.Before, ""), left.ReplaceAllString(e.After, "")))
	}
	token, _, _ := strings.Cut(strings.TrimPrefix(got[5], "token.create "), ":")
	want := []string{
		"rule.add " + id + `: "" -> "tcp 443 -> 192.168.1.40 port 443"`,
		"rule.change " + id + `: "tcp 443 -> 192.168.1.40 port 443" -> "tcp 443 -> 192.168.1.40 port 443, switched off"`,
		"rule.remove " + id + `: "tcp 443 -> 192.168.1.40 port 443, switched off" -> ""`,
		`device.set 00:50:f2:12:34:56: "" -> "Xbox may open ports"`,
		`user.add anna: "" -> "viewer, version 1"`,
		"token.create " + token + `: "" -> "script: viewer"`,
		`policy.change : "" -> "mappings 32"`,
		"lease.change " + string(l.ID) + `: "udp 3074 -> 192.168.1.50:3074" -> "udp 3074 -> 192.168.1.50:3074, note \"for the game\""`,
		"lease.close " + string(l.ID) + `: "udp 3074 -> 192.168.1.50:3074" -> ""`,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("audit log (-want +got):\n%s", d)
	}
}
