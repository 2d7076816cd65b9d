package iptables

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// version is a version of IP, each of which has programs and tables of its own.
type version int

const (
	ipv4     version = iota
	ipv6             // only while there are pinholes
	versions         // how many there are
)

// String returns "IPv4" or "IPv6".
func (v version) String() string { return [versions]string{"IPv4", "IPv6"}[v] }

// family looks after our tables of one version of IP.
type family struct {
	program program
	guard   guard
	made    map[builtin]bool // what iptables has made for us, see findMade
	helpers map[string]error // those that were asked for, by name, and why there is none
	wrote   func()           // is called before rules are changed
}

func newFamily(p program, wrote func()) *family {
	return &family{program: p, guard: guard{restorer: restorer{program: p}}, made: map[builtin]bool{}, helpers: map[string]error{}, wrote: wrote}
}

// sync makes the tables as wanted, and adds to lost the comments of leases that did not wholly stand. The frame is compared
// with what it was before: that it is to be another one breaks nothing. It is empty if that is unknown.
func (f *family) sync(ctx context.Context, y layout, leases byTree, frame []table, lost map[string]bool) error {
	f.guard.forget()
	tables := wanted(f.program.version, y, leases)
	if err := f.findMade(func(x builtin) bool { return needs(tables, x) }); err != nil {
		return err
	}
	marked := slices.Clone(tables)
	for i := range marked {
		marked[i].chains = append(slices.Clip(marked[i].chains), f.marks(marked[i].name)...)
	}
	before, err := f.remake(ctx, marked)
	if err != nil {
		return err
	}
	if len(frame) == 0 {
		frame = tables
	}
	broken(before, frame, tables, lost)
	return nil
}

// clean removes everything of ours, and ends what runs.
func (f *family) clean(ctx context.Context) error {
	f.guard.close()
	if err := f.findMade(func(builtin) bool { return false }); err != nil {
		return err
	}
	if err := f.clear(ctx); err != nil {
		return err
	}
	return f.removeMade()
}

// clear removes our chains and jumps.
func (f *family) clear(ctx context.Context) error {
	var none []table
	for _, name := range ourTables(f.program.version) {
		none = append(none, table{name: name})
	}
	_, err := f.remake(ctx, none)
	return err
}

// remake makes tables as wanted, in this order, and returns what they were before.
func (f *family) remake(ctx context.Context, wanted []table) (before map[string]*savedTable, err error) {
	whole := func(blocks []block) []block { return blocks }
	err = errTooLong
	// The second time it is planned anew: the first tables may stand already.
	for _, cut := range []func([]block) []block{whole, split} {
		if !errors.Is(err, errTooLong) {
			break
		}
		var have map[string]*savedTable
		if have, err = f.program.saved(ctx); err != nil {
			return nil, err
		}
		if before == nil {
			before = have
		}
		blocks := cut(plan(have, wanted))
		if slices.ContainsFunc(blocks, func(b block) bool { return len(b.lines) > 0 }) {
			f.wrote()
		}
		err = f.program.write(ctx, blocks...)
	}
	return before, err
}

// plan compares tables with what is wanted.
func plan(have map[string]*savedTable, wanted []table) []block {
	var blocks []block
	for _, want := range wanted {
		blocks = append(blocks, block{want.name, syncPlan(have[want.name], want)})
	}
	return blocks
}

// leftFor6 returns the family for IPv6 in a variant if there is anything of ours in it, nil if not. Where IPv6 is not used no
// program shall read its rules, which may load modules of the kernel.
func leftFor6(ctx context.Context, p program, wrote func()) (*family, error) {
	switch {
	case p.variant == variantNFT:
		there, _, err := readBuiltins(ipv6)
		if err != nil {
			return nil, fmt.Errorf("which chains of IPv6 exist: %w", err)
		}
		if !slices.ContainsFunc(slices.Collect(maps.Keys(there)), func(x builtin) bool { return isOurs(x.chain) }) {
			return nil, nil
		}
	case !legacyListed(ipv6) && !legacyLoaded(ipv6) && legacyLoaded(ipv4): // a kernel with modules, and without this one
		return nil, nil
	}
	six, err := p.forIPv6(ctx)
	if err != nil && p.variant == variantLegacy {
		return nil, nil // nobody can have written there
	}
	if err != nil {
		return nil, err
	}
	tables, err := six.saved(ctx)
	if err != nil {
		return nil, err
	}
	for name, t := range tables {
		if t.ours(name) != "" || slices.ContainsFunc(t.names, isOurs) {
			return newFamily(six, wrote), nil
		}
	}
	return nil, nil
}
