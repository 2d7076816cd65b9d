package lease

import "fmt"

// RuleVerb is what has become of a rule.
type RuleVerb string

// What becomes of rules.
const (
	RuleAdded      RuleVerb = "added"
	RuleChanged    RuleVerb = "changed"
	RuleRemoved    RuleVerb = "removed"
	RuleEnded      RuleVerb = "ended"        // its time is over
	RuleInForce    RuleVerb = "in_force"     // it holds again, by its schedule or because its device is there
	RuleOutOfForce RuleVerb = "out_of_force" // it does not hold now: see Why
)

// RuleVerbs are all of them.
func RuleVerbs() []RuleVerb {
	return []RuleVerb{RuleAdded, RuleChanged, RuleRemoved, RuleEnded, RuleInForce, RuleOutOfForce}
}

// RuleNews is what has become of a rule of the owner, as of one moment. Values are immutable.
type RuleNews struct {
	Change  RuleVerb
	Rule    Rule   // as it was then
	InForce bool   // it holds since then
	Why     string // why it does not; empty if it does, and for one that is not there any more
}

// ruleEvent notes what has become of a rule. It holds from then on unless why says why it does not.
func (t *tx) ruleEvent(by Origin, r *Rule, change RuleVerb, why string) {
	text := map[RuleVerb]string{
		RuleEnded: "has ended", RuleInForce: "is in force", RuleOutOfForce: "is not in force, " + why,
	}[change]
	if text == "" {
		text = string(change)
	}
	gone := change == RuleRemoved || change == RuleEnded
	t.events = append(t.events, Event{
		Kind: EventRule, By: by, Reason: CleanText(fmt.Sprintf("%s %s: %s", r.title(), text, r), 2*MaxDescription),
		Rule: &RuleNews{Change: change, Rule: *r, InForce: why == "" && !gone, Why: CleanText(why, MaxDescription)},
	})
}
