// Package deploy tests what is installed on a router besides the program: the
// systemd units, the make targets that install and remove, and the manual pages.
package deploy_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/portreeve/portreeve/test/netns"
)

func TestMain(m *testing.M) { netns.Main(m) }

// root is the top of the source tree, seen from here.
const root = "../.."

// run runs a command in the top folder of the source tree and returns all that it
// has printed; an error ends the test.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// setting is one line of a unit file.
type setting struct{ section, key, value string }

// unit is a unit file of the source tree, in the order of its lines.
type unit []setting

// readUnit reads a unit file (systemd.syntax(7)) without continued lines, of which
// ours have none.
func readUnit(t *testing.T, name string) unit {
	t.Helper()
	var u unit
	section := ""
	for line := range strings.Lines(read(t, filepath.Join(root, "deploy/systemd", name))) {
		line = strings.TrimSpace(line)
		switch key, value, ok := strings.Cut(line, "="); {
		case line == "" || line[0] == '#':
		case line[0] == '[':
			section = strings.Trim(line, "[]")
		case !ok || strings.HasSuffix(line, `\`):
			t.Fatalf("%s: cannot read the line %q", name, line)
		default:
			u = append(u, setting{section, key, value})
		}
	}
	return u
}

// one is the value of a setting that is there once.
func (u unit) one(t *testing.T, key string) string {
	t.Helper()
	values := u.all(key)
	if len(values) != 1 {
		t.Fatalf("%s is there %d times, want once", key, len(values))
	}
	return values[0]
}

func (u unit) all(key string) (values []string) {
	for _, s := range u {
		if s.key == key {
			values = append(values, s.value)
		}
	}
	return values
}

// identity is a user of this network namespace that is not the one who owns it, if there
// is another: an ordinary user who runs the tests has none but himself.
type identity struct{ uid, gid int }

func otherUser(t *testing.T) identity {
	t.Helper()
	fields := strings.Fields(read(t, "/proc/self/uid_map"))
	if len(fields) == 3 && fields[2] == "1" {
		return identity{}
	}
	return identity{uid: 65534, gid: 65534}
}

// allowed is the setpriv(1) command that runs a program as a user with the rights that
// a unit gives it, and no others.
func (u unit) allowed(t *testing.T, as identity) []string {
	t.Helper()
	caps := "-all"
	for name := range strings.FieldsSeq(u.one(t, "AmbientCapabilities")) {
		caps += ",+" + strings.ToLower(strings.TrimPrefix(name, "CAP_"))
	}
	command := []string{
		"setpriv", fmt.Sprintf("--reuid=%d", as.uid), fmt.Sprintf("--regid=%d", as.gid), "--clear-groups",
		"--inh-caps=" + caps, "--ambient-caps=" + caps, "--bounding-set=" + caps, "--no-new-privs",
	}
	if as.uid == 0 {
		// The only user there is owns the namespace; without this he had all rights in it.
		command = append(command, "--securebits=+noroot,+noroot_locked")
	}
	return slices.Clip(command)
}
