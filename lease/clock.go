package lease

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
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

// ReadClock reads the kernel's clocks.
func ReadClock() (Instant, error) {
	now := Instant{Time: time.Now()}
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return now, fmt.Errorf("read boot id: %w", err)
	}
	now.BootID = strings.TrimSpace(string(id))
	// The first field of /proc/uptime is CLOCK_BOOTTIME in hundredths of a second.
	uptime, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return now, fmt.Errorf("read uptime: %w", err)
	}
	first, _, _ := strings.Cut(string(uptime), " ")
	seconds, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return now, fmt.Errorf("read uptime: %w", err)
	}
	now.Boot = time.Duration(seconds * float64(time.Second))
	const timeError = 5 // TIME_ERROR of adjtimex(2): the clock is not synchronized
	state, err := syscall.Adjtimex(&syscall.Timex{})
	now.Synced = err == nil && state != timeError
	return now, nil
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
