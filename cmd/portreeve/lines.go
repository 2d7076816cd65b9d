package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/portreeve/portreeve/pcp"
)

// linesFile has in the state directory what clients of PCP were told of the addresses outside. A router that comes back
// from a power cut often has another one, and they are to know.
const linesFile = "outside.json"

// keptLine is a line in the file.
type keptLine struct {
	Addr  netip.Addr `json:"address"`
	Since int64      `json:"since_ms"` // by the age of the leases
}

// keptLines reads the file, and returns what writes it. A file that cannot be read is as good as none.
func keptLines(stateDir string, log *slog.Logger) (map[string]pcp.Line, func(map[string]pcp.Line)) {
	path := filepath.Join(stateDir, linesFile)
	lines := map[string]pcp.Line{}
	text, err := os.ReadFile(path)
	if err == nil {
		var kept map[string]keptLine
		err = json.Unmarshal(text, &kept)
		for wan, l := range kept {
			lines[wan] = pcp.Line{Addr: l.Addr, Since: time.Duration(max(0, l.Since)) * time.Millisecond}
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Warn("what clients of PCP were told of the address outside is lost", "file", path, "err", err)
	}
	return lines, func(lines map[string]pcp.Line) {
		if err := writeLines(path, lines); err != nil {
			log.Warn("what clients of PCP are told of the address outside cannot be kept", "file", path, "err", err)
		}
	}
}

// writeLines replaces the file as a whole.
func writeLines(path string, lines map[string]pcp.Line) error {
	kept := map[string]keptLine{}
	for wan, l := range lines {
		kept[wan] = keptLine{Addr: l.Addr, Since: l.Since.Milliseconds()}
	}
	text, err := json.Marshal(kept)
	if err != nil {
		return err
	}
	next := path + ".new"
	if err := writeSynced(next, text); err != nil {
		return err
	}
	return os.Rename(next, path)
}

func writeSynced(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Sync(), f.Close())
}
