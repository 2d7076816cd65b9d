package pcp

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// ErrNoAnswer is a server that says nothing, as often as it is asked.
var ErrNoAnswer = errors.New("no answer")

// ResultError is what a server of PCP refuses a request with.
type ResultError struct {
	Result   Result
	Lifetime time.Duration // how long it is of no use to ask again
}

// Error names the result.
func (e *ResultError) Error() string {
	return fmt.Sprintf("the server answers %s: %s (no use to ask again within %s)", e.Result, e.Result.meaning(), e.Lifetime)
}

// PMPResultError is what a server of NAT-PMP refuses a request with.
type PMPResultError struct{ Result PMPResult }

// Error names the result.
func (e *PMPResultError) Error() string { return fmt.Sprintf("the server answers: %s", e.Result) }

// VersionError is a server that does not speak the version of the request.
type VersionError struct{ Version uint8 } // that it speaks instead: 0 is NAT-PMP, 2 is PCP

// Error names the version.
func (e *VersionError) Error() string {
	return fmt.Sprintf("the server speaks version %d instead (%d is NAT-PMP, %d is PCP)", e.Version, versionPMP, versionPCP)
}

// ClientConfig is what a [Client] is made of.
type ClientConfig struct {
	Conn net.Conn       // connected to port 5351 of the server, so that nobody else is heard
	PCP  Retransmission // zero: that of the RFC
	PMP  Retransmission // zero: that of the RFC
}

// Client asks one server, one request after the other. Its methods may be called from any goroutine. They return when
// there is an answer, when the server was asked often enough ([ErrNoAnswer]), or when ctx ends; that a server has no
// such port shows at once as an error of the connection. An answer that refuses is an error: [*ResultError],
// [*PMPResultError] or [*VersionError].
type Client struct {
	conn net.Conn
	pcp  Retransmission
	pmp  Retransmission
	turn chan struct{} // holds a value while a request is under way
}

// NewClient returns a client. The connection stays the caller's, who closes it when nothing is under way.
func NewClient(c ClientConfig) *Client {
	if c.PCP == (Retransmission{}) {
		c.PCP = DefaultRetransmission()
	}
	if c.PMP == (Retransmission{}) {
		c.PMP = DefaultPMPRetransmission()
	}
	return &Client{conn: c.Conn, pcp: c.PCP, pmp: c.PMP, turn: make(chan struct{}, 1)}
}

// NewNonce returns a nonce for a new mapping. It is kept for renewals and for the deletion (RFC 6887, section 11.2).
func NewNonce() (n lease.Nonce) {
	rand.Read(n[:]) // never fails: crypto/rand ends the program instead
	return n
}

// Announce asks whether the server is there.
func (c *Client) Announce(ctx context.Context) (AnnounceResponse, error) {
	return ask[AnnounceResponse](ctx, c, AnnounceRequest{RequestHeader: RequestHeader{Client: c.addr()}})
}

// Map asks for a mapping, renews it, or with lifetime 0 deletes it. Where the request says nothing of its client or of
// the external address, it is from here and to any address.
func (c *Client) Map(ctx context.Context, m MapRequest) (MapResponse, error) {
	m.Client, m.Suggested = c.fill(m.Client, m.Suggested)
	return ask[MapResponse](ctx, c, m)
}

// Peer asks for the mapping towards a remote peer, with the same defaults as [Client.Map].
func (c *Client) Peer(ctx context.Context, m PeerRequest) (PeerResponse, error) {
	m.Client, m.Suggested = c.fill(m.Client, m.Suggested)
	return ask[PeerResponse](ctx, c, m)
}

// PMPAddress asks for the external address by NAT-PMP.
func (c *Client) PMPAddress(ctx context.Context) (PMPAddressResponse, error) {
	return ask[PMPAddressResponse](ctx, c, PMPAddressRequest{})
}

// PMPMap asks for a mapping by NAT-PMP, renews it, or with lifetime 0 deletes it.
func (c *Client) PMPMap(ctx context.Context, m PMPMapRequest) (PMPMapResponse, error) {
	return ask[PMPMapResponse](ctx, c, m)
}

func (c *Client) fill(client netip.Addr, suggested netip.AddrPort) (netip.Addr, netip.AddrPort) {
	if !client.IsValid() {
		client = c.addr()
	}
	if !suggested.Addr().IsValid() {
		suggested = netip.AddrPortFrom(anyAddr(client), suggested.Port())
	}
	return client, suggested
}

// addr is what the server sees as our address, if there is no NAT in between.
func (c *Client) addr() netip.Addr {
	src, _ := source(c.conn.LocalAddr())
	return src.Addr().WithZone("")
}

// anyAddr is the address that stands for any of a family (RFC 6887, section 5).
func anyAddr(family netip.Addr) netip.Addr {
	if family.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// ask returns the response if it grants the request.
func ask[R Response](ctx context.Context, c *Client, request Request) (R, error) {
	var none R
	response, err := c.Ask(ctx, request)
	if err != nil {
		return none, err
	}
	if err := refusedWith(response); err != nil {
		return none, err
	}
	granted, ok := response.(R)
	if !ok {
		return none, fmt.Errorf("%T is answered with %T", request, response)
	}
	return granted, nil
}

// refusedWith is what a response refuses with, nil if it grants.
func refusedWith(response Response) error {
	var header ResponseHeader
	result := PMPSuccess
	switch m := response.(type) {
	case UnsupportedVersionResponse:
		return &VersionError{m.Version}
	case PMPUnsupportedVersionResponse:
		return &VersionError{versionPMP}
	case PMPUnsupportedOpcodeResponse:
		result = PMPUnsupportedOpcode
	case PMPAddressResponse:
		result = m.Result
	case PMPMapResponse:
		result = m.Result
	case AnnounceResponse:
		header = m.ResponseHeader
	case MapResponse:
		header = m.ResponseHeader
	case PeerResponse:
		header = m.ResponseHeader
	case UnknownResponse:
		header = m.ResponseHeader
	}
	if result != PMPSuccess {
		return &PMPResultError{result}
	}
	if header.Result != ResultSuccess {
		return &ResultError{header.Result, header.Lifetime}
	}
	return nil
}

// Ask sends a request, again and again, and returns the response to it, also one that refuses. Other packets that come
// meanwhile are ignored.
func (c *Client) Ask(ctx context.Context, request Request) (Response, error) {
	packet, err := Marshal(request)
	if err != nil {
		return nil, err
	}
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	answers, failed := make(chan Response, 1), make(chan error, 1)
	var reading sync.WaitGroup
	reading.Go(func() { c.read(request, answers, failed) })
	defer func() {
		// The connection is used again: whoever still waits for it is woken, and then it has no deadline any more.
		_ = c.conn.SetReadDeadline(time.Unix(1, 0))
		reading.Wait()
		_ = c.conn.SetReadDeadline(time.Time{})
	}()
	return c.repeat(ctx, packet, c.timing(request), answers, failed)
}

// repeat sends a packet until something happens.
func (c *Client) repeat(ctx context.Context, packet []byte, r Retransmission, answers <-chan Response, failed <-chan error) (Response, error) {
	wait := time.Duration(0)
	for sent := 1; ; sent++ {
		if _, err := c.conn.Write(packet); err != nil {
			return nil, c.failure(err)
		}
		wait = r.next(wait, mathrand.Float64())
		timer := time.NewTimer(wait)
		select {
		case response := <-answers:
			timer.Stop()
			return response, nil
		case err := <-failed:
			timer.Stop()
			return nil, c.failure(err)
		case <-ctx.Done():
			timer.Stop()
			return nil, c.failure(fmt.Errorf("%w: %w", ErrNoAnswer, context.Cause(ctx)))
		case <-timer.C:
			if sent == r.Count {
				return nil, c.failure(fmt.Errorf("%w, asked %d times", ErrNoAnswer, sent))
			}
		}
	}
}

func (c *Client) failure(err error) error { return fmt.Errorf("ask %s: %w", c.conn.RemoteAddr(), err) }

// read waits for the response to a request. It ends with it, or when the connection fails or is given a deadline.
func (c *Client) read(request Request, answers chan<- Response, failed chan<- error) {
	buffer := make([]byte, MaxMessage+1)
	for {
		n, err := c.conn.Read(buffer)
		if err != nil {
			failed <- err
			return
		}
		if response, err := ParseResponse(buffer[:n]); err == nil && isAnswer(request, response) {
			answers <- response
			return
		}
	}
}

// timing is how often a request is sent.
func (c *Client) timing(request Request) Retransmission {
	switch request.(type) {
	case PMPAddressRequest, PMPMapRequest, PMPUnknownRequest:
		return c.pmp
	default:
		return c.pcp
	}
}

// isAnswer tells whether a response is about a request (RFC 6887, sections 8.3, 11.4 and 12.4). That the version is not
// known is an answer to everything.
func isAnswer(request Request, response Response) bool {
	switch response.(type) {
	case UnsupportedVersionResponse, PMPUnsupportedVersionResponse:
		return true
	}
	switch q := request.(type) {
	case AnnounceRequest:
		_, ok := response.(AnnounceResponse)
		return ok
	case MapRequest:
		a, ok := response.(MapResponse)
		return ok && a.Nonce == q.Nonce && a.Protocol == q.Protocol && a.InternalPort == q.InternalPort
	case PeerRequest:
		a, ok := response.(PeerResponse)
		return ok && a.Nonce == q.Nonce && a.Protocol == q.Protocol && a.InternalPort == q.InternalPort && a.Peer == q.Peer
	case UnknownRequest:
		a, ok := response.(UnknownResponse)
		return ok && a.Opcode == q.Opcode
	case PMPAddressRequest:
		_, ok := response.(PMPAddressResponse)
		return ok
	case PMPMapRequest:
		a, ok := response.(PMPMapResponse)
		return ok && a.Protocol == q.Protocol && a.InternalPort == q.InternalPort
	case PMPUnknownRequest:
		a, ok := response.(PMPUnsupportedOpcodeResponse)
		return ok && a.Opcode == q.Opcode
	default: // OtherVersion: what its answers look like is not known
		return false
	}
}
