package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestBackupOnTheCommandLine(t *testing.T) {
	r := newRouter(t)
	file := filepath.Join(t.TempDir(), "router.json")
	run := func(code int, want string, args ...string) {
		t.Helper()
		out, got := r.typed("", args...)
		if got != code || !strings.Contains(out, want) {
			t.Errorf("%q: exit code %d, want %d, with %q in:\n%s", args, got, code, want, out)
		}
	}
	run(0, "", "device", "set", nasMAC, "--name", "NAS", "--access", "deny")
	run(0, "", "backup", file)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("file: %v, %v; want one that nobody else may read", info, err)
	}
	run(0, `"format": "portreeve backup"`, "backup")
	run(0, "all is as in the backup already", "restore", file)
	run(0, "", "device", "forget", nasMAC)
	run(0, "would restore  device "+nasMAC, "restore", "--dry-run", file)
	run(0, "restored  device "+nasMAC, "restore", file)
	run(0, "deny", "device", "show", nasMAC)
	if err := os.WriteFile(file, []byte(`{"format":"something"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	run(exitUsage, "allowed is \"portreeve backup\"", "restore", file)
	if err := os.WriteFile(file, []byte("not JSON"), 0o600); err != nil {
		t.Fatal(err)
	}
	run(exitUsage, "it is not JSON", "restore", file)
	run(exitUsage, "no such file", "restore", file+".gone")
	if out, code := r.typed(`{"format":"portreeve backup","version":1,"devices":[]}`, "restore", "-"); code != 0 || !strings.Contains(out, "removed  device "+nasMAC) {
		t.Errorf("from standard input: %d\n%s", code, out)
	}
}
