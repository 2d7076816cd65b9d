package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// miniupnpd is the daemon of Debian's packages miniupnpd-iptables or miniupnpd-nftables, on a router with the chains
// that these packages make.
type miniupnpd struct {
	home  *house
	path  string // of the program
	rules technique
	state string // folder, on a real disk
}

// What is not the default: NAT-PMP, a fixed port, leases that survive a restart, and the order to serve each host for
// itself only, which is portreeve's default.
const miniupnpdConfig = `ext_ifname=wan0
listening_ip=br-lan
port=5000
enable_natpmp=yes
enable_upnp=yes
secure_mode=yes
system_uptime=yes
uuid=2b9a3c7e-8d14-4f6a-9c55-e07d1ab34f02
lease_file=%s
`

// byProtocolUpTo is how many leases miniupnpd makes itself where they shall be present. More of them would take it
// minutes; then its rules are made for it.
const byProtocolUpTo = 1000

func (m *miniupnpd) binary() string { return m.path }

func (m *miniupnpd) file(name string) string { return filepath.Join(m.state, name) }

// store writes its lease file, in its format: protocol, external port, host, internal port, end, description.
func (m *miniupnpd) store(leases []mapping) error {
	var text strings.Builder
	end := time.Now().Add(24 * time.Hour).Unix()
	for _, l := range leases {
		fmt.Fprintf(&text, "UDP:%[1]d:%[2]s:%[1]d:%[3]d:%[4]s\n", l.port, l.host, end, description(l))
	}
	return os.WriteFile(m.file("leases"), []byte(text.String()), 0o600)
}

// description is what miniupnpd notes of a lease made by NAT-PMP.
func description(l mapping) string { return fmt.Sprintf("NAT-PMP %d udp", l.port) }

func (m *miniupnpd) place(ctx context.Context, leases []mapping) error {
	if len(leases) <= byProtocolUpTo {
		return m.store(leases)
	}
	if err := m.store(nil); err != nil {
		return err
	}
	if m.rules == byNFTables {
		return m.home.Router.Do(func() error { return placeNFT(leases) })
	}
	return placeIPTables(ctx, m.home, leases)
}

// launch starts it as systemd does: it goes into the background by itself.
func (m *miniupnpd) launch(ctx context.Context) error {
	config := fmt.Sprintf(miniupnpdConfig, m.file("leases"))
	if err := os.WriteFile(m.file("conf"), []byte(config), 0o600); err != nil {
		return err
	}
	if err := os.Remove(m.file("pid")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	_, err := m.home.Router.Output(ctx, m.path, "-f", m.file("conf"), "-P", m.file("pid"))
	return err
}

func (m *miniupnpd) pid() (int, error) {
	text, err := os.ReadFile(m.file("pid"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

func (m *miniupnpd) halt() error {
	pid, err := m.pid()
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(kill(pid), os.Remove(m.file("pid")))
}

func (m *miniupnpd) flush(ctx context.Context) error { return m.home.packaged(ctx, m.rules) }

// placeIPTables makes the rules that miniupnpd-iptables has for leases.
func placeIPTables(ctx context.Context, h *house, leases []mapping) error {
	var nat, filter strings.Builder
	for _, l := range leases {
		fmt.Fprintf(&nat, "-A MINIUPNPD -p udp -m udp --dport %d -j DNAT --to-destination %s:%[1]d\n", l.port, l.host)
		fmt.Fprintf(&nat, "-A MINIUPNPD-POSTROUTING -s %s -p udp -m udp --sport %d -j MASQUERADE --to-ports %[2]d\n", l.host, l.port)
		fmt.Fprintf(&filter, "-A MINIUPNPD -d %s -p udp -m udp --dport %d -j ACCEPT\n", l.host, l.port)
	}
	text := "*nat\n" + nat.String() + "COMMIT\n*filter\n" + filter.String() + "COMMIT\n"
	return restore(ctx, h, text, "--noflush")
}

// placeNFT makes the rules that miniupnpd-nftables has for leases, expression by expression: it does not know others
// as its own. It must be called in the network of the router.
func placeNFT(leases []mapping) error {
	wan, err := interfaceIndex("wan0")
	if err != nil {
		return err
	}
	table := &nftables.Table{Name: "filter", Family: nftables.TableFamilyINet}
	chain := func(name string) *nftables.Chain { return &nftables.Chain{Table: table, Name: name} }
	conn, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return err
	}
	// More rules at once would overflow the socket by their acknowledgements.
	const batch = 25
	for i, l := range leases {
		conn.AddRule(&nftables.Rule{
			Table: table, Chain: chain("prerouting_miniupnpd"), Exprs: wayIn(wan, l), UserData: []byte(description(l)),
		})
		conn.AddRule(&nftables.Rule{
			Table: table, Chain: chain("miniupnpd"), Exprs: wayThrough(wan, l), UserData: []byte(description(l)),
		})
		if (i+1)%batch == 0 || i == len(leases)-1 {
			if err := conn.Flush(); err != nil {
				return errors.Join(err, conn.CloseLasting())
			}
		}
	}
	return conn.CloseLasting()
}

func wayIn(wan uint32, l mapping) []expr.Any {
	return append(append(append(fromWAN(wan), field(expr.PayloadBaseNetworkHeader, 9, []byte{unix.IPPROTO_UDP})...),
		field(expr.PayloadBaseTransportHeader, 2, binaryutil.BigEndian.PutUint16(l.port))...),
		&expr.Immediate{Register: 1, Data: address(l.host)},
		&expr.Immediate{Register: 2, Data: binaryutil.BigEndian.PutUint16(l.port)},
		&expr.NAT{
			Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4,
			RegAddrMin: 1, RegAddrMax: 1, RegProtoMin: 2, RegProtoMax: 2, Specified: true,
		})
}

func wayThrough(wan uint32, l mapping) []expr.Any {
	return append(append(append(append(fromWAN(wan),
		field(expr.PayloadBaseTransportHeader, 2, binaryutil.BigEndian.PutUint16(l.port))...),
		field(expr.PayloadBaseNetworkHeader, 16, address(l.host))...),
		field(expr.PayloadBaseNetworkHeader, 9, []byte{unix.IPPROTO_UDP})...),
		&expr.Verdict{Kind: expr.VerdictAccept})
}

func fromWAN(wan uint32) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIF, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(wan)},
	}
}

// field compares a part of a header.
func field(base expr.PayloadBase, offset uint32, want []byte) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: base, Offset: offset, Len: uint32(len(want))},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: want},
	}
}

func address(a netip.Addr) []byte { return a.AsSlice() }
