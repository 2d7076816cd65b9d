package firewall

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/portreeve/portreeve/kernel"
	"github.com/portreeve/portreeve/lease"
)

// Rules decide about the first packet of a connection only; what follows is carried by the kernel's table of
// connections, whatever the rules say by then. So the table has to be brought in line too: a closed mapping must stop,
// and a UDP socket that has been talking since before its mapping existed must get the mapped port.

// Look says which connections may have become wrong. To find them the kernel has to walk through its table, once for what
// was closed, and once to three times for what was opened. A walk takes about ten nanoseconds for each bucket of the table,
// of which a small router has thousands and a machine with much memory a quarter of a million.
type Look struct {
	// Closed are the connections, of any protocol, that a mapping has let in which is closed by now, leads elsewhere,
	// or has filters that keep this peer out.
	Closed bool

	// Outdated are those of UDP, with Others also of what is neither TCP nor UDP, that began before a mapping was opened: from a peer to its external port, so that they
	// end at the router; from its internal endpoint, with another port outside; from another host, that was given the
	// external port.
	Outdated, Others bool

	// Opened, if it is not empty, are the only leases with one such port that any such connection can have to do with.
	Opened []lease.Lease
}

// Empty tells whether there is nothing to look for.
func (l Look) Empty() bool { return !l.Closed && !l.Outdated }

// Current gives use the mappings that are in force, and keeps them as they are until it returns. While they are unknown
// known is false.
type Current func(use func(m Mappings, known bool))

// ProbeConnections tells by the error of [Connections.End] whether connections could be ended. It ends none.
func ProbeConnections() error {
	c := NewConnections()
	defer c.Close()
	_, _, err := c.End(Look{Closed: true}, func(use func(Mappings, bool)) { use(Mappings{}, false) })
	return err
}

// Connections ends connections, again and again, over one socket to the kernel. Closing one takes several milliseconds if
// nf_tables has something to put away at that moment, so just after a rule was removed.
//
// Open and Close may be called at any time, End not by two at once.
type Connections struct {
	asker   *kernel.Asker
	tried   bool // whether the kernel compares answers
	answers bool // it does
}

// NewConnections returns a Connections whose socket is opened when it is needed.
func NewConnections() *Connections {
	return &Connections{asker: kernel.NewAsker(unix.NETLINK_NETFILTER)}
}

// Open opens the socket, in the network of the calling thread, unless it is open. It never waits for End, which may wait for
// the mappings of whoever calls Open. If it fails End fails too.
func (c *Connections) Open() { _ = c.asker.Open() }

// Close closes the socket. End opens another.
func (c *Connections) Close() { c.asker.Close() }

// End deletes from the kernel's table the connections that it is to look for and that do not go with the mappings, and
// returns how many they were, and how many it had to look at one by one.
//
// Nobody is told: TCP learns it by a reset when it sends next, UDP continues under the rules of now. Connections that
// are as the rules would make them stay, so doing it twice ends nothing more. Outbound connections that a host behind
// a mapping has opened itself live on after the mapping is closed: they are the host's own. So does, on the same
// grounds, what the host goes on sending before the peer does: UDP, and TCP while net.netfilter.nf_conntrack_tcp_loose is
// 1 (the kernel's default) and masquerading happens to keep the port.
//
// The mappings are asked for each connection anew, so that nobody who changes them has to wait. One that is closed at any
// time during the call may be ended or not.
//
// The error is [errors.ErrUnsupported] if the kernel has no conntrack netlink; nothing was ended then. After any
// other error some may be left, and calling again may help.
func (c *Connections) End(l Look, current Current) (ended, seen int, err error) {
	var doomed []flow
	look := func(q kernel.Question, wrong func(Mappings, flow) bool) error {
		return c.walk(q, func(f flow) {
			seen++
			current(func(m Mappings, known bool) {
				if known && wrong(m, f) {
					doomed = append(doomed, f.named())
				}
			})
		})
	}
	if l.Closed {
		err = look(marked(), Mappings.closed)
	}
	if err == nil && l.Outdated {
		var questions []kernel.Question
		questions, err = c.outdated(l)
		for i := 0; i < len(questions) && err == nil; i++ {
			err = look(questions[i], Mappings.outdated)
		}
	}
	if err != nil {
		err = connectionsError(err)
	}
	ended, removeErr := c.remove(doomed)
	return ended, seen, errors.Join(err, removeErr)
}

// walk asks once, or more often if the table was resized meanwhile, because then something may have been missed.
func (c *Connections) walk(q kernel.Question, found func(flow)) (err error) {
	for range 3 {
		if err = flows(c.asker, q, found); !errors.Is(err, kernel.ErrInterrupted) {
			break
		}
	}
	return err
}

// outdated returns what to ask for connections that leases may have outdated; without leases, those of any.
func (c *Connections) outdated(l Look) (questions []kernel.Question, err error) {
	if len(l.Opened) > 0 && !c.tried {
		if c.answers, err = comparesAnswers(c.asker); err != nil {
			return nil, err
		}
		c.tried = true
	}
	if len(l.Opened) == 0 || !c.answers {
		questions = append(questions, begun(unix.AF_INET, ports{protocol: lease.UDP}))
		if l.Others {
			for _, p := range []lease.Protocol{lease.UDPLite, lease.SCTP, lease.DCCP} {
				questions = append(questions, begun(unix.AF_INET, ports{protocol: p}))
			}
		}
		return questions, nil
	}
	for _, l := range l.Opened {
		outside, inside := l.External.Port(), l.Internal.Port()
		questions = append(questions,
			begun(unix.AF_INET, ports{protocol: l.Protocol, port: outside}),
			begun(unix.AF_INET, ports{protocol: l.Protocol, source: inside}),
			answered(unix.AF_INET, ports{protocol: l.Protocol, port: outside}),
		)
	}
	return questions, nil
}

// remove deletes connections. One that has ended by itself does not count.
func (c *Connections) remove(doomed []flow) (ended int, err error) {
	failed := 0
	for _, f := range doomed {
		removeErr := f.remove(c.asker)
		switch {
		case removeErr == nil:
			ended++
		case !errors.Is(removeErr, unix.ENOENT):
			failed++
			err = removeErr
		}
	}
	if failed > 0 {
		err = fmt.Errorf("end connections: %d of %d: %w", failed, len(doomed), err)
	}
	return ended, err
}
