package firewall

import (
	"context"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portreeve/portreeve/kernel"
)

// Rulesets is what the kernel tells about changes of nf_tables, whoever makes them: nft, iptables-nft, firewalld, or
// portreeve itself. (NFNLGRP_NFTABLES of linux/netfilter/nfnetlink.h.)
func Rulesets() kernel.Topic {
	const groupNftables = 7
	return kernel.Topic{Name: "firewall rules", Protocol: unix.NETLINK_NETFILTER, Groups: []uint{groupNftables}}
}

// The times of [Settle]. Together they bound how late a foreign change is noticed: a quarter of a second when nothing
// else happens.
const (
	settleFor  = 250 * time.Millisecond // a reload is many changes
	settleOwn  = time.Second            // after changes of our own
	settleMost = 10                     // times in a row that own changes put it off
	settleEach = 30 * time.Second       // without any hint
)

// Settle calls changed when rules may have been changed by somebody else, until ctx is cancelled. It waits a moment
// after a hint, because a reload consists of many changes. Hints that follow our own writes, which writes counts, are
// most likely about these: they wait until there are no more, but not for ever. Every half minute changed is called in
// any case.
func Settle(ctx context.Context, hints <-chan struct{}, writes func() uint64, changed func()) {
	regular := time.NewTicker(settleEach)
	defer regular.Stop()
	var due <-chan time.Time
	known, putOff := writes(), 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-hints:
			if due == nil {
				due = time.After(settleFor)
			}
			continue
		case <-due:
			if now := writes(); now != known && putOff < settleMost {
				known = now
				putOff++
				due = time.After(settleOwn)
				continue
			}
		case <-regular.C:
		}
		due, putOff = nil, 0
		changed()
	}
}
