package boltstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Options adjusts [Open]. The zero value is good.
type Options struct {
	// Wait is how long Open waits for another process to release the file; 0 means not at all.
	Wait time.Duration

	// Logger gets what happens to the file; nil discards it.
	Logger *slog.Logger
}

// ErrLocked is what [Open] returns when another process, most likely another portreeve, has the file.
var ErrLocked = errors.New("in use by another process")

// Open opens the store at path, or makes it with mode 0600 if there is none; missing folders are made as well.
// Only one process can have it open.
//
// A file that cannot be used is not in the way: it gets another name, a new file takes its place, and the Notice of
// [Store.Load] tells its owner where the old one is and what to do. Its name ends with the reason and the lowest free
// number: damaged-1, unreadable-1 (permissions), newer-1 (written by a newer portreeve).
//
// A file that can be read but not written (disk full, mounted read-only) is loaded, with a Notice; each Commit then
// tries again. If nothing can be written and there is nothing to read either, that is an error, as is a path that
// leads to something other than a file. The error names the path and what to do.
//
// Cancelling ctx ends the waiting for the file; once Open has returned, ctx has no meaning for the store.
func Open(ctx context.Context, path string, o Options) (*Store, error) {
	s := &Store{log: o.Logger}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if err := s.open(ctx, path, o.Wait); err != nil {
		return nil, fmt.Errorf("store %s: %w", path, err)
	}
	return s, nil
}

func (s *Store) open(ctx context.Context, path string, wait time.Duration) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return explain(err)
	}
	// A link is followed: the file is replaced by renaming, which would replace the link.
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	s.path = path
	old, created, err := lock(ctx, path, wait)
	if err != nil {
		return explain(err)
	}
	s.content = newContent()
	var refused *refusal
	switch {
	case old == nil:
		refused = &refusal{why: "unreadable", reason: "portreeve may not read it"}
	case !created:
		refused = s.read(old)
	}
	err = s.replaceFile(refused)
	if err != nil && !created && refused == nil {
		// What was granted stays granted. Whoever asks for more is told that it cannot be stored.
		s.lock = old
		s.notice("The stored mappings were loaded, but %s cannot be written: %v. Until that works, new mappings are refused.", path, err)
		return nil
	}
	if err != nil && created {
		_ = os.Remove(path) // it is empty, and must not be taken for one that was emptied
	}
	if old != nil {
		_ = old.Close() // it was only read
	}
	return err
}

// replaceFile makes the file that the store works on, from its content.
func (s *Store) replaceFile(refused *refusal) error {
	why := ""
	if refused != nil {
		why = refused.why
	}
	state, err := s.metaEdit()
	if err != nil {
		return err
	}
	s.content.apply([]edit{state})
	f, kept, err := build(s.path, s.content, why)
	if err != nil {
		return err
	}
	s.file = f
	if refused != nil {
		s.epochLost = true
		s.notice("%s", refused.notice(s.path, kept))
	}
	return nil
}

// lock opens the file at path for reading and locks it. created tells that there was none. A nil file without an
// error means that there is one which portreeve may not open.
func lock(ctx context.Context, path string, wait time.Duration) (f *os.File, created bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		f, created, err := openOrCreate(path)
		if err != nil || f == nil {
			return nil, false, err
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil && isAt(f, path) {
			return f, created, nil
		}
		_ = f.Close() // nothing was written
		if err != nil && !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, false, fmt.Errorf("lock: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil, false, fmt.Errorf("%w: is another portreeve running? Stop it, or give this one another file", ErrLocked)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// isAt tells whether the open file is still the one at path: whoever had the lock before may have replaced it.
func isAt(f *os.File, path string) bool {
	named, errNamed := os.Stat(path)
	own, errOwn := f.Stat()
	return errNamed == nil && errOwn == nil && os.SameFile(named, own)
}

func openOrCreate(path string) (f *os.File, created bool, err error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if link, linkErr := os.Lstat(path); errors.Is(err, fs.ErrExist) && linkErr == nil && link.Mode()&fs.ModeSymlink != 0 {
			return nil, false, errors.New("it is a link that leads nowhere: correct or delete it")
		}
		return f, true, err
	}
	if err != nil {
		return nil, false, err
	}
	if !info.Mode().IsRegular() {
		return nil, false, fmt.Errorf("it is not a regular file (%s): give the name of a file", info.Mode())
	}
	f, err = os.Open(path)
	if errors.Is(err, fs.ErrPermission) {
		return nil, false, nil
	}
	return f, false, err
}

// refusal says why a file cannot be used.
type refusal struct {
	why    string // one word, for its new name
	reason string
	advice string // what to do besides
}

func (r *refusal) notice(path, kept string) string {
	text := fmt.Sprintf("The store %s cannot be used: %s. It was kept as %s. portreeve has started without the mappings, "+
		"the history and the password that were in it: devices ask for their ports again by themselves, and the password "+
		"has to be set anew.", path, r.reason, kept)
	if r.advice != "" {
		text += " " + r.advice
	}
	return text
}

// read takes over the content of a file, or says why it cannot.
func (s *Store) read(f *os.File) *refusal {
	damaged := func(err error) *refusal {
		return &refusal{why: "damaged", reason: err.Error(), advice: "If this happens again, check the disk."}
	}
	info, err := f.Stat()
	if err != nil {
		return damaged(err)
	}
	found, err := readImage(f, info.Size())
	if err != nil {
		return damaged(err)
	}
	c := found.content
	m, err := decodeMeta(c)
	switch {
	case errors.Is(err, errNewer):
		return &refusal{why: "newer", reason: err.Error(), advice: "To have it back, install that version, " +
			"stop portreeve, and give the kept file its old name again."}
	case errors.Is(err, errForeign):
		return damaged(err)
	case err != nil:
		s.lost(bucketMeta, 1, err)
	}
	s.content, s.digest, s.clock, s.epoch = c, c.digest(), m.Clock, m.Epoch
	for bucket, n := range m.Counts {
		if gone := n - len(c[bucket]); gone > 0 {
			s.lost(bucket, gone, errors.New("gone"))
		}
	}
	if found.unfinished {
		s.log.Warn("store: the power failed while a change was stored; nobody was told that it had succeeded", "path", s.path)
	}
	if found.torn {
		s.epochLost = true
		s.notice("A part of %s was damaged: the last change before portreeve ended may be missing.", s.path)
	}
	return nil
}
