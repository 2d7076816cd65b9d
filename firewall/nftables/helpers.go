package nftables

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"time"

	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
)

// Some protocols carry addresses and ports in their payload. The kernel's helpers read along: they let in what the two sides
// have agreed upon, and translate the addresses there. A helper is an object of our table that a rule gives to a connection.

// helper is such an object.
type helper struct {
	name     string // of the object
	kernel   string // of the helper
	protocol lease.Protocol
	port     uint16 // of the servers
	module   string // that has it, behind nf_conntrack_ and nf_nat_
}

// helperObjects returns the objects for one of [lease.HelperNames].
func helperObjects(name string) []helper {
	switch name {
	case "ftp":
		return []helper{{name, name, lease.TCP, 21, name}}
	case "h323":
		return []helper{{"h323_call", "Q.931", lease.TCP, 1720, name}, {"h323_gatekeeper", "RAS", lease.UDP, 1719, name}}
	case "irc":
		return []helper{{name, name, lease.TCP, 6667, name}}
	case "pptp":
		return []helper{{name, name, lease.TCP, 1723, name}}
	case "sip":
		return []helper{{"sip_tcp", name, lease.TCP, 5060, name}, {"sip_udp", name, lease.UDP, 5060, name}}
	case "tftp":
		return []helper{{name, name, lease.UDP, 69, name}}
	default:
		return []helper{{name, name, lease.TCP, 0, name}} // which no kernel has
	}
}

// isHelperObject tells whether an object may be one of ours.
func isHelperObject(name string) bool {
	return slices.ContainsFunc(lease.HelperNames(), func(n string) bool {
		return slices.ContainsFunc(helperObjects(n), func(h helper) bool { return h.name == name })
	})
}

// helpers returns the objects of a layout, each once.
func (y layout) helpers() []helper {
	var list []helper
	for _, want := range y.nat.Helpers {
		for _, h := range helperObjects(want.Name) {
			if !slices.Contains(list, h) {
				list = append(list, h)
			}
		}
	}
	return list
}

// chainHelpers gives helpers to connections.
const chainHelpers = "helpers"

// assign gives helpers to the connections that LAN hosts begin, and to those that come to them by mappings and pinholes.
// Their ports are those of the servers as the hosts see them, so this is behind the translation of the target. The first
// packet of a connection is enough.
func (y layout) assign() []rule {
	rules := []rule{{append(inState(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), accept()), "begun already"}}
	var seen []string
	for _, want := range y.nat.Helpers {
		for _, lan := range y.LANs {
			key := want.Name + " " + lan.Name
			if want.LAN != "" && want.LAN != lan.Name || slices.Contains(seen, key) {
				continue
			}
			seen = append(seen, key)
			for _, h := range helperObjects(want.Name) {
				give := append(slices.Concat(layer4(h.protocol)), loadDport(0), equals([]byte(port(h.port))),
					&expr.Objref{Type: unix.NFT_OBJECT_CT_HELPER, Name: h.name})
				rules = append(rules,
					rule{append(via(expr.MetaKeyIIFNAME, lan.Name), give...), "from a LAN"},
					rule{slices.Concat(via(expr.MetaKeyOIFNAME, lan.Name), marked(), give), "by a mapping or pinhole"})
			}
		}
	}
	return rules
}

// addHelper makes the object.
func addHelper(h helper, table string) netlink.Message {
	const anyFamily = unix.NFPROTO_INET
	return request(unix.NFT_MSG_NEWOBJ, netlink.Create,
		textAttr(unix.NFTA_OBJ_TABLE, table), textAttr(unix.NFTA_OBJ_NAME, h.name),
		uint32Attr(unix.NFTA_OBJ_TYPE, unix.NFT_OBJECT_CT_HELPER),
		nestedAttr(unix.NFTA_OBJ_DATA,
			textAttr(unix.NFTA_CT_HELPER_NAME, h.kernel),
			bytesAttr(unix.NFTA_CT_HELPER_L3PROTO, binary.BigEndian.AppendUint16(nil, anyFamily)),
			bytesAttr(unix.NFTA_CT_HELPER_L4PROTO, []byte{byte(h.protocol)})))
}

// removeHelper removes an object that no rule uses.
func removeHelper(name string) netlink.Message {
	return request(unix.NFT_MSG_DELOBJ, 0,
		textAttr(unix.NFTA_OBJ_TABLE, tableName), textAttr(unix.NFTA_OBJ_NAME, name),
		uint32Attr(unix.NFTA_OBJ_TYPE, unix.NFT_OBJECT_CT_HELPER))
}

// listObjects returns the names of the objects of our table.
func (s *session) listObjects() ([]string, error) {
	answers, err := s.socket.Execute(request(unix.NFT_MSG_GETOBJ, netlink.Dump, textAttr(unix.NFTA_OBJ_TABLE, tableName)))
	if err != nil {
		return nil, fmt.Errorf("list objects: %w", explain(err))
	}
	var names []string
	for _, m := range answers {
		const header = 4 // struct nfgenmsg
		if len(m.Data) < header {
			continue
		}
		attributes, err := netlink.NewAttributeDecoder(m.Data[header:])
		if err != nil {
			return nil, fmt.Errorf("list objects: %w", err)
		}
		var table, name string
		for attributes.Next() {
			switch attributes.Type() {
			case unix.NFTA_OBJ_TABLE:
				table = attributes.String()
			case unix.NFTA_OBJ_NAME:
				name = attributes.String()
			}
		}
		if err := attributes.Err(); err != nil {
			return nil, fmt.Errorf("list objects: %w", err)
		}
		if table == tableName {
			names = append(names, name)
		}
	}
	return names, nil
}

// helperState is what is known of a helper of this kernel.
type helperState struct {
	err   error // why there is none
	asked time.Time
}

// helperAgain is how long it is believed that the kernel has no helper: its module may be installed meanwhile.
const helperAgain = time.Minute

// available returns those of some helpers that this kernel has, in all their parts. Of the others the log and Check tell: one
// that is missing keeps nothing else from working.
func (b *Backend) available(ctx context.Context, s *session, wanted []lease.Helper) ([]lease.Helper, error) {
	var there []lease.Helper
	for _, w := range wanted {
		state, known := b.helpers[w.Name]
		if !known || state.err != nil && b.now().Sub(state.asked) >= helperAgain {
			missing, err := askForHelper(ctx, s, w.Name)
			if err != nil {
				return nil, err
			}
			before := state.err
			state = helperState{missing, b.now()}
			b.helpers[w.Name] = state
			if state.err != nil && before == nil {
				b.log.Warn("the kernel has no such helper", "helper", w.Name, "err", state.err)
			}
		}
		if state.err == nil {
			there = append(there, w)
		}
	}
	return there, nil
}

// askForHelper makes the objects of a helper in a table that goes with the same transaction. The kernel loads its module
// then. It does not load the one that translates addresses in the payload, which some kernels have apart.
func askForHelper(ctx context.Context, s *session, name string) (missing, err error) {
	const table = tableName + "-helper"
	for _, h := range helperObjects(name) {
		err := s.commit([]netlink.Message{
			request(unix.NFT_MSG_NEWTABLE, netlink.Create, textAttr(unix.NFTA_TABLE_NAME, table)),
			addHelper(h, table),
			request(unix.NFT_MSG_DELTABLE, 0, textAttr(unix.NFTA_TABLE_NAME, table)),
		}, 0)
		switch {
		case isAnyOf(err, unix.ENOENT, unix.EOPNOTSUPP, unix.EAFNOSUPPORT):
			return fmt.Errorf("no module nf_conntrack_%s", h.module), nil
		case err != nil:
			return nil, fmt.Errorf("ask for the helper %s: %w", name, err)
		}
	}
	// Without the program, or where it is part of the kernel, there is nothing to load.
	_ = exec.CommandContext(ctx, "modprobe", "-q", "nf_nat_"+name).Run()
	return nil, nil
}

// helperProblems tells which helpers this kernel lacks.
func (b *Backend) helperProblems() []firewall.Problem {
	var problems []firewall.Problem
	for _, name := range slices.Sorted(maps.Keys(b.helpers)) {
		if state := b.helpers[name]; state.err != nil {
			problems = append(problems, firewall.Problem{
				What: fmt.Sprintf("the kernel cannot read along in %s: %v", name, state.err),
				Do: fmt.Sprintf("install and load the modules nf_conntrack_%s and nf_nat_%[1]s (OpenWrt: opkg install kmod-nf-nathelper kmod-nf-nathelper-extra), or take %[1]s out of nat.helpers",
					name),
			})
		}
	}
	return problems
}
