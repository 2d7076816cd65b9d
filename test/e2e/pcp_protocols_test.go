package e2e_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/pcp"
	"github.com/portreeve/portreeve/test/lab"
)

// checksums is the setting that makes the kernel leave packets alone that seem to be damaged.
const checksums = "net/netfilter/nf_conntrack_checksum"

// Protocols beside TCP and UDP are mapped where the kernel can tell their ports, and their packets are translated in both
// directions; over IPv6 they are let in. What the kernel knows nothing of is UNSUPP_PROTOCOL, and so is with iptables what
// that has no match for.
func TestPCPOtherProtocols(t *testing.T) {
	t.Parallel()
	inAll(t, func(t *testing.T, f flavour) {
		home, d := newHome(t, f, lab.DaemonOptions{})
		exchanges := map[lease.Protocol]func(from, to port) error{lease.SCTP: associate, lease.UDPLite: greet}
		for _, protocol := range []lease.Protocol{lease.DCCP, lease.SCTP, lease.UDPLite} {
			var tracked []lease.Protocol
			err := home.Router.Do(func() (err error) {
				if err = home.Router.Sysctl(checksums, "0"); err == nil {
					tracked, err = firewall.Tracked(protocol)
				}
				return errors.Join(err, home.Router.Sysctl(checksums, "1"))
			})
			if err != nil {
				t.Fatal(err)
			}
			exchange := exchanges[protocol]
			for _, family := range families(home) {
				t.Run(protocol.String()+" over "+family.name, func(t *testing.T) {
					if err := home.Router.Sysctl(checksums, "1"); err != nil {
						t.Fatal(err)
					}
					client := pcpClient(t, home.LAN1, family.inside, family.router)
					outside := uint16(6000)
					if family.inside.Is6() {
						outside = 5000
					}
					request := mapRequest(protocol, 5000, outside, pcp.Filter{Prefix: netip.PrefixFrom(family.peers[0], family.peers[0].BitLen())})
					if protocol == lease.UDPLite {
						mustRefuse(t, client, request, pcp.ResultUnsuppProtocol) // the kernel takes its packets for damaged
						if err := home.Router.Sysctl(checksums, "0"); err != nil {
							t.Fatal(err)
						}
					}
					carried := f.backend == "nftables" || protocol == lease.SCTP
					if !carried || !slices.Contains(tracked, protocol) || exchange == nil {
						mustRefuse(t, client, request, pcp.ResultUnsuppProtocol)
						return
					}
					r := mustMap(t, client, request)
					if want := at(family.outside, outside); r.External != want {
						t.Fatalf("mapped to %s, want %s", r.External, want)
					}
					host := port{home.LAN1, protocol, at(family.inside, 5000), netip.AddrPort{}}
					peer := port{home.Internet, protocol, at(family.peers[0], 7000), r.External}
					stranger := port{home.Internet, protocol, at(family.peers[1], 7000), r.External}
					if err := exchange(peer, host); err != nil {
						t.Error(err)
					}
					if err := exchange(stranger, host); !errors.Is(err, os.ErrDeadlineExceeded) {
						t.Errorf("whom the filter does not name: %v, want silence", err)
					}
					request.Options = []pcp.Option{pcp.Filter{}}
					mustMap(t, client, request)
					lab.Eventually(t, within, "packets without a filter", func() error { return exchange(stranger, host) })
					if l := leaseAt(t, d, protocol.String(), outside); l.Via != lease.OriginPCP {
						t.Errorf("listed as %+v", l)
					}
					mustMap(t, client, deletion(request))
					stranger.local = at(stranger.local.Addr(), 7001) // a new connection
					if err := exchange(stranger, host); !errors.Is(err, os.ErrDeadlineExceeded) {
						t.Errorf("after the end: %v, want silence", err)
					}
				})
			}
		}
	})
}

// A mapping of UDP-Lite works for a host that has used the port before there was one.
func TestPCPUDPLiteFlowFromBefore(t *testing.T) {
	t.Parallel()
	f := flavours()[2]
	home, _ := newHome(t, f, lab.DaemonOptions{})
	if err := home.Router.Sysctl(checksums, "0"); err != nil {
		t.Fatal(err)
	}
	host := port{home.LAN1, lease.UDPLite, at(home.LAN1.Addr, 5000), at(home.Peers[0], 7000)}
	peer := port{home.Internet, lease.UDPLite, at(home.Peers[0], 7000), at(home.WAN, 6000)}
	if err := greet(host, port{home.Internet, lease.UDPLite, at(home.Peers[0], 7000), netip.AddrPort{}}); err != nil {
		t.Fatal(err)
	}
	mustMap(t, pcpClient4(t, home, home.LAN1), mapRequest(lease.UDPLite, 5000, 6000))
	lab.Eventually(t, within, "packets of the same peer", func() error { return greet(peer, host) })
}

// port is one end of an exchange.
type port struct {
	host        *lab.Host
	protocol    lease.Protocol
	local, peer netip.AddrPort // the second only of who begins
}

const (
	exchangeWithin = 2 * time.Second
	silentWithin   = 500 * time.Millisecond
)

// greet sends a datagram of UDP-Lite, which is answered. The answer has to come from where the first one went.
func greet(from, to port) error {
	a, err := from.liteSocket()
	if err != nil {
		return err
	}
	defer a.Close()
	b, err := to.liteSocket()
	if err != nil {
		return err
	}
	defer b.Close()
	if _, err := a.WriteTo([]byte("hello"), net.UDPAddrFromAddrPort(from.peer)); err != nil {
		return err
	}
	sender, err := hears(b, "hello", silentWithin)
	if err != nil {
		return err
	}
	if _, err := b.WriteTo([]byte("well met"), sender); err != nil {
		return err
	}
	answered, err := hears(a, "well met", exchangeWithin)
	if err == nil && answered.String() != from.peer.String() {
		return fmt.Errorf("answered by %s, asked was %s", answered, from.peer)
	}
	return err
}

func (p port) liteSocket() (conn net.PacketConn, err error) {
	err = p.host.Do(func() error {
		family, addr := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(p.local.Port()), Addr: p.local.Addr().As16()})
		if p.local.Addr().Is4() {
			family, addr = unix.AF_INET, &unix.SockaddrInet4{Port: int(p.local.Port()), Addr: p.local.Addr().As4()}
		}
		fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.IPPROTO_UDPLITE)
		if err != nil {
			return err
		}
		file := os.NewFile(uintptr(fd), "udplite")
		defer file.Close() // conn has its own descriptor
		if err := unix.Bind(fd, addr); err != nil {
			return err
		}
		conn, err = net.FilePacketConn(file)
		return err
	})
	return conn, err
}

func hears(c net.PacketConn, want string, within time.Duration) (net.Addr, error) {
	if err := c.SetReadDeadline(time.Now().Add(within)); err != nil {
		return nil, err
	}
	b := make([]byte, 100)
	n, from, err := c.ReadFrom(b)
	if err == nil && string(b[:n]) != want {
		err = fmt.Errorf("%s says %q, want %q", from, b[:n], want)
	}
	return from, err
}

// associate begins an association of SCTP (RFC 9260, section 5.1): INIT and INIT ACK, whose checksums have to be right on
// arrival. Raw sockets carry them, since few kernels have the protocol itself.
func associate(from, to port) error {
	a, err := from.rawSocket()
	if err != nil {
		return err
	}
	defer a.Close()
	b, err := to.rawSocket()
	if err != nil {
		return err
	}
	defer b.Close()
	const initChunk, initAck = 1, 2
	if err := sendSCTP(a, from.local.Port(), from.peer, initChunk, 0); err != nil {
		return err
	}
	sender, err := hearsSCTP(b, initChunk, to.local.Port(), silentWithin)
	if err != nil {
		return err
	}
	if sender != from.local {
		return fmt.Errorf("the host sees %s, want %s", sender, from.local)
	}
	if err := sendSCTP(b, to.local.Port(), sender, initAck, sctpTag); err != nil {
		return err
	}
	answered, err := hearsSCTP(a, initAck, from.local.Port(), exchangeWithin)
	if err == nil && answered != from.peer {
		return fmt.Errorf("answered by %s, asked was %s", answered, from.peer)
	}
	return err
}

func (p port) rawSocket() (net.PacketConn, error) {
	network := "ip4:132"
	if p.local.Addr().Is6() {
		network = "ip6:132"
	}
	var conn net.PacketConn
	err := p.host.Do(func() (err error) {
		conn, err = net.ListenPacket(network, p.local.Addr().String())
		return err
	})
	return conn, err
}

const sctpTag = 0x01020304

// sendSCTP sends a packet with one chunk of an initiation (RFC 9260, section 3.3.2).
func sendSCTP(c net.PacketConn, local uint16, to netip.AddrPort, chunk byte, tag uint32) error {
	b := binary.BigEndian.AppendUint16(nil, local)
	b = binary.BigEndian.AppendUint16(b, to.Port())
	b = binary.BigEndian.AppendUint32(b, tag)
	b = append(b, 0, 0, 0, 0) // the checksum
	b = append(b, chunk, 0, 0, 20)
	b = binary.BigEndian.AppendUint32(b, sctpTag)
	b = binary.BigEndian.AppendUint32(b, 65536) // window
	b = append(b, 0, 1, 0, 1)                   // streams
	b = binary.BigEndian.AppendUint32(b, 1)     // first sequence number
	copy(b[8:], sctpChecksum(b))
	_, err := c.WriteTo(b, &net.IPAddr{IP: to.Addr().AsSlice()})
	return err
}

// hearsSCTP waits for a packet with a chunk to a port.
func hearsSCTP(c net.PacketConn, chunk byte, local uint16, within time.Duration) (netip.AddrPort, error) {
	if err := c.SetReadDeadline(time.Now().Add(within)); err != nil {
		return netip.AddrPort{}, err
	}
	for {
		b := make([]byte, 200)
		n, from, err := c.ReadFrom(b)
		if err != nil {
			return netip.AddrPort{}, err
		}
		if b = b[:n]; len(b) < 16 || binary.BigEndian.Uint16(b[2:]) != local || b[12] != chunk {
			continue // of another exchange
		}
		sum := bytes.Clone(b[8:12])
		copy(b[8:], []byte{0, 0, 0, 0})
		if !bytes.Equal(sum, sctpChecksum(b)) {
			return netip.AddrPort{}, fmt.Errorf("from %s: the checksum is %x, want %x", from, sum, sctpChecksum(b))
		}
		addr, err := netip.ParseAddr(from.String())
		return netip.AddrPortFrom(addr, binary.BigEndian.Uint16(b)), err
	}
}

// sctpChecksum is that of RFC 9260, appendix A, of a packet whose field for it is zero.
func sctpChecksum(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(nil, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}
