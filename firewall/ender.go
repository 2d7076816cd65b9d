package firewall

import (
	"errors"
	"log/slog"

	"github.com/portreeve/portreeve/lease"
)

// Ender brings the kernel's connections in line with a backend's mappings, and decides what it means for a call of
// [Backend] if that fails. It is not safe for concurrent use.
type Ender struct {
	end  func(Mappings) (int, error)
	log  *slog.Logger
	said bool // that the kernel cannot do it
}

// NewEnder returns an Ender that uses end, which is [Connections.End] except in tests.
func NewEnder(end func(Mappings) (int, error), log *slog.Logger) *Ender {
	return &Ender{end: end, log: log}
}

// Synced is for the end of Sync. A kernel that cannot end connections is logged once and is no error.
func (e *Ender) Synced(m Mappings) error {
	n, err := e.end(m)
	if errors.Is(err, errors.ErrUnsupported) {
		if !e.said {
			e.log.Warn("connections of a closed mapping will go on until they are idle", "err", err)
		}
		e.said = true
		return nil
	}
	if n > 0 {
		e.log.Debug("connections ended", "count", n)
	}
	return err
}

// Applied is for the end of Apply. It does nothing if the change can have made no difference to any connection. When
// the change closes nothing, a failure is logged and is no error.
func (e *Ender) Applied(m Mappings, change lease.Change) error {
	closes := len(change.Remove) > 0
	opensUDP := false
	for _, l := range change.Add {
		opensUDP = opensUDP || l.Protocol == lease.UDP
	}
	if !closes && !opensUDP {
		return nil
	}
	err := e.Synced(m)
	if err != nil && !closes {
		e.log.Warn("old connections may keep a new mapping from working until they are idle", "err", err)
		return nil
	}
	return err
}
