package lease

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// synchronize makes the kernel equal to the table after a batch, whatever it holds, and tells the owner if somebody
// else had changed it.
func (m *Manager) synchronize(ctx context.Context, t *tx) error {
	unknown := m.drift
	repaired, err := m.cfg.Firewall.Sync(ctx, Ruleset{Topology: m.topology, Leases: t.result(), NAT: m.nat()})
	m.drift, m.suspect = err != nil, false
	if err != nil {
		return m.trouble("firewall", fmt.Errorf("make the firewall rules: %w", err))
	}
	m.noteKernelEnds(t, true)
	if m.fight.over(m.Now()) {
		m.problem("rival", nil)
	}
	// What the batch adds was not there before, and a state that was unknown is no surprise.
	if repaired -= len(t.change().Add); repaired > 0 && !unknown {
		m.raised = append(m.raised, Event{
			Kind: EventRepaired, By: OriginRouter,
			Reason: fmt.Sprintf("repaired %d mappings after somebody else changed the firewall rules", repaired),
		})
		if m.fight.lost(m.Now()) > 0 {
			m.problem("rival", errRival)
		}
	}
	return m.trouble("firewall", nil)
}

var errRival = errors.New("another program keeps changing portreeve's firewall rules; they are mended with pauses, and ports may be shut meanwhile: find out which program it is, and let it keep chains that begin with PORTREEVE")

// fight tells a program that insists from one that reloads the firewall now and then. The first repairs are made at
// once; who undoes them again and again is answered more and more slowly.
type fight struct {
	rounds int
	last   time.Time
}

const (
	fightPatience = 10               // repairs in a row that are made at once
	fightMemory   = 10 * time.Second // how long a repair must hold to end the row
	fightPause    = 2 * time.Second  // the first pause; they double
	fightLongest  = 15 * time.Second
)

// lost notes that a repair was needed and returns the pause before the next one.
func (f *fight) lost(now time.Time) time.Duration {
	if f.over(now) {
		f.rounds = 0
	}
	f.rounds++
	f.last = now
	return f.pause()
}

func (f *fight) pause() time.Duration {
	if f.rounds < fightPatience {
		return 0
	}
	return min(fightPause<<min(f.rounds-fightPatience, 10), fightLongest)
}

// over tells whether the latest repair has held.
func (f *fight) over(now time.Time) bool { return now.Sub(f.last) > fightMemory+f.pause() }

// notBefore returns when the next repair may be made.
func (f *fight) notBefore(now time.Time) time.Time {
	if next := f.last.Add(f.pause()); next.After(now) {
		return next
	}
	return now
}
