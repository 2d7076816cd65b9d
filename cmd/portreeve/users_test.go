package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/portreeve/portreeve/web"
)

// typed runs a command that reads standard input.
func (r *router) typed(input string, args ...string) (stdout string, code int) {
	r.t.Helper()
	root := newRoot()
	var out bytes.Buffer
	root.SetArgs(append(args, "--socket", r.socket))
	root.SetIn(strings.NewReader(input))
	root.SetOut(&out)
	root.SetErr(&out)
	err := root.Execute()
	if err == nil {
		return out.String(), 0
	}
	if e, ok := errors.AsType[exit](err); ok {
		code = e.code
	}
	return out.String() + err.Error(), code
}

func TestAccountsOnTheCommandLine(t *testing.T) {
	r := newRouter(t)
	for _, step := range []struct {
		input string
		args  string
		code  int
		want  string
	}{
		{"a good password\n", "user add admin --role admin", 0, "added admin, admin"},
		{"short\n", "user add anna", exitFailure, "at least 10 characters"},
		{"", "user add anna", exitUsage, "no password was given"},
		{"a good password", "user add anna", 0, "added anna, viewer"},
		{"", "user role anna king", exitUsage, "allowed are viewer, operator, admin"},
		{"", "user role anna operator", 0, "anna: is operator"},
		{"another password\n", "user set-password anna", 0, "anna: password set"},
		{"", "user list", 0, "anna   operator"},
		{"", "user remove admin", exitFailure, "the only account that may set accounts"},
		{"", "user remove anna nobody", exitNotFound, "there is no such account"},
		{"", "session list", 0, "USER"},
		{"", "session end abc", exitNotFound, "there is no such session"},
		{"", "token create", exitUsage, "portreeve token create takes NAME"},
		{"", "token create grafana --area moon", exitUsage, "allowed are state, rules"},
		{"", "token revoke abc", exitNotFound, "there is no such token"},
		{"", "audit --limit 3", 0, "user.remove"},
		{"", "audit --limit 2000", exitUsage, "limit must be a number from 1 to 1000"},
	} {
		out, code := r.typed(step.input, strings.Fields(step.args)...)
		if code != step.code && (step.code != exitUsage || code != 0) || !strings.Contains(out, step.want) {
			t.Errorf("%s: exit code %d, want %d, with %q in:\n%s", step.args, code, step.code, step.want, out)
		}
	}
	out, _ := r.typed("", "token", "create", "grafana", "--for", "365d", "--area", "state", "-o", "json")
	var made web.NewToken
	if err := json.Unmarshal([]byte(out), &made); err != nil || !strings.HasPrefix(made.Secret, "portreeve_") || made.Token.ExpiresSeconds < 364*86400 {
		t.Fatalf("made %s, %v", out, err)
	}
	if out, _ := r.typed("", "token", "list"); !strings.Contains(out, "grafana  root  viewer  state") || strings.Contains(out, made.Secret) {
		t.Errorf("list:\n%s", out)
	}
	if out, code := r.typed("", "token", "revoke", made.Token.ID); code != 0 || out != "revoked grafana\n" {
		t.Errorf("revoke: %d %s", code, out)
	}
}
