package iptables

import (
	"errors"
	"slices"

	"github.com/portreeve/portreeve/firewall"
)

// Every half minute all rules are compared with what they shall be, which takes iptables-save and with it most of the time
// that a program has nothing else to do. So it is left out if nothing can have changed since a Sync that has found everything
// in order: the kernel counts the changes of nf_tables, and the tables of the legacy variant are read as they are, with a
// system call each.

// look is how the kernel's rules look from far. If two are the same nobody has changed a rule in between.
type look struct {
	generation uint32 // of nf_tables, where others may drop what the legacy variant accepts
	tables     uint64 // those of the legacy variant
}

// look looks. Where the kernel does not tell, nothing is known.
func (b *Backend) look() (l look, ok bool) {
	var err, more error
	l.generation, err = b.generations.now()
	if b.four.program.variant == variantLegacy {
		l.tables, more = b.legacy.hash(b.six != nil, [versions]bool{b.four.program.raw, b.six != nil && b.six.program.raw})
	}
	if err = errors.Join(err, more); err != nil {
		b.log.Debug("the kernel does not tell whether rules have changed", "err", err)
	}
	return l, err == nil
}

// calmSince remembers how everything looks if a Sync has not changed it.
func (b *Backend) calmSince(before look, sure bool) {
	if after, ok := b.look(); sure && ok && after == before {
		b.calm = &after
	}
}

// calmAfter makes a change of ours, of so many transactions, one that disturbs nothing. The legacy variant does not count them.
func (b *Backend) calmAfter(transactions int, change func() error) error {
	calm := b.calm
	b.calm = nil
	if calm == nil || b.four.program.variant == variantLegacy {
		return change()
	}
	before, sure := b.look()
	if err := change(); err != nil {
		return err
	}
	after, ok := b.look()
	if sure && ok && before == *calm && after.generation-before.generation == uint32(transactions) {
		b.calm = &after
	}
	return nil
}

// isCalm tells whether a Sync with the same leases would find everything in order. It also looks at what a Sync does besides
// rules.
func (b *Backend) isCalm() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state == nil || b.calm == nil || !slices.Equal(b.layout.helpers[ipv4], b.layout.nat.Helpers) {
		return false
	}
	if b.layout.nat.Masquerade {
		if forwards, err := firewall.IsForwarding(); err != nil || !forwards {
			return false
		}
	}
	now, ok := b.look()
	return ok && now == *b.calm
}
