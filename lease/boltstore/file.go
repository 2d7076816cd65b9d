package boltstore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// file is an open bbolt file that this process has made.
type file struct {
	path     string
	db       *bbolt.DB
	os       *os.File // the one that bbolt works on
	pageSize int64
	left     mark // what it was like after our last write
	broken   bool // a transaction failed and left its traces: only a new file helps
	panicked bool // bbolt's locks are in an unknown state and it must not be called again
}

// mark tells a file apart from what anyone else may have made of it. bbolt writes one of its two meta pages with
// each transaction, so they change whenever anything does.
type mark struct {
	size int64
	meta [2][metaSize]byte
}

// build makes a file with the content at path, in place of whatever is there, and opens it. It is complete and on
// disk before it gets its name: nobody ever finds half of it. If why is not empty, what was at path gets a name that
// says so, which is returned.
func build(path string, c content, why string) (f *file, aside string, err error) {
	temporary := path + ".new"
	// Only one that crashed can have left it: we hold the lock on path, or have just lost it.
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, "", explain(err)
	}
	f = &file{path: path}
	if err = f.create(temporary, c); err == nil && why != "" {
		aside, err = keep(path, why)
	}
	if err == nil {
		err = f.publish(temporary)
	}
	if err != nil {
		f.close()
		_ = os.Remove(temporary) // the error that matters is the first one
		return nil, "", explain(err)
	}
	return f, aside, nil
}

func (f *file) create(name string, c content) error {
	return guard(func() (err error) {
		f.db, err = bbolt.Open(name, 0o600, &bbolt.Options{
			FreelistType:   bbolt.FreelistMapType,
			NoFreelistSync: true, // no process opens a file of another one, so nobody reads the list
			NoStatistics:   true,
			NoSync:         true, // see update
			OpenFile: func(name string, flag int, mode os.FileMode) (file *os.File, err error) {
				f.os, err = os.OpenFile(name, flag|os.O_EXCL, mode)
				return f.os, err
			},
		})
		if err != nil {
			return err
		}
		f.pageSize = int64(f.db.Info().PageSize)
		if err := f.db.Update(func(tx *bbolt.Tx) error { return fill(tx, c) }); err != nil {
			return err
		}
		return f.os.Sync()
	})
}

// fill writes all content into a new file.
func fill(tx *bbolt.Tx, c content) error {
	for _, name := range buckets() {
		b, err := tx.CreateBucket([]byte(name))
		if err != nil {
			return fmt.Errorf("bucket %s: %w", name, err)
		}
		for key, row := range c[name] {
			if err := b.Put([]byte(key), row); err != nil {
				return fmt.Errorf("bucket %s: %w", name, err)
			}
		}
	}
	return sign(tx)
}

// sign leaves the number of the transaction in it.
func sign(tx *bbolt.Tx) error {
	b := tx.Bucket([]byte(bucketMeta))
	if b == nil {
		return fmt.Errorf("bucket %s is gone", bucketMeta)
	}
	return b.Put([]byte(transactionKey), transactionRow(uint64(tx.ID())))
}

// publish gives the finished file its name. The lock that bbolt holds on it goes with it.
func (f *file) publish(temporary string) error {
	if err := os.Rename(temporary, f.path); err != nil {
		return err
	}
	if err := syncFolder(filepath.Dir(f.path)); err != nil {
		return err
	}
	var err error
	f.left, err = f.look()
	return err
}

// update makes the edits in one durable transaction, wholly or not at all. After an error the file is broken, or
// it is as before and can be tried again.
//
// It waits for the disk once. bbolt would do so twice, first for the pages and then for the meta page that makes them
// count, so that a meta page on disk always leads to pages that are there too. Here the disk may write them in any order:
// if the power fails meanwhile, the digest in the content shows that something is missing, and what counts is the state of
// the transaction before, none of whose pages this one touches.
func (f *file) update(edits []edit) error {
	var mapped int64
	err := guard(func() error {
		return f.db.Update(func(tx *bbolt.Tx) error {
			mapped = tx.Size()
			return write(tx, edits)
		})
	})
	if err == nil {
		if err = unix.Fdatasync(int(f.os.Fd())); err != nil {
			f.broken = true
			return explain(fmt.Errorf("wait for the disk: %w", err))
		}
		f.shed(mapped)
		f.left, err = f.look()
		f.broken = err != nil
		return explain(err)
	}
	f.panicked = errors.As(err, new(panicError))
	f.broken = f.panicked || !f.unchanged()
	return explain(err)
}

// shed takes the pages out of our memory that bbolt has read in so many bytes of its mapping. They would count as ours, and
// be the last that the kernel takes away; now they are a cache like that of any file. More bytes than are mapped must not
// be given: what lies behind could be anything.
func (f *file) shed(mapped int64) {
	// It is advice. If it is not taken, nothing is lost but memory.
	_, _, _ = unix.Syscall(unix.SYS_MADVISE, f.db.Info().Data, uintptr(mapped), unix.MADV_DONTNEED)
}

func write(tx *bbolt.Tx, edits []edit) error {
	for _, e := range edits {
		b := tx.Bucket([]byte(e.bucket))
		if b == nil {
			return fmt.Errorf("bucket %s is gone", e.bucket)
		}
		var err error
		if e.row == nil {
			err = b.Delete([]byte(e.key))
		} else {
			err = b.Put([]byte(e.key), e.row)
		}
		if err != nil {
			return fmt.Errorf("bucket %s: %w", e.bucket, err)
		}
	}
	return sign(tx)
}

// unchanged tells whether bbolt still works and the last transaction has left no trace in the file.
func (f *file) unchanged() bool {
	err := guard(func() error { return f.db.View(func(*bbolt.Tx) error { return nil }) })
	if err != nil {
		return false // the file could not be mapped into memory again, for which bbolt has no remedy
	}
	now, err := f.look()
	return err == nil && now == f.left
}

// The ways in which the file of a running portreeve changes without its doing.
type interference uint8

const (
	untouched interference = iota
	removed                // there is nothing under its name
	replaced               // there is another file under its name, or other content in it
)

func (f *file) interference() interference {
	named, err := os.Stat(f.path)
	if err != nil {
		return removed
	}
	if own, err := f.os.Stat(); err != nil || !os.SameFile(named, own) {
		return replaced
	}
	if now, err := f.look(); err != nil || now != f.left {
		return replaced
	}
	return untouched
}

// look reads the mark that the file has now. It uses ordinary reads, which fail where a look into the mapping of a
// file that was cut short would be a fault.
func (f *file) look() (mark, error) {
	info, err := f.os.Stat()
	if err != nil {
		return mark{}, err
	}
	m := mark{size: info.Size()}
	for i := range m.meta {
		if _, err := f.os.ReadAt(m.meta[i][:], int64(i)*f.pageSize); err != nil {
			if errors.Is(err, io.EOF) {
				err = fmt.Errorf("%s was cut to %d bytes: %w", f.path, m.size, err)
			}
			return mark{}, err
		}
	}
	return m, nil
}

// close releases the file. All that was acknowledged is on disk already, so its errors lose nothing.
func (f *file) close() {
	if f == nil {
		return
	}
	if f.db != nil && !f.panicked {
		if err := guard(f.db.Close); err == nil {
			return
		}
	}
	// Closing would wait for locks that nobody releases. The mapping stays until the process ends, and with it the
	// open file: its lock has to be given up by name.
	if f.os != nil {
		_ = unix.Flock(int(f.os.Fd()), unix.LOCK_UN)
		_ = f.os.Close()
	}
}

// panicError is a panic of bbolt: a failed assertion, or a fault because the file is shorter than its mapping.
type panicError struct{ cause any }

func (e panicError) Error() string { return fmt.Sprintf("bbolt failed: %v", e.cause) }

// guard calls f and returns its panics, memory faults included, as errors.
func guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if cause := recover(); cause != nil {
			err = panicError{cause}
		}
	}()
	return f()
}

func syncFolder(name string) error {
	folder, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// keep gives the file at path a second name that says why, with the lowest number that is free, and returns it. Where
// there are no second names (FAT, a folder in place of the file) it is renamed.
func keep(path, why string) (string, error) {
	const limit = 1000
	for n := range limit {
		name := fmt.Sprintf("%s.%s-%d", path, why, n+1)
		if _, err := os.Lstat(name); err == nil {
			continue
		}
		if os.Link(path, name) == nil {
			return name, nil
		}
		return name, os.Rename(path, name)
	}
	return "", fmt.Errorf("there are %d files %s.%s-* already: look at them and delete what is of no use", limit, path, why)
}
