package igd

import (
	"context"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/portreeve/portreeve/lease"
)

// service is one UPnP service of one version of the device: all that is described of it and all that it does.
type service struct {
	name      string // for example "WANIPConnection"
	id        string // the part of the serviceId that is its own
	path      string // the part of the URLs that is its own
	igd       int    // the version of the device that it belongs to
	highest   int    // the highest version whose actions are answered
	described int    // the version in the descriptions
	extra     extra  // when it is described
	aliases   []string
	variables []variable
	actions   []action
	optional  []string // actions that the specification leaves to the vendor, and that we do not have
	guests    *service // its actions are answered too; may be nil
}

// variable is a state variable of a service.
type variable struct {
	name    string
	kind    dataType
	since   int      // the service's version that introduced it
	allowed []string // the allowed values of a string, in the spelling of the specification; nil: any
	least   uint32   // the least value of a number
	most    uint32   // the greatest value of a number; 0: whatever its type can hold
	outside byVersion

	// advised is the greatest value that the description names from version 2 on. A greater one is accepted.
	advised uint32

	// wildcard lets "*" stand for any (0 or the empty string), as some old clients write it. blank lets no text at all stand
	// for 0.
	wildcard, blank bool

	// evented: the specification wants changes to be told to subscribers.
	evented bool

	// current returns the value that events and QueryStateVariable tell; nil if it cannot be asked for. It is there
	// for all evented variables.
	current func(client netip.Addr) string
}

// extra says of a service that not everybody is told of it.
type extra uint8

// The conditions under which a service is described.
const (
	always      extra = iota
	forModern         // not to those who stumble over what InternetGatewayDevice:1 did not have
	forDialling       // if the line is a dialled one, or somebody looks for such a service only
)

// argument is an argument of an action. All of its properties are those of the state variable it is related to.
type argument struct{ name, variable string }

// action is one action of a service. run gets checked arguments.
type action struct {
	name  string
	since int // the service's version that introduced it
	in    []argument
	out   []argument
	waits bool // for disk and kernel
	run   func(context.Context, *call) (results, error)
}

// answer runs the action.
func (a *action) answer(ctx context.Context, c *call) (results, error) {
	if !a.waits {
		return a.run(ctx, c)
	}
	c.wait()
	ctx, cancel := context.WithTimeout(ctx, maxAction)
	defer cancel()
	return a.run(ctx, c)
}

// call is one invocation of an action, its arguments checked.
type call struct {
	action  string
	version int        // of the service, as the caller named it
	client  netip.Addr // who calls
	agent   string     // what the client calls itself, not cleaned; may be empty
	args    []checkedArgument
	wait    func() // see request
}

// checkedArgument is an argument with its value.
type checkedArgument struct {
	name string
	value
}

// arg returns the value of an argument of the action.
func (c *call) arg(name string) value {
	for i := range c.args {
		if c.args[i].name == name {
			return c.args[i].value
		}
	}
	return value{}
}

func (c *call) text(name string) string   { return c.arg(name).text }
func (c *call) number(name string) uint32 { return c.arg(name).number }
func (c *call) flag(name string) bool     { return c.arg(name).flag }
func (c *call) port(name string) uint16   { return uint16(c.arg(name).number) } // of a ui2

// protocol reads NewProtocol, whose values the table has limited to TCP and UDP.
func (c *call) protocol() lease.Protocol {
	if c.text("NewProtocol") == protocolUDP {
		return lease.UDP
	}
	return lease.TCP
}

// typePrefix begins the types of all services of the specifications.
const typePrefix = "urn:schemas-upnp-org:service:"

func (s *service) urn(version int) string { return fmt.Sprint(typePrefix, s.name, ":", version) }

func (s *service) controlPath() string { return s.under("/ctl/") }
func (s *service) eventPath() string   { return s.under("/evt/") }
func (s *service) scpdPath() string    { return s.under("/scpd/") + ".xml" }

// under is the path of the service below another one. Each version of the device has its own.
func (s *service) under(path string) string {
	if s.igd == 1 {
		return path + s.path
	}
	return path + strconv.Itoa(s.igd) + "/" + s.path
}

// evented yields the variables whose changes subscribers are told, as the described version has them.
func (s *service) evented() iter.Seq[*variable] {
	return func(yield func(*variable) bool) {
		for i := range s.variables {
			if v := &s.variables[i]; v.evented && v.since <= s.described && !yield(v) {
				return
			}
		}
	}
}

// versionOf returns which version of the service a namespace means, and false if it is another service's.
func (s *service) versionOf(namespace string) (int, bool) {
	if rest, ok := strings.CutPrefix(namespace, typePrefix); ok {
		if version, ok := strings.CutPrefix(rest, s.name+":"); ok && len(version) == 1 {
			v := int(version[0] - '0')
			return v, 1 <= v && v <= s.highest
		}
	}
	return 1, slices.Contains(s.aliases, namespace)
}

// find returns the action of that name and the service that has it, or the code with which to refuse it.
func (s *service) find(name string) (*service, *action, error) {
	for _, owner := range []*service{s, s.guests} {
		if owner == nil {
			continue
		}
		for i := range owner.actions {
			if owner.actions[i].name == name {
				return owner, &owner.actions[i], nil
			}
		}
	}
	if slices.Contains(s.optional, name) {
		return nil, nil, optionalNotSupported
	}
	return nil, nil, invalidAction
}

// variable returns the state variable of that name; false if there is none.
func (s *service) variable(name string) (*variable, bool) {
	for i := range s.variables {
		if s.variables[i].name == name {
			return &s.variables[i], true
		}
	}
	return nil, false
}

// check reads the arguments of an action. Each must be there and fit its type; an argument that the action does
// not know is ignored, because older servers did so and clients came to rely on it.
func (s *service) check(a *action, version int, given arguments) ([]checkedArgument, error) {
	args := make([]checkedArgument, 0, len(a.in))
	for _, arg := range a.in {
		text, ok := given.get(arg.name)
		if !ok {
			return nil, invalidArgs
		}
		v, _ := s.variable(arg.variable)
		parsed, err := v.parse(text, version)
		if err != nil {
			return nil, err
		}
		args = append(args, checkedArgument{arg.name, parsed})
	}
	return args, nil
}

// parse reads a value for the variable: 402 if it is not of its type, the variable's own code if it is not among
// the allowed ones.
func (v *variable) parse(text string, version int) (value, error) {
	if v.wildcard && text == "*" {
		text = ""
		if v.kind != typeString {
			text = "0"
		}
	}
	if v.blank && text == "" {
		text = "0"
	}
	parsed, ok := v.kind.parse(text)
	if !ok {
		return value{}, invalidArgs
	}
	if v.allowed != nil {
		// Lower case is read as well: some clients send "udp".
		i := slices.IndexFunc(v.allowed, func(a string) bool { return strings.EqualFold(a, text) })
		if i < 0 {
			return value{}, v.outside.of(version)
		}
		parsed.text = v.allowed[i]
	}
	if parsed.number < v.least || v.most > 0 && parsed.number > v.most {
		return value{}, v.outside.of(version)
	}
	return parsed, nil
}
