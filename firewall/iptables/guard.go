package iptables

import (
	"context"
	"fmt"
)

// guard writes changes of the rules of leases, provided that the chains around them stand: a mapping that was opened in
// chains that somebody has cut off would not work.
//
// The legacy variant reads and writes the whole table for each change, so having it look at a few more rules costs nothing.
// With nf_tables looking costs as much as the change, so it is done only if the kernel's generation of the ruleset tells
// that somebody else has written.
type guard struct {
	restorer    restorer
	generations generations

	// known is set while everything stood as it should at the generation intact.
	known  bool
	intact uint32
}

// write writes lines into some tables. It fails if the frame of these tables does not stand; then nothing is written, unless
// the error is errUnknown.
func (g *guard) write(ctx context.Context, lines []block, frame []table) error {
	if g.restorer.program.variant == variantLegacy {
		return g.restorer.write(ctx, guarded(frame, lines)...)
	}
	before, err := g.generations.now()
	if err != nil {
		return err
	}
	trusted := g.known && g.intact == before
	g.known = false
	blocks := guarded(frame, lines)
	if trusted {
		blocks = lines
	}
	if err := g.restorer.write(ctx, blocks...); err != nil {
		return err
	}
	after, err := g.generations.now()
	if err != nil {
		return fmt.Errorf("%w: %w", err, errUnknown)
	}
	alone := after-before == uint32(len(lines)) // each transaction with changes raises it by one
	if trusted && !alone {
		// Before our change or behind it, who knows. The rules of the leases may be where nothing leads to.
		if err := g.restorer.write(ctx, guarded(frame, nil)...); err != nil {
			return fmt.Errorf("%w: %w", err, errUnknown)
		}
	}
	g.known, g.intact = alone, after
	return nil
}

// guarded returns lines for some tables, in transactions that fail unless the tables stand.
func guarded(frame []table, lines []block) []block {
	var blocks []block
	for _, t := range frame {
		b := block{t.name, checkPlan(t)}
		for _, l := range lines {
			if l.table == t.name {
				b.lines = append(b.lines, l.lines...)
			}
		}
		blocks = append(blocks, b)
	}
	return blocks
}

// forget makes the next change look at everything.
func (g *guard) forget() { g.known = false }

// close ends what runs, until the next change.
func (g *guard) close() {
	g.forget()
	g.restorer.close()
	_ = g.generations.close() // whatever was asked has been answered
}
