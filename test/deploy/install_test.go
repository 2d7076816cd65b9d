package deploy_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// installation is a "make install" below a folder of its own.
type installation struct{ dir, prefix, binary string }

func newInstallation(t *testing.T, prefix string) installation {
	t.Helper()
	in := installation{dir: t.TempDir(), prefix: prefix, binary: filepath.Join(t.TempDir(), "portreeve")}
	write(t, in.binary, "#!/bin/sh\n")
	return in
}

func (in installation) make(t *testing.T, target string) {
	t.Helper()
	run(t, "make", "--no-print-directory", target, "DESTDIR="+in.dir, "PREFIX="+in.prefix, "BINARY="+in.binary)
}

// files are all files of the installation with their permissions.
func (in installation) files(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(in.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		found[strings.TrimPrefix(path, in.dir)] = fmt.Sprintf("%04o", info.Mode().Perm())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestInstall(t *testing.T) {
	tests := []struct{ prefix, systemd string }{
		{"/usr/local", "/usr/local/lib"},
		{"/usr", "/usr/lib"},
		{"/opt/portreeve", "/usr/local/lib"}, // systemd would not look below it
	}
	for _, tt := range tests {
		t.Run(tt.prefix, func(t *testing.T) {
			in := newInstallation(t, tt.prefix)
			in.make(t, "install")
			want := map[string]string{
				tt.prefix + "/bin/portreeve":                             "0755",
				tt.prefix + "/share/man/man8/portreeve.8":                "0644",
				tt.prefix + "/share/man/man5/portreeve.toml.5":           "0644",
				tt.systemd + "/systemd/system/portreeve.service":         "0644",
				tt.systemd + "/systemd/system/portreeve-cleanup.service": "0644",
				tt.systemd + "/sysusers.d/portreeve.conf":                "0644",
				tt.systemd + "/tmpfiles.d/portreeve.conf":                "0644",
				"/etc/portreeve/portreeve.toml":                          "0644",
			}
			if diff := cmp.Diff(want, in.files(t)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			for _, name := range unitNames() {
				unit := read(t, filepath.Join(in.dir, tt.systemd, "systemd/system", name))
				if !strings.Contains(unit, "\nExecStart="+tt.prefix+"/bin/portreeve ") {
					t.Errorf("%s does not start %s/bin/portreeve", name, tt.prefix)
				}
			}
			reference := read(t, filepath.Join(root, "config/reference.toml"))
			if diff := cmp.Diff(reference, read(t, filepath.Join(in.dir, "etc/portreeve/portreeve.toml"))); diff != "" {
				t.Errorf("configuration is not the reference (-want +got):\n%s", diff)
			}
		})
	}
}

func TestInstallAgainKeepsTheConfiguration(t *testing.T) {
	in := newInstallation(t, "/usr/local")
	in.make(t, "install")
	config := filepath.Join(in.dir, "etc/portreeve/portreeve.toml")
	const mine = "[web]\nport = 8352\n"
	write(t, config, mine)
	write(t, in.binary, "#!/bin/sh\n# the next version\n")
	in.make(t, "install")
	if got := read(t, config); got != mine {
		t.Errorf("configuration is now %q, want it as it was: %q", got, mine)
	}
	if got := read(t, filepath.Join(in.dir, "usr/local/bin/portreeve")); !strings.Contains(got, "next version") {
		t.Error("the program was not replaced")
	}
}

func TestUninstallLeavesNothingButTheConfiguration(t *testing.T) {
	in := newInstallation(t, "/usr/local")
	// Somebody else's files in the same folders.
	others := map[string]string{"/usr/local/bin/other": "0644", "/usr/local/lib/systemd/system/other.service": "0644"}
	for path := range others {
		path = filepath.Join(in.dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, path, "")
	}
	in.make(t, "install")
	in.make(t, "uninstall")
	others["/etc/portreeve/portreeve.toml"] = "0644"
	if diff := cmp.Diff(others, in.files(t)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	in.make(t, "uninstall") // once more is no error
}

// What systemd makes of the installed files is seen below the folder of the
// installation.
func TestUserAndLockAreMade(t *testing.T) {
	in := newInstallation(t, "/usr/local")
	in.make(t, "install")
	run(t, "systemd-sysusers", "--root="+in.dir)
	passwd := filepath.Join(in.dir, "etc/passwd")
	made := regexp.MustCompile(`(?m)^portreeve:[^:]*:\d+:\d+:[^:]*:/var/lib/portreeve:/usr/sbin/nologin$`)
	if users := read(t, passwd); !made.MatchString(users) {
		t.Fatalf("users are:\n%s\nwant portreeve, without a shell", users)
	}

	// That ID need not exist in this namespace.
	user := otherUser(t)
	write(t, passwd, fmt.Sprintf("root:x:0:0::/:/bin/sh\nportreeve:x:%d:%d::/:/bin/false\n", user.uid, user.gid))
	write(t, filepath.Join(in.dir, "etc/group"), fmt.Sprintf("root:x:0:\nportreeve:x:%d:\n", user.gid))
	lock := filepath.Join(in.dir, "run/xtables.lock")
	if err := os.MkdirAll(filepath.Dir(lock), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(lock, nil, 0o600); err != nil { // as iptables makes it
		t.Fatal(err)
	}
	run(t, "systemd-tmpfiles", "--root="+in.dir, "--create")
	info, err := os.Stat(lock)
	if err != nil {
		t.Fatal(err)
	}
	if group := info.Sys().(*syscall.Stat_t).Gid; info.Mode().Perm() != 0o640 || int(group) != user.gid {
		t.Errorf("lock is %v of group %d, want it readable by the daemon's group %d", info.Mode(), group, user.gid)
	}
}
