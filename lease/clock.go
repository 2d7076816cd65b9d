package lease

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// Instant is a reading of all the clocks that a router has. A lease's remaining time is saved together with
// one, because no single clock can be trusted over a reboot: the wall clock starts in 1970 on a machine without
// a battery and jumps by years when NTP answers, and the boot clock starts from zero.
type Instant struct {
	Time   time.Time     // wall clock, with the monotonic reading as long as it stays in memory
	BootID string        // random, another one after each boot; empty when unknown
	Boot   time.Duration // time since boot, suspended time included
	Synced bool          // the kernel says that the wall clock is synchronized (adjtimex)
}

// ReadClock reads the kernel's clocks. It is called for every commit.
func ReadClock() (Instant, error) {
	now := Instant{Time: time.Now()}
	var err error
	if now.BootID, err = readBootID(); err != nil {
		return now, fmt.Errorf("read boot id: %w", err)
	}
	if now.Boot, err = sinceBoot(); err != nil {
		return now, fmt.Errorf("read the time since boot: %w", err)
	}
	const timeError = 5 // TIME_ERROR of adjtimex(2): the clock is not synchronized
	state, err := syscall.Adjtimex(&syscall.Timex{})
	now.Synced = err == nil && state != timeError
	return now, nil
}

// readBootID does without package os, which would have the runtime watch the file: three system calls instead of nine.
func readBootID() (string, error) {
	fd, err := syscall.Open("/proc/sys/kernel/random/boot_id", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	var id [64]byte
	n, err := syscall.Read(fd, id[:])
	if err := errors.Join(err, syscall.Close(fd)); err != nil {
		return "", err
	}
	return strings.TrimSpace(string(id[:n])), nil
}

// sinceBoot reads CLOCK_BOOTTIME (clock_gettime(2)), which package time does not offer.
func sinceBoot() (time.Duration, error) {
	const clockBoottime = 7
	var t syscall.Timespec
	if _, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clockBoottime, uintptr(unsafe.Pointer(&t)), 0); errno != 0 {
		return 0, errno
	}
	return time.Duration(t.Nano()), nil
}

// Elapsed returns how much time has surely passed between two readings, never less than zero.
//
// Within one boot the boot clock tells exactly, whatever the wall clock did. After a reboot it is the time since
// that reboot, and the time that the machine was off is counted only if the wall clock was synchronized when the
// earlier reading was saved and has not gone backwards. So a lease may live a little longer because a router was
// off, but it can neither die of a clock that jumps forward nor live for ever by one that starts anew.
func Elapsed(saved, now Instant) time.Duration {
	if saved.BootID == now.BootID && saved.BootID != "" {
		return max(0, now.Boot-saved.Boot)
	}
	elapsed := now.Boot
	// Round(0) strips the monotonic reading: across boots only the wall clock is common to both.
	if wall := now.Time.Round(0).Sub(saved.Time.Round(0)); saved.Synced && now.Synced && wall > elapsed {
		elapsed = wall
	}
	return max(0, elapsed)
}
