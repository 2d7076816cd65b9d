package passage

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
)

// gate is a chain of somebody else that forwarded packets pass, as one kind of connections finds it.
type gate struct {
	kind    Kind
	chain   *nftables.Chain
	flags   uint32           // of its table
	mayDrop bool             // connections of the kind that are wanted
	ours    []*nftables.Rule // rules of ours for the kind
	placed  bool             // there is one of them, as it should be, where it belongs
	before  *nftables.Rule   // in front of which it belongs; nil: at the end
}

// String returns for example "inet filter forward".
func (g *gate) String() string {
	return fmt.Sprintf("%s %s %s", familyName(g.chain.Table.Family), g.chain.Table.Name, g.chain.Name)
}

// owned tells whether the kernel lets only the program that has made the table change it.
func (g *gate) owned() bool { return g.flags&tableOwned != 0 }

// done tells whether our rule is where it should be: there once, or not there if it is not needed.
func (g *gate) done() bool {
	if g.mayDrop {
		return g.placed
	}
	return len(g.ours) == 0
}

// mend makes it so.
func (g *gate) mend() error {
	return transact(func(c *nftables.Conn) error {
		if err := g.removeOurs(c); err != nil {
			return err
		}
		if !g.mayDrop {
			return nil
		}
		r := ourRule(g.chain, g.kind)
		if g.before == nil {
			c.AddRule(r)
			return nil
		}
		r.Position = g.before.Handle
		c.InsertRule(r)
		return nil
	})
}

// clear takes our rule away.
func (g *gate) clear() error {
	if len(g.ours) == 0 {
		return nil
	}
	return transact(g.removeOurs)
}

func (g *gate) removeOurs(c *nftables.Conn) error {
	for _, r := range g.ours {
		if err := c.DelRule(&nftables.Rule{Table: g.chain.Table, Chain: g.chain, Handle: r.Handle}); err != nil {
			return err
		}
	}
	return nil
}

// tableFlags returns the flags of a table. The library reads them with the machine's order of bytes, but they come with
// that of the network.
func tableFlags(t *nftables.Table) uint32 {
	if t == nil {
		return 0
	}
	return binary.BigEndian.Uint32(binaryutil.NativeEndian.PutUint32(t.Flags))
}

// Flags of a table (enum nft_table_flags of linux/netfilter/nf_tables.h).
const (
	tableDormant = 1 << 0 // its chains are not in force
	tableOwned   = 1 << 1 // it goes with the program that has made it
)

// reader is one netlink socket for the questions of one call.
type reader struct {
	conn   *nftables.Conn
	tables map[tableKey]*nftables.Table
}

type tableKey struct {
	family nftables.TableFamily
	name   string
}

func newReader() (*reader, error) {
	conn, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return nil, err
	}
	r := &reader{conn, map[tableKey]*nftables.Table{}}
	tables, err := conn.ListTables()
	if err != nil {
		r.close()
		return nil, fmt.Errorf("list tables: %w", err)
	}
	for _, t := range tables {
		r.tables[tableKey{t.Family, t.Name}] = t
	}
	return r, nil
}

func (r *reader) close() { _ = r.conn.CloseLasting() } // nothing is lost: every answer has been read

// chains returns the chains of others at which forwarded packets may be dropped.
func (r *reader) chains() ([]*nftables.Chain, error) {
	all, err := r.conn.ListChainsOfTableFamily(nftables.TableFamilyUnspecified)
	if err != nil {
		return nil, fmt.Errorf("list chains: %w", err)
	}
	return slices.DeleteFunc(all, func(c *nftables.Chain) bool {
		forward := c.Hooknum != nil && *c.Hooknum == *nftables.ChainHookForward && c.Type == nftables.ChainTypeFilter
		dormant := tableFlags(r.tables[tableKey{c.Table.Family, c.Table.Name}])&tableDormant != 0
		return !forward || dormant || isXtables(c) || isOurTable(c.Table)
	}), nil
}

// isOurTable tells whether a table is that of the backend for nftables, which drops nothing that a lease lets in.
func isOurTable(t *nftables.Table) bool {
	return t.Family == nftables.TableFamilyINet && t.Name == "portreeve"
}

// isXtables tells whether a chain is one of iptables-nft or ip6tables-nft, which give their tables and chains the names
// of old.
func isXtables(c *nftables.Chain) bool {
	return c.Table.Family != nftables.TableFamilyINet && c.Name == "FORWARD" &&
		slices.Contains([]string{"filter", "mangle", "security"}, c.Table.Name)
}

// examine finds out about a chain. Our rule belongs right in front of the first rule that may drop what it accepts, so
// that whom the owner blocks before, by the sender's address, stays blocked; or at the end if only the policy drops. A
// kind that is not wanted needs no rule.
func (r *reader) examine(c *nftables.Chain, k Kind, wanted bool) (*gate, error) {
	g := &gate{kind: k, chain: c, flags: tableFlags(r.tables[tableKey{c.Table.Family, c.Table.Name}])}
	read := tableChains{r.conn, c.Table}
	rules, err := read.rules(c.Name)
	if err != nil {
		return nil, fmt.Errorf("list the rules of %s: %w", g, err)
	}
	var theirs []*nftables.Rule
	place := -1 // of ours among theirs
	for _, r := range rules {
		switch {
		case commentOf(r) == k.Comment():
			g.ours, place = append(g.ours, r), len(theirs)
		case !isOurs(r):
			theirs = append(theirs, r)
		}
	}
	if !wanted {
		return g, nil
	}
	policyDrops := c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop
	at, drops := search{k, read, maxDepth, policyDrops}.obstacle(theirs)
	if at < len(theirs) {
		g.mayDrop, g.before = drops, theirs[at]
	} else {
		g.mayDrop = policyDrops
	}
	g.placed = len(g.ours) == 1 && place == at && standsAsWritten(g.ours[0], k, c.Table.Family)
	return g, nil
}
