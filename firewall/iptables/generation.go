package iptables

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// generations asks the kernel for the number of its nf_tables ruleset, which each transaction of anybody raises by one. If
// it is what it was, nobody has changed a rule. The socket stays open: closing one takes several milliseconds while the
// kernel puts away rules.
type generations struct{ socket *netlink.Conn }

// now returns the number.
func (g *generations) now() (number uint32, err error) {
	const patience = 5 * time.Second
	if g.socket == nil {
		if g.socket, err = netlink.Dial(unix.NETLINK_NETFILTER, nil); err != nil {
			return 0, fmt.Errorf("open a netlink socket: %w", err)
		}
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("generation of the ruleset: %w", err), g.close()) // an answer may be left in it
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	due, _ := ctx.Deadline()
	if err := g.socket.SetDeadline(due); err != nil {
		return 0, err
	}
	answers, err := g.socket.Execute(nfnetlink(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETGEN, 0, unix.AF_UNSPEC, 0, nil))
	if err != nil {
		return 0, err
	}
	const header = 4 // struct nfgenmsg
	for _, m := range answers {
		if len(m.Data) < header {
			continue
		}
		attributes, err := netlink.NewAttributeDecoder(m.Data[header:])
		if err != nil {
			return 0, err
		}
		attributes.ByteOrder = binary.BigEndian
		for attributes.Next() {
			if attributes.Type() == unix.NFTA_GEN_ID {
				return attributes.Uint32(), attributes.Err()
			}
		}
	}
	return 0, errors.New("the kernel does not tell")
}

func (g *generations) close() error {
	if g.socket == nil {
		return nil
	}
	err := g.socket.Close()
	g.socket = nil
	return err
}
