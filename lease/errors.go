package lease

import (
	"errors"
	"fmt"
)

// The answers of [Manager] other than a lease. Callers test with [errors.Is]; each protocol has one table
// from these to its codes on the wire. The text that wraps them is for people and names the values.
var (
	// ErrInvalid: a value of the request makes no sense (an internal port 0, an address that is not a host's).
	ErrInvalid = errors.New("invalid request")
	// ErrProtocol: the transport protocol cannot be mapped.
	ErrProtocol = errors.New("unsupported protocol")
	// ErrNotAuthorized: the policy does not let this client have this mapping.
	ErrNotAuthorized = errors.New("not authorized")
	// ErrThirdParty: a client asked for a mapping that belongs, or would belong, to another host.
	ErrThirdParty = errors.New("not authorized for another host")
	// ErrPort: the policy does not allow this external port to anybody.
	ErrPort = errors.New("external port not allowed")
	// ErrReserved: the router itself serves this port.
	ErrReserved = errors.New("port in use by the router")
	// ErrConflict: another lease holds this external port.
	ErrConflict = errors.New("conflict with another mapping")
	// ErrQuota: the device has as many mappings as it may.
	ErrQuota = errors.New("too many mappings for this device")
	// ErrFull: the table is full, or no external port is free.
	ErrFull = errors.New("no mapping available")
	// ErrNonce: a PCP request names an existing mapping but not its nonce.
	ErrNonce = errors.New("wrong mapping nonce")
	// ErrNotFound: no such lease.
	ErrNotFound = errors.New("no such mapping")
	// ErrUnavailable: store or firewall failed. Nothing was opened or changed; for what was to be closed see
	// [Manager.CloseID]. Asking again later may help.
	ErrUnavailable = errors.New("temporarily unavailable")
	// ErrWaiting: the owner is asked. To a client it is a kind of [ErrUnavailable]: it may try again later.
	ErrWaiting = fmt.Errorf("%w: waits for the owner", ErrUnavailable)
	// ErrPaused: the owner lets nothing new be opened for now. To a client it is a kind of [ErrUnavailable], too.
	ErrPaused = fmt.Errorf("%w: paused", ErrUnavailable)
	// ErrChanged: somebody else has changed the rule that the owner wants to change.
	ErrChanged = errors.New("changed meanwhile")
	// ErrStopping: the daemon is about to end; the request was not looked at.
	ErrStopping = errors.New("shutting down")
)

// Errors returns all sentinel errors that a client's request may get, so that a protocol's test can prove that its table has
// a row for each.
func Errors() []error {
	return []error{
		ErrInvalid, ErrProtocol, ErrNotAuthorized, ErrThirdParty, ErrPort, ErrReserved, ErrConflict,
		ErrQuota, ErrFull, ErrNonce, ErrNotFound, ErrUnavailable, ErrWaiting, ErrPaused, ErrStopping,
	}
}
