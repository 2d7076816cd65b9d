package coexist_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portreeve/portreeve/test/lab"
)

// ufw is Debian's, with a root folder of its own so that the configuration of the machine is neither used nor changed.
type ufw struct{ root string }

// masquerade is what the manual page ufw-framework(8) tells an owner to add to before.rules, and the flush that many add
// because ufw does not empty the table on a reload.
const masquerade = `*nat
:POSTROUTING ACCEPT [0:0]
-F POSTROUTING
-A POSTROUTING -o wan0 -j MASQUERADE
COMMIT
`

func (u *ufw) install(t *testing.T, router *lab.Host) {
	t.Helper()
	u.root = t.TempDir()
	for from, to := range map[string]string{
		"/lib/ufw": "lib/ufw", "/usr/share/ufw": "etc/ufw", "/usr/share/ufw/iptables": "etc/ufw",
	} {
		u.copyFiles(t, from, to)
	}
	u.edit(t, "/etc/ufw/before.rules", func(rules string) string { return masquerade + rules })
	defaults, err := os.ReadFile("/etc/default/ufw")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(u.root, "etc/default"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(u.root, "etc/default/ufw"), defaults, 0o600); err != nil {
		t.Fatal(err)
	}
	u.ask(t, router, "--force", "enable")
	u.ask(t, router, "allow", "in", "on", "br-lan")
	u.ask(t, router, "route", "allow", "in", "on", "br-lan", "out", "on", "wan0")
	u.reload(t, router) // after which its rules are not quite what they were when it was enabled
}

func (u *ufw) copyFiles(t *testing.T, from, to string) {
	t.Helper()
	to = filepath.Join(u.root, to)
	if err := os.MkdirAll(filepath.Join(to, "applications.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !f.Type().IsRegular() {
			continue
		}
		text, err := os.ReadFile(filepath.Join(from, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		info, err := f.Info()
		if err != nil {
			t.Fatal(err)
		}
		const executable fs.FileMode = 0o111
		if err := os.WriteFile(filepath.Join(to, f.Name()), text, 0o600|info.Mode()&executable); err != nil {
			t.Fatal(err)
		}
	}
}

func (u *ufw) edit(t *testing.T, file string, change func(string) string) {
	t.Helper()
	path := filepath.Join(u.root, file)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(change(string(text))), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (u *ufw) reload(t *testing.T, router *lab.Host) {
	t.Helper()
	u.ask(t, router, "reload")
	if status := u.ask(t, router, "status", "verbose"); !strings.Contains(status, "Status: active") || !strings.Contains(status, "deny (routed)") {
		t.Fatalf("ufw does not deny:\n%s", status)
	}
}

func (u *ufw) ask(t *testing.T, router *lab.Host, args ...string) string {
	t.Helper()
	return router.Run(t, "ufw", append([]string{"--rootdir=" + u.root, "--datadir=" + u.root}, args...)...)
}

func TestUfw(t *testing.T) {
	t.Parallel()
	tell(t, on(func() framework { return &ufw{} }), story{"iptables", 0, false}, story{"nftables", 0, true})
}
