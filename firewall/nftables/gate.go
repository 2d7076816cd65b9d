package nftables

import (
	"fmt"
	"slices"

	"github.com/google/nftables"
)

// In nf_tables a packet passes the chains of all tables at a hook, one after the other. That one accepts it keeps none of
// the others from dropping it, so nothing in our own table can open the way for what a mapping has translated. Where
// somebody else's chain would drop it, one rule of ours has to stand in that chain. Such a chain is a gate.

// gateComment tells our rules in the chains of others.
const gateComment = "portreeve: mapped connections"

// gateRule accepts what a mapping has translated, and nothing else.
func gateRule() rule { return rule{append(ourConnections(), accept()...), gateComment} }

// gate is a chain that is not ours and that forwarded packets pass. Programs that manage the firewall differ in how they
// want a rule to be put there: each is an implementation of this.
type gate interface {
	fmt.Stringer

	// needed tells whether the chain may drop what a mapping has translated.
	needed() bool

	// done tells whether our rule is where it should be: there once, or not there if it is not needed.
	done() bool

	// cutsEstablished tells whether the chain drops packets and no rule of others accepts established connections.
	cutsEstablished() bool

	// mend makes it so.
	mend(*session) error

	// clear takes our rule away.
	clear(*session) error
}

// findGates finds all gates among the chains of nf_tables, and those that iptables looks after.
func findGates(s *session, all []*nftables.Chain) ([]gate, error) {
	var gates []gate
	xtables, rest := xtablesGates(slices.DeleteFunc(slices.Clone(all), func(c *nftables.Chain) bool { return !isGate(c) }))
	gates = append(gates, xtables...)
	for _, c := range rest {
		g, err := examine(c, s.listerOf(c.Table))
		if err != nil {
			return nil, fmt.Errorf("list rules of %s: %w", g, err)
		}
		gates = append(gates, g)
	}
	return gates, nil
}

// isGate tells whether forwarded IPv4 packets pass a chain of somebody else.
func isGate(c *nftables.Chain) bool {
	return !isOurs(c) && c.Hooknum != nil && *c.Hooknum == *nftables.ChainHookForward && c.Type == nftables.ChainTypeFilter &&
		(c.Table.Family == nftables.TableFamilyIPv4 || c.Table.Family == nftables.TableFamilyINet)
}

func (s *session) listerOf(t *nftables.Table) lister {
	return func(chain string) ([]*nftables.Rule, error) {
		rules, err := s.GetRules(t, &nftables.Chain{Name: chain})
		return rules, explain(err)
	}
}

// lostGate is a gate that nothing can be done about.
type lostGate struct {
	name   string
	reason error
}

func (g lostGate) String() string        { return g.name }
func (g lostGate) needed() bool          { return true }
func (g lostGate) done() bool            { return false }
func (g lostGate) cutsEstablished() bool { return false }
func (g lostGate) mend(*session) error   { return g.reason }
func (g lostGate) clear(*session) error  { return nil } // nothing of ours can be there

// chainGate is a gate that is managed with nft, or by a program that leaves room for the rules of others.
type chainGate struct {
	chain   *nftables.Chain
	mayDrop bool
	keeps   bool             // a rule of others looks at the state of connections
	ours    []*nftables.Rule // of us
	placed  bool             // there is one of ours, and it is where it belongs
	before  *nftables.Rule   // in front of which it belongs; nil: at the end
}

// examine finds out about a gate. Our rule belongs right in front of the first rule that may drop what it accepts, so
// that what the owner blocks before, by the sender, stays blocked; or at the end if only the policy drops.
func examine(c *nftables.Chain, list lister) (*chainGate, error) {
	g := &chainGate{chain: c}
	rules, err := list(c.Name)
	if err != nil {
		return g, err
	}
	var theirs []*nftables.Rule
	place := -1 // of ours among theirs
	for _, r := range rules {
		if commentOf(r) == gateComment {
			g.ours, place = append(g.ours, r), len(theirs)
		} else {
			theirs = append(theirs, r)
			g.keeps = g.keeps || mentionsState(r)
		}
	}
	at, drops := obstacle(theirs, list, maxDepth)
	if at < len(theirs) {
		g.mayDrop, g.before = drops, theirs[at]
	} else {
		g.mayDrop = c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop
	}
	g.placed = len(g.ours) == 1 && place == at && gateRule().stands(g.ours[0])
	return g, nil
}

// String returns for example "inet filter forward".
func (g *chainGate) String() string {
	family := "ip"
	if g.chain.Table.Family == nftables.TableFamilyINet {
		family = "inet"
	}
	return fmt.Sprintf("%s %s %s", family, g.chain.Table.Name, g.chain.Name)
}

func (g *chainGate) needed() bool { return g.mayDrop }

func (g *chainGate) cutsEstablished() bool { return g.mayDrop && !g.keeps }

func (g *chainGate) done() bool {
	if g.mayDrop {
		return g.placed
	}
	return len(g.ours) == 0
}

func (g *chainGate) mend(s *session) error {
	steps := g.clearSteps()
	if g.mayDrop {
		steps = append(steps, g.insert)
	}
	return s.commit(steps)
}

func (g *chainGate) clear(s *session) error { return s.commit(g.clearSteps()) }

func (g *chainGate) clearSteps() []step {
	var steps []step
	for _, r := range g.ours {
		steps = append(steps, func(c *nftables.Conn) error {
			return c.DelRule(&nftables.Rule{Table: g.chain.Table, Chain: g.chain, Handle: r.Handle})
		})
	}
	return steps
}

func (g *chainGate) insert(c *nftables.Conn) error {
	r := gateRule().kernel(g.chain)
	if g.before == nil {
		c.AddRule(r)
		return nil
	}
	r.Position = g.before.Handle
	c.InsertRule(r)
	return nil
}
