package igd

import (
	"errors"
	"fmt"

	"github.com/portreeve/portreeve/lease"
)

// code is the error code of a UPnP fault. The same number may mean something else in another service: those of
// WANIPv6FirewallControl are told apart by ofPinholes, which does not go over the wire.
type code int

const ofPinholes code = 1000

// number is what goes over the wire.
func (c code) number() int { return int(c % ofPinholes) }

// Generic codes (UDA 1.1, table 3-3).
const (
	invalidAction        code = 401
	invalidArgs          code = 402
	invalidVar           code = 404 // of QueryStateVariable only (UDA 1.0, section 3.3)
	actionFailed         code = 501
	valueInvalid         code = 600
	valueOutOfRange      code = 601
	optionalNotSupported code = 602
	notAuthorized        code = 606
)

// Codes of WANIPConnection (WANIPConnection:2, table 2-24 and the error tables of each action).
const (
	setupFailed           code = 704
	alreadyTerminated     code = 711
	indexInvalid          code = 713
	noSuchEntry           code = 714
	wildcardInSrcIP       code = 715
	wildcardInExtPort     code = 716
	conflict              code = 718
	noPortMapsAvailable   code = 728
	conflictWithOthers    code = 729
	portMappingNotFound   code = 730
	readOnly              code = 731
	wildcardInIntPort     code = 732
	inconsistentParameter code = 733
)

// Codes of WANIPv6FirewallControl (WANIPv6FirewallControl:1, section 2.4).
const (
	pinholeSpaceExhausted = ofPinholes + 701
	inboundPinholeRefused = ofPinholes + 703
	noSuchPinhole         = ofPinholes + 704
	protocolNotSupported  = ofPinholes + 705
	wildcardInternalPort  = ofPinholes + 706
	wildcardProtocol      = ofPinholes + 707
	wildcardInternal      = ofPinholes + 708
	noTrafficReceived     = ofPinholes + 709
)

// Codes of Layer3Forwarding.
const (
	invalidDeviceUUID code = 720
	invalidServiceID  code = 721
)

// String returns the errorDescription that the specifications give. Some clients look for parts of it.
func (c code) String() string {
	switch c {
	case invalidAction:
		return "Invalid Action"
	case invalidArgs:
		return "Invalid Args"
	case invalidVar:
		return "Invalid Var"
	case actionFailed:
		return "Action Failed"
	case valueInvalid:
		return "Argument Value Invalid"
	case valueOutOfRange:
		return "Argument Value Out of Range"
	case optionalNotSupported:
		return "Optional Action Not Implemented"
	case notAuthorized:
		return "Action not authorized"
	case setupFailed:
		return "ConnectionSetupFailed"
	case alreadyTerminated:
		return "ConnectionAlreadyTerminated"
	case indexInvalid:
		return "SpecifiedArrayIndexInvalid"
	case noSuchEntry:
		return "NoSuchEntryInArray"
	case wildcardInSrcIP, wildcardInternal:
		return "WildCardNotPermittedInSrcIP"
	case wildcardInExtPort:
		return "WildCardNotPermittedInExtPort"
	case conflict:
		return "ConflictInMappingEntry"
	case noPortMapsAvailable:
		return "NoPortMapsAvailable"
	case conflictWithOthers:
		return "ConflictWithOtherMechanisms"
	case portMappingNotFound:
		return "PortMappingNotFound"
	case readOnly:
		return "ReadOnly"
	case wildcardInIntPort:
		return "WildCardNotPermittedInIntPort"
	case inconsistentParameter:
		return "InconsistentParameters"
	case invalidDeviceUUID:
		return "InvalidDeviceUUID"
	case invalidServiceID:
		return "InvalidServiceID"
	case pinholeSpaceExhausted:
		return "PinholeSpaceExhausted"
	case inboundPinholeRefused:
		return "InboundPinholeNotAllowed"
	case noSuchPinhole:
		return "NoSuchEntry"
	case protocolNotSupported:
		return "ProtocolNotSupported"
	case wildcardInternalPort:
		return "InternalPortWildcardingNotAllowed"
	case wildcardProtocol:
		return "ProtocolWildcardingNotAllowed"
	case noTrafficReceived:
		return "NoTrafficReceived"
	default:
		return "Error"
	}
}

// Error makes a code an error, so that an action can return it.
func (c code) Error() string { return fmt.Sprintf("%d %s", c.number(), c.String()) }

// byVersion is what is answered to callers of version 1 and of version 2 of a service.
type byVersion [2]code

func (v byVersion) of(version int) code { return v[min(max(version, 1), 2)-1] }

// both is the same code for every version.
func both(c code) byVersion { return byVersion{c, c} }

// refusal translates an error of the lease manager into the code for an action. Version 1 knows fewer codes, and
// its clients act on few of them: on 718 they try another port, and on 501 some do. Codes of version 2 are kept
// from them, except 606, which no rereading of the request can help against.
func refusal(action string, version int, err error) code {
	rows := []struct {
		err         error
		add, addAny byVersion // AddPortMapping, AddAnyPortMapping
		del, delAll byVersion // DeletePortMapping, DeletePortMappingRange
		pinhole     code      // all of WANIPv6FirewallControl
	}{
		{
			lease.ErrInvalid,
			both(invalidArgs), both(invalidArgs),
			both(invalidArgs), both(invalidArgs),
			invalidArgs,
		},
		{ // NewProtocol out of its list is 601 since version 2; before, the argument is just wrong.
			lease.ErrProtocol,
			byVersion{invalidArgs, valueOutOfRange},
			byVersion{invalidArgs, valueOutOfRange},
			byVersion{invalidArgs, valueOutOfRange},
			byVersion{invalidArgs, valueOutOfRange},
			protocolNotSupported,
		},
		{ // Trying other ports would not help, so version 1 gets the truth as well. What one may not delete
			// does not exist for version 1, and is passed over in a range.
			lease.ErrNotAuthorized,
			both(notAuthorized), both(notAuthorized),
			byVersion{noSuchEntry, notAuthorized},
			both(portMappingNotFound),
			notAuthorized,
		},
		{
			lease.ErrThirdParty,
			both(notAuthorized), both(notAuthorized),
			byVersion{noSuchEntry, notAuthorized},
			both(portMappingNotFound),
			notAuthorized,
		},
		{ // Another port helps: 718 makes a client of version 1 try one. For AddAny no port is left.
			lease.ErrPort,
			byVersion{conflict, notAuthorized},
			byVersion{actionFailed, noPortMapsAvailable},
			both(actionFailed), both(actionFailed),
			notAuthorized,
		},
		{
			lease.ErrReserved,
			byVersion{conflict, conflictWithOthers},
			byVersion{actionFailed, conflictWithOthers},
			both(actionFailed), both(actionFailed),
			notAuthorized,
		},
		{ // WANIPConnection:2 never lets AddAny answer 718.
			lease.ErrConflict,
			both(conflict),
			byVersion{actionFailed, noPortMapsAvailable},
			both(actionFailed), both(actionFailed),
			pinholeSpaceExhausted,
		},
		{ // Not 718 for version 1: a client would walk through all ports, each of them refused.
			lease.ErrQuota,
			byVersion{actionFailed, noPortMapsAvailable},
			byVersion{actionFailed, noPortMapsAvailable},
			both(actionFailed), both(actionFailed),
			pinholeSpaceExhausted,
		},
		{
			lease.ErrFull,
			byVersion{actionFailed, noPortMapsAvailable},
			byVersion{actionFailed, noPortMapsAvailable},
			both(actionFailed), both(actionFailed),
			pinholeSpaceExhausted,
		},
		{ // A mapping that PCP guards with a nonce; UPnP has none to show.
			lease.ErrNonce,
			byVersion{conflict, conflictWithOthers},
			byVersion{actionFailed, conflictWithOthers},
			byVersion{noSuchEntry, notAuthorized},
			both(portMappingNotFound),
			notAuthorized,
		},
		{
			lease.ErrNotFound,
			both(actionFailed), both(actionFailed),
			both(noSuchEntry), both(portMappingNotFound),
			noSuchPinhole,
		},
		{lease.ErrUnavailable, both(actionFailed), both(actionFailed), both(actionFailed), both(actionFailed), actionFailed},
		{lease.ErrStopping, both(actionFailed), both(actionFailed), both(actionFailed), both(actionFailed), actionFailed},
	}
	for _, row := range rows {
		if !errors.Is(err, row.err) {
			continue
		}
		switch action {
		case addPortMapping:
			return row.add.of(version)
		case addAnyPortMapping:
			return row.addAny.of(version)
		case deletePortMapping:
			return row.del.of(version)
		case deletePortMappingRange:
			return row.delAll.of(version)
		case addPinhole, updatePinhole, deletePinhole:
			return row.pinhole
		}
	}
	return actionFailed // a request that ran out of time, or was cancelled
}
