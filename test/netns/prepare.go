package netns

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// prepare furnishes the namespaces that this process was started in.
func prepare() error {
	mounts := []struct {
		what, target, kind string
		flags              uintptr
	}{
		{"keep mounts to ourselves", "/", "", unix.MS_REC | unix.MS_PRIVATE},
		{"show the processes of this namespace", "/proc", "proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
		{"an empty /run", "/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV},
	}
	for _, m := range mounts {
		if err := unix.Mount(m.kind, m.target, m.kind, m.flags, ""); err != nil {
			return fmt.Errorf("%s: mount %s: %w", m.what, m.target, err)
		}
	}
	return loopbackUp()
}

// loopbackUp brings up "lo", which is down in a new network namespace.
func loopbackUp() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("loopback: socket: %w", err)
	}
	defer unix.Close(s)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	lo.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("loopback: set up: %w", err)
	}
	return nil
}

// idMaps says who is who inside. Root keeps every user and group that exists
// here, so that programs may change to another user inside as they do outside.
// An ordinary user may map only himself: as root, whom the tests expect to be.
func idMaps() (uids, gids []syscall.SysProcIDMap, err error) {
	if os.Geteuid() != 0 {
		return []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
			[]syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}, nil
	}
	if uids, err = identity("/proc/self/uid_map"); err != nil {
		return nil, nil, err
	}
	if gids, err = identity("/proc/self/gid_map"); err != nil {
		return nil, nil, err
	}
	return uids, gids, nil
}

// identity maps every ID of the present user namespace to itself. The file has a
// line "first-inside first-outside count" for each range (user_namespaces(7)).
func identity(file string) ([]syscall.SysProcIDMap, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("netns: which IDs exist: %w", err)
	}
	var ids []syscall.SysProcIDMap
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			return nil, fmt.Errorf("netns: %s: cannot read %q", file, line)
		}
		first, err := strconv.Atoi(fields[0])
		if err != nil {
			return nil, fmt.Errorf("netns: %s: %w", file, err)
		}
		count, err := strconv.Atoi(fields[2])
		if err != nil {
			return nil, fmt.Errorf("netns: %s: %w", file, err)
		}
		ids = append(ids, syscall.SysProcIDMap{ContainerID: first, HostID: first, Size: count})
	}
	return ids, nil
}

// explain adds to err the settings of this machine that may be its cause.
func explain(err error) error {
	settings := []struct{ file, bad, fix string }{
		{"/proc/sys/user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=10000"},
		{"/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"},
		{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"},
	}
	var fixes []string
	for _, s := range settings {
		if value, readErr := os.ReadFile(s.file); readErr == nil && strings.TrimSpace(string(value)) == s.bad {
			fixes = append(fixes, s.fix)
		}
	}
	if len(fixes) == 0 {
		return fmt.Errorf("%w\nThese tests run in namespaces of their own and are never skipped. No sysctl of this machine forbids that: "+
			"if this is a container, it must be allowed to make namespaces and mount /proc (docker run --privileged), "+
			"and the kernel needs CONFIG_USER_NS, CONFIG_NET_NS and CONFIG_PID_NS", err)
	}
	return fmt.Errorf("%w\nThese tests run in namespaces of their own and are never skipped. This machine forbids that; as root:\n  %s",
		err, strings.Join(fixes, "\n  "))
}
