package pcp

import (
	"fmt"
	"net/netip"
	"time"
)

// Opcode says what a message of PCP is about (RFC 6887, sections 7.1 and 19.2).
type Opcode uint8

// The opcodes that this package knows.
const (
	OpcodeAnnounce Opcode = 0 // RFC 6887, section 14.1
	OpcodeMap      Opcode = 1 // RFC 6887, section 11
	OpcodePeer     Opcode = 2 // RFC 6887, section 12
)

// String returns the name in the registry, or the number of an opcode that this package does not know.
func (o Opcode) String() string {
	switch o {
	case OpcodeAnnounce:
		return "ANNOUNCE"
	case OpcodeMap:
		return "MAP"
	case OpcodePeer:
		return "PEER"
	default:
		return fmt.Sprintf("opcode %d", uint8(o))
	}
}

// Result is a result code of PCP (RFC 6887, section 7.4).
type Result uint8

// The result codes of RFC 6887. Those of its extensions are for options and opcodes that this package does not know.
const (
	ResultSuccess               Result = 0
	ResultUnsuppVersion         Result = 1
	ResultNotAuthorized         Result = 2
	ResultMalformedRequest      Result = 3
	ResultUnsuppOpcode          Result = 4
	ResultUnsuppOption          Result = 5 // only for options that must be processed
	ResultMalformedOption       Result = 6
	ResultNetworkFailure        Result = 7 // such as no external address yet
	ResultNoResources           Result = 8 // of the whole system, not only for this client
	ResultUnsuppProtocol        Result = 9
	ResultUserExQuota           Result = 10
	ResultCannotProvideExternal Result = 11 // only if just this external address or port was to be had
	ResultAddressMismatch       Result = 12 // there is a NAT between client and server
	ResultExcessiveRemotePeers  Result = 13 // only for filters
)

// String returns the name in the registry, or the number of a code that this package does not know.
func (r Result) String() string {
	names := [...]string{
		"SUCCESS", "UNSUPP_VERSION", "NOT_AUTHORIZED", "MALFORMED_REQUEST", "UNSUPP_OPCODE", "UNSUPP_OPTION",
		"MALFORMED_OPTION", "NETWORK_FAILURE", "NO_RESOURCES", "UNSUPP_PROTOCOL", "USER_EX_QUOTA",
		"CANNOT_PROVIDE_EXTERNAL", "ADDRESS_MISMATCH", "EXCESSIVE_REMOTE_PEERS",
	}
	if int(r) < len(names) {
		return names[r]
	}
	return fmt.Sprintf("result %d", uint8(r))
}

// meaning says for people what a server refuses a request for.
func (r Result) meaning() string {
	texts := [...]string{
		"it is granted",
		"it does not speak this version",
		"not permitted, or made with another nonce",
		"it cannot read the request",
		"it does not know this request",
		"it does not know an option of the request",
		"it cannot read an option of the request",
		"its line is down, or has no address",
		"it has nothing left to give at the moment",
		"it cannot map this protocol, or not all of its ports",
		"this device has as many mappings as it may have",
		"another has the wanted port or address, or nobody may have it",
		"the request has come through a NAT: it was sent from another address than it says",
		"there are more filters than it can take",
	}
	if int(r) < len(texts) {
		return texts[r]
	}
	return "a reason that this program does not know"
}

// How long a client shall not repeat a request that was refused: until it may have become a matter of time, or as long
// as nobody changes anything (RFC 6887, section 7.4).
const (
	shortError = 30 * time.Second
	longError  = 30 * time.Minute
)

// ErrorLifetime is how long an error lasts if the server knows no better (RFC 6887, section 7.4). That of
// [ResultCannotProvideExternal] depends on why.
func (r Result) ErrorLifetime() time.Duration {
	switch r {
	case ResultSuccess:
		return 0
	case ResultNetworkFailure, ResultNoResources, ResultUserExQuota, ResultCannotProvideExternal:
		return shortError
	default:
		return longError
	}
}

// RequestError is a request of PCP that cannot be read and is to be answered with an error.
type RequestError struct {
	Result Result // [ResultMalformedRequest] or [ResultMalformedOption]
	Why    string

	// Client is the address in the header; invalid if not even the header can be relied on. A wrong one is told before
	// anything is said of the options (RFC 6887, section 8.2).
	Client netip.Addr
}

// Error says what is wrong.
func (e *RequestError) Error() string { return fmt.Sprintf("%s: %s", e.Result, e.Why) }
