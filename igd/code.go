package igd

import (
	"errors"
	"fmt"

	"github.com/portreeve/portreeve/lease"
)

// code is the error code of a UPnP fault. The same number may mean something else in another service; the names
// below are those of the services that we have.
type code int

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
	wildcardInExtPort     code = 716
	conflict              code = 718
	noPortMapsAvailable   code = 728
	conflictWithOthers    code = 729
	portMappingNotFound   code = 730
	readOnly              code = 731
	wildcardInIntPort     code = 732
	inconsistentParameter code = 733
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
	default:
		return "Error"
	}
}

// Error makes a code an error, so that an action can return it.
func (c code) Error() string { return fmt.Sprintf("%d %s", int(c), c.String()) }

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
	}{
		{
			lease.ErrInvalid,
			both(invalidArgs), both(invalidArgs),
			both(invalidArgs), both(invalidArgs),
		},
		{ // NewProtocol out of its list is 601 since version 2; before, the argument is just wrong.
			lease.ErrProtocol,
			byVersion{invalidArgs, valueOutOfRange},
			byVersion{invalidArgs, valueOutOfRange},
			byVersion{invalidArgs, valueOutOfRange},
			byVersion{invalidArgs, valueOutOfRange},
		},
		{ // Trying other ports would not help, so version 1 gets the truth as well. What one may not delete
			// does not exist for version 1, and is passed over in a range.
			lease.ErrNotAuthorized,
			both(notAuthorized), both(notAuthorized),
			byVersion{noSuchEntry, notAuthorized},
			both(portMappingNotFound),
		},
		{
			lease.ErrThirdParty,
			both(notAuthorized), both(notAuthorized),
			byVersion{noSuchEntry, notAuthorized},
			both(portMappingNotFound),
		},
		{ // Another port helps: 718 makes a client of version 1 try one. For AddAny no port is left.
			lease.ErrPort,
			byVersion{conflict, notAuthorized},
			byVersion{actionFailed, noPortMapsAvailable},
			both(actionFailed), both(actionFailed),
		},
		{
			lease.ErrReserved,
			byVersion{conflict, conflictWithOthers},
			byVersion{actionFailed, conflictWithOthers},
			both(actionFailed), both(actionFailed),
		},
		{ // WANIPConnection:2 never lets AddAny answer 718.
			lease.ErrConflict,
			both(conflict),
			byVersion{actionFailed, noPortMapsAvailable},
			both(actionFailed), both(actionFailed),
		},
		{ // Not 718 for version 1: a client would walk through all ports, each of them refused.
			lease.ErrQuota,
			byVersion{actionFailed, noPortMapsAvailable},
			byVersion{actionFailed, noPortMapsAvailable},
			both(actionFailed), both(actionFailed),
		},
		{
			lease.ErrFull,
			byVersion{actionFailed, noPortMapsAvailable},
			byVersion{actionFailed, noPortMapsAvailable},
			both(actionFailed), both(actionFailed),
		},
		{ // A mapping that PCP guards with a nonce; UPnP has none to show.
			lease.ErrNonce,
			byVersion{conflict, conflictWithOthers},
			byVersion{actionFailed, conflictWithOthers},
			byVersion{noSuchEntry, notAuthorized},
			both(portMappingNotFound),
		},
		{
			lease.ErrNotFound,
			both(actionFailed), both(actionFailed),
			both(noSuchEntry), both(portMappingNotFound),
		},
		{lease.ErrUnavailable, both(actionFailed), both(actionFailed), both(actionFailed), both(actionFailed)},
		{lease.ErrStopping, both(actionFailed), both(actionFailed), both(actionFailed), both(actionFailed)},
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
		}
	}
	return actionFailed // a request that ran out of time, or was cancelled
}
