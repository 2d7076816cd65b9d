package iptables

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// lockFile is taken by all programs of the legacy variant before they change a table, since 2013.
const lockFile = "/run/xtables.lock"

// lockWatch tells when a program has had the lock. One that writes the tables without it is not noticed.
type lockWatch struct{ events *os.File }

// watchLock begins to watch. It fails while there is no lock, because nobody has changed a table since the machine began to run.
func watchLock() (lockWatch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return lockWatch{}, fmt.Errorf("watch %s: %w", lockFile, err)
	}
	const ended = unix.IN_CLOSE_WRITE | unix.IN_CLOSE_NOWRITE
	if _, err := unix.InotifyAddWatch(fd, lockFile, ended); err != nil {
		return lockWatch{}, errors.Join(fmt.Errorf("watch %s: %w", lockFile, err), unix.Close(fd))
	}
	return lockWatch{os.NewFile(uintptr(fd), lockFile)}, nil
}

// run calls had each time, until ctx is cancelled or the file is another one.
func (l lockWatch) run(ctx context.Context, had func()) {
	defer l.events.Close()
	defer context.AfterFunc(ctx, func() { _ = l.events.Close() })() // which ends the wait
	// Events of one file have no name. The last one of a file that was removed says that it is watched no more.
	buf := make([]byte, 16*unix.SizeofInotifyEvent)
	for {
		n, err := l.events.Read(buf)
		if err != nil || ctx.Err() != nil {
			return
		}
		had()
		for at := 0; at+unix.SizeofInotifyEvent <= n; at += unix.SizeofInotifyEvent {
			const maskAt = 4 // struct inotify_event
			if binary.NativeEndian.Uint32(buf[at+maskAt:])&unix.IN_IGNORED != 0 {
				return
			}
		}
	}
}
