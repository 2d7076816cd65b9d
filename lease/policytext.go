package lease

import (
	"fmt"
	"strings"
)

// Lines says in words what the owner has set of the policy, but for the devices, each thing in a line of its own: so what is
// in one policy and not in another can be told.
func (o OwnPolicy) Lines() []string {
	var lines, names []string
	for _, s := range o.Settings() {
		lines = append(lines, fmt.Sprintf("%s %s", s, o.text(s)))
	}
	for _, r := range o.Rules {
		lines = append(lines, fmt.Sprintf("rule %q: %s", r.Name, r))
		names = append(names, r.Name)
	}
	if len(names) > 1 {
		lines = append(lines, "in the order "+strings.Join(names, ", "))
	}
	return lines
}
