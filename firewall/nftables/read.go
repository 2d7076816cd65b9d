package nftables

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
)

// held is what the kernel holds of our table.
type held struct {
	sets    []*nftables.Set
	chains  []*nftables.Chain
	helpers []string                    // objects
	rules   map[string][]*nftables.Rule // by chain

	elements map[elementKey]heldElement // not read by [session.readFrame]
}

// listChains lists the chains of everybody.
func (s *session) listChains() ([]*nftables.Chain, error) {
	all, err := s.ListChainsOfTableFamily(nftables.TableFamilyUnspecified)
	if err != nil {
		return nil, fmt.Errorf("list chains: %w", explain(err))
	}
	return all, nil
}

// readFrame reads our table without its elements; nil means that there is none.
func (s *session) readFrame() (*held, error) {
	tables, err := s.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", explain(err))
	}
	exists := false
	for _, t := range tables {
		exists = exists || t.Name == tableName
	}
	if !exists {
		return nil, nil
	}
	h := &held{rules: map[string][]*nftables.Rule{}}
	if h.sets, err = s.GetSets(ourTable()); err != nil {
		// Sets of ours can be read. What cannot is none of ours, and the table is made anew.
		h.sets = nil
	}
	if h.helpers, err = s.listObjects(); err != nil {
		return nil, err
	}
	all, err := s.listChains()
	if err != nil {
		return nil, err
	}
	for _, c := range all {
		if !isOurs(c) {
			continue
		}
		h.chains = append(h.chains, c)
		if h.rules[c.Name], err = s.GetRules(ourTable(), c); err != nil {
			return nil, fmt.Errorf("list rules of %s: %w", c.Name, explain(err))
		}
	}
	return h, nil
}

func isOurs(c *nftables.Chain) bool {
	return c.Table.Family == nftables.TableFamilyINet && c.Table.Name == tableName
}

func sameSet(have, want *nftables.Set) bool {
	return have.Name == want.Name && have.KeyType.Name == want.KeyType.Name && have.DataType.Name == want.DataType.Name &&
		have.IsMap == want.IsMap && have.HasTimeout && have.Interval == want.Interval &&
		!have.Constant && !have.Anonymous && have.Timeout == 0
}

// stands tells whether a chain of the kernel is this one, whatever rules it has.
func (c chain) stands(have *nftables.Chain) bool {
	if have.Name != c.name || (have.Hooknum == nil) != (c.hook == nil) {
		return false
	}
	return c.hook == nil || *have.Hooknum == *c.hook && *have.Priority == c.priority && have.Type == c.kind() &&
		have.Policy != nil && *have.Policy == nftables.ChainPolicyAccept
}

// sameRules compares a chain's rules with what is wanted.
func sameRules(have []*nftables.Rule, want []rule) bool {
	if len(have) != len(want) {
		return false
	}
	for i := range want {
		if !want[i].stands(have[i]) {
			return false
		}
	}
	return true
}

// stands tells whether a rule of the kernel is this one.
func (r rule) stands(have *nftables.Rule) bool {
	if commentOf(have) != r.comment || len(have.Exprs) != len(r.exprs) {
		return false
	}
	for i := range r.exprs {
		if !reflect.DeepEqual(have.Exprs[i], listed(r.exprs[i])) {
			return false
		}
	}
	return true
}

// listed returns an expression as the library reads it from the kernel, which is not always as it was written: of a
// register that is written into a connection it reads nothing.
func listed(e expr.Any) expr.Any {
	const anyFamily = 0
	data, err := expr.MarshalExprData(anyFamily, e)
	if err != nil {
		return e
	}
	read, ok := reflect.New(reflect.TypeOf(e).Elem()).Interface().(expr.Any)
	if !ok || expr.Unmarshal(anyFamily, data, read) != nil {
		return e
	}
	return read
}

// commentOf returns a rule's comment; empty if it has none. It is the first of the records of type, length and text in
// what the kernel keeps with a rule for whoever made it, which may be anything: some programs write plain text.
func commentOf(r *nftables.Rule) string {
	for data := r.UserData; len(data) >= 2; {
		kind, length := userdata.Type(data[0]), int(data[1])
		if data = data[2:]; length > len(data) {
			return ""
		}
		if kind == userdata.TypeComment {
			return strings.TrimRight(string(data[:length]), "\x00")
		}
		data = data[length:]
	}
	return ""
}
