package iptables

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// iptables-nft makes a built-in chain, and its table, when the first rule goes there, and never removes them. An empty
// chain that accepts means nothing, but an owner who compares his ruleset with that of yesterday would wonder. So what was
// not there before us is marked, by an empty chain of ours in the same table that outlives a crash, and goes with us.

// builtin is a built-in chain that we put a jump into, or with an empty chain its table.
type builtin struct{ table, chain string }

// builtins are all of them of a version of IP, each table behind its chains.
func builtins(v version) []builtin {
	all := []builtin{{"raw", "PREROUTING"}, {"raw", ""}, {"filter", "FORWARD"}, {"filter", "INPUT"}, {"filter", ""}}
	if v == ipv4 {
		all = append(all, builtin{"nat", "PREROUTING"}, builtin{"nat", "POSTROUTING"}, builtin{"nat", ""})
	}
	return all
}

// needs tells whether tables need a built-in chain, or something in a table.
func needs(tables []table, x builtin) bool {
	return slices.ContainsFunc(tables, func(t table) bool {
		in := func(j jump) bool { return j.from == x.chain }
		return t.name == x.table && len(t.chains) > 0 && (x.chain == "" || slices.ContainsFunc(t.jumps, in))
	})
}

// mark is the name of the chain that marks it as made by us.
func (b builtin) mark() string { return "PORTREEVE-MADE-" + cmp.Or(b.chain, "TABLE") }

// findMade adds to what is known to be made by us what the kernel has marked, and what is needed and not there yet, which
// iptables will make for us. Others may have removed the marks meanwhile, together with our rules; then our memory holds.
func (f *family) findMade(needed func(builtin) bool) error {
	if f.program.variant != variantNFT {
		return nil
	}
	there, _, err := readBuiltins(f.program.version)
	if err != nil {
		return fmt.Errorf("which built-in chains exist: %w", err)
	}
	for _, x := range builtins(f.program.version) {
		if !there[x] && needed(x) || there[builtin{x.table, x.mark()}] {
			f.made[x] = true
		}
	}
	return nil
}

// marks returns the marks that a table shall hold.
func (f *family) marks(table string) (marks []chain) {
	for _, x := range builtins(f.program.version) {
		if x.table == table && f.made[x] {
			marks = append(marks, chain{name: x.mark()})
		}
	}
	return marks
}

// removeMade removes what was made for us and is of no use to anybody: no rules, no chains, and all accepted.
func (f *family) removeMade() error {
	if len(f.made) == 0 {
		return nil
	}
	_, drops, err := readBuiltins(f.program.version)
	if err != nil {
		return fmt.Errorf("which built-in chains exist: %w", err)
	}
	var errs []error
	for _, x := range builtins(f.program.version) {
		if !f.made[x] || drops[x] {
			continue
		}
		err := x.removeUnused(f.program.version)
		if err != nil && !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("remove the empty chain %s of table %s: %w", x.chain, x.table, err))
		}
	}
	clear(f.made)
	return errors.Join(errs...)
}

// readBuiltins tells which tables and chains iptables-nft has for a version of IP, those of its users included, and which
// of the chains somebody has given another policy than to accept.
func readBuiltins(v version) (there, drops map[builtin]bool, err error) {
	c, err := nftables.New()
	if err != nil {
		return nil, nil, err
	}
	family := [versions]nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyIPv6}[v]
	tables, err := c.ListTablesOfFamily(family)
	if err != nil {
		return nil, nil, err
	}
	chains, err := c.ListChainsOfTableFamily(family)
	if err != nil {
		return nil, nil, err
	}
	there, drops = map[builtin]bool{}, map[builtin]bool{}
	for _, t := range tables {
		there[builtin{table: t.Name}] = true
	}
	for _, ch := range chains {
		x := builtin{ch.Table.Name, ch.Name}
		there[x] = true
		drops[x] = ch.Policy != nil && *ch.Policy != nftables.ChainPolicyAccept
	}
	return there, drops, nil
}

// removeUnused removes a chain, or a table, if nothing is in it: else the kernel answers EBUSY. The library that we use
// elsewhere cannot say the condition, and a rule that somebody adds at this moment must not go with the chain.
func (b builtin) removeUnused(v version) (err error) {
	attributes := netlink.NewAttributeEncoder()
	kind := unix.NFT_MSG_DELTABLE
	attributes.String(unix.NFTA_CHAIN_TABLE, b.table) // of a table it is the same number
	if b.chain != "" {
		kind = unix.NFT_MSG_DELCHAIN
		attributes.String(unix.NFTA_CHAIN_NAME, b.chain)
	}
	data, err := attributes.Encode()
	if err != nil {
		return err
	}
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	const ifUnused = netlink.HeaderFlags(unix.NLM_F_NONREC)
	_, err = conn.SendMessages([]netlink.Message{
		nfnetlink(unix.NFNL_MSG_BATCH_BEGIN, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, nil),
		nfnetlink(unix.NFNL_SUBSYS_NFTABLES<<8|kind, netlink.Acknowledge|ifUnused, [versions]byte{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6}[v], 0, data),
		nfnetlink(unix.NFNL_MSG_BATCH_END, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, nil),
	})
	if err != nil {
		return err
	}
	_, err = conn.Receive()
	return err
}

// nfnetlink returns a message with its header (struct nfgenmsg of linux/netfilter/nfnetlink.h).
func nfnetlink(kind int, flags netlink.HeaderFlags, family byte, resource uint16, data []byte) netlink.Message {
	const version = 0
	return netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(kind), Flags: netlink.Request | flags},
		Data:   slices.Concat(binary.BigEndian.AppendUint16([]byte{family, version}, resource), data),
	}
}
