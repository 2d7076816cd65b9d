package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// machineID returns what identifies this machine for ever: /etc/machine-id (machine-id(5)), or on systems without it
// a random one that is kept in the state directory. It is a secret: only what is derived from it may be told.
func machineID(stateDir string) ([16]byte, error) {
	if text, err := os.ReadFile("/etc/machine-id"); err == nil {
		if id, err := parseID(text); err == nil {
			return id, nil
		}
	}
	path := filepath.Join(stateDir, "machine-id")
	text, err := os.ReadFile(path)
	if err == nil {
		id, err := parseID(text)
		if err != nil {
			return id, fmt.Errorf("%s: %w: remove the file to get a new identity", path, err)
		}
		return id, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return [16]byte{}, fmt.Errorf("machine identity: %w", err)
	}
	var id [16]byte
	rand.Read(id[:]) // never fails
	if err := os.WriteFile(path, []byte(hex.EncodeToString(id[:])+"\n"), 0o600); err != nil {
		return id, fmt.Errorf("machine identity: %w", err)
	}
	return id, nil
}

func parseID(text []byte) (id [16]byte, err error) {
	raw, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(raw) != len(id) || [16]byte(raw) == [16]byte{} {
		return id, errors.New("not 32 hexadecimal digits")
	}
	return [16]byte(raw), nil
}

// product is how the UPnP servers name themselves: "OS/version UPnP/1.1 product/version" (UDA 1.1, section 1.2.2).
func product() string {
	var u unix.Utsname
	release := "unknown"
	if unix.Uname(&u) == nil {
		release, _, _ = strings.Cut(unix.ByteSliceToString(u.Release[:]), "-")
	}
	return fmt.Sprintf("Linux/%s UPnP/1.1 portreeve/%s", release, strings.TrimPrefix(version(), "v"))
}
