package iptables

import (
	"context"
	"errors"
	"fmt"
)

// candidate is an installed variant and what it holds.
type candidate struct {
	program
	rules  int   // of others, user-defined chains included
	ours   bool  // it has chains of ours
	unread bool  // this user cannot find out what it holds
	err    error // it does not work on this kernel

	masquerades bool // somebody translates the sender of packets in it
}

// candidates finds the installed variants, first the one that "iptables" means.
func candidates(ctx context.Context) ([]candidate, error) {
	var found []candidate
	var errs []error
	for _, name := range []string{"iptables", "iptables-nft", "iptables-legacy"} {
		p, err := find(ctx, name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		known := false
		for _, c := range found {
			known = known || c.variant == p.variant
		}
		if !known {
			found = append(found, inspect(ctx, p))
		}
	}
	if len(found) == 0 {
		return nil, errs[0]
	}
	return found, nil
}

// inspect finds out what a variant holds.
func inspect(ctx context.Context, p program) candidate {
	c := candidate{program: p}
	if p.variant == variantLegacy && !legacyListed(ipv4) && !legacyLoaded(ipv4) {
		c.unread = true
		return c
	}
	tables, err := p.saved(ctx)
	c.err = err
	c.masquerades = tables["nat"].translatesSender()
	for _, t := range tables {
		for _, name := range t.names {
			ch := t.chains[name]
			switch {
			case isOurs(name):
				c.ours = true
				continue
			case ch.policy != "ACCEPT":
				c.rules++ // a chain of somebody, or a policy that somebody has set
			}
			for _, r := range ch.rules {
				if !r.isJump() {
					c.rules++
				}
			}
		}
	}
	return c
}

// choose picks the variant that the router uses: the one that "iptables" means, unless only the other has rules. Rules
// in both are looked up one after the other by the kernel, but then none of them is a safe place to accept in.
func choose(found []candidate) (best candidate, why string, err error) {
	var working []candidate
	var errs []error
	for i, c := range found {
		switch {
		case c.err != nil:
			errs = append(errs, fmt.Errorf("%s: %w", c.name, c.err))
		case i == 0 || !c.unread:
			working = append(working, c)
		}
	}
	switch {
	case len(working) == 0:
		return candidate{}, "", errors.Join(errs...)
	case len(working) == 1 && len(errs) > 0:
		return working[0], fmt.Sprintf("only %s works on this kernel", working[0].name), nil
	case len(found) == 1:
		return working[0], fmt.Sprintf("%s is the only variant installed", working[0].name), nil
	case len(working) == 1:
		return working[0], fmt.Sprintf("%s is the default; what the other variant holds cannot be read without root", working[0].name), nil
	}
	first, second := working[0], working[1]
	switch {
	case first.rules == 0 && second.rules > 0:
		return second, fmt.Sprintf("there are rules in %s and none in %s", second.name, first.name), nil
	case first.rules > 0 && second.rules > 0:
		return first, fmt.Sprintf("%s is the default; there are rules in %s too", first.name, second.name), nil
	case first.rules > 0:
		return first, fmt.Sprintf("%s is the default and has rules", first.name), nil
	default:
		return first, fmt.Sprintf("%s is the default; no variant has rules", first.name), nil
	}
}
