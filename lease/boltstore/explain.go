package boltstore

import (
	"errors"
	"fmt"
	"syscall"
)

// explain adds to an error of the file system what its owner can do.
func explain(err error) error {
	advice := []struct {
		cause syscall.Errno
		text  string
	}{
		{syscall.ENOSPC, "the disk is full: free some space there"},
		{syscall.EDQUOT, "the disk quota is used up: free some space there"},
		{syscall.EROFS, "it is mounted read-only: remount it, or check the disk if the kernel did that by itself"},
		{syscall.EACCES, "let the user that portreeve runs as write to this folder"},
		{syscall.EPERM, "let the user that portreeve runs as write to this folder"},
		{syscall.EIO, "the disk does not work: check it"},
		{syscall.ENOTDIR, "a part of the path is not a folder: correct it"},
	}
	for _, a := range advice {
		if errors.Is(err, a.cause) {
			return fmt.Errorf("%w (%s)", err, a.text)
		}
	}
	return err
}
