package pcp_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/portreeve/portreeve/pcp"
)

// The numbers of the IANA registry "Port Control Protocol (PCP) Parameters", and of RFC 6886, section 3.5.
func TestNumbersAreThoseOfTheRegistry(t *testing.T) {
	check(t, map[pcp.Opcode]string{0: "ANNOUNCE", 1: "MAP", 2: "PEER", 3: "opcode 3", 127: "opcode 127"}, map[string]pcp.Opcode{
		"ANNOUNCE": pcp.OpcodeAnnounce, "MAP": pcp.OpcodeMap, "PEER": pcp.OpcodePeer,
	})
	check(t, map[pcp.Result]string{
		0: "SUCCESS", 1: "UNSUPP_VERSION", 2: "NOT_AUTHORIZED", 3: "MALFORMED_REQUEST", 4: "UNSUPP_OPCODE", 5: "UNSUPP_OPTION",
		6: "MALFORMED_OPTION", 7: "NETWORK_FAILURE", 8: "NO_RESOURCES", 9: "UNSUPP_PROTOCOL", 10: "USER_EX_QUOTA",
		11: "CANNOT_PROVIDE_EXTERNAL", 12: "ADDRESS_MISMATCH", 13: "EXCESSIVE_REMOTE_PEERS", 14: "result 14", 255: "result 255",
	}, map[string]pcp.Result{
		"SUCCESS": pcp.ResultSuccess, "UNSUPP_VERSION": pcp.ResultUnsuppVersion, "NOT_AUTHORIZED": pcp.ResultNotAuthorized,
		"MALFORMED_REQUEST": pcp.ResultMalformedRequest, "UNSUPP_OPCODE": pcp.ResultUnsuppOpcode, "UNSUPP_OPTION": pcp.ResultUnsuppOption,
		"MALFORMED_OPTION": pcp.ResultMalformedOption, "NETWORK_FAILURE": pcp.ResultNetworkFailure, "NO_RESOURCES": pcp.ResultNoResources,
		"UNSUPP_PROTOCOL": pcp.ResultUnsuppProtocol, "USER_EX_QUOTA": pcp.ResultUserExQuota,
		"CANNOT_PROVIDE_EXTERNAL": pcp.ResultCannotProvideExternal, "ADDRESS_MISMATCH": pcp.ResultAddressMismatch,
		"EXCESSIVE_REMOTE_PEERS": pcp.ResultExcessiveRemotePeers,
	})
	check(t, map[pcp.OptionCode]string{
		1: "THIRD_PARTY", 2: "PREFER_FAILURE", 3: "FILTER", 13: "option 13", 128: "DESCRIPTION", 129: "option 129", 130: "PORT_SET",
	}, map[string]pcp.OptionCode{
		"THIRD_PARTY": pcp.CodeThirdParty, "PREFER_FAILURE": pcp.CodePreferFailure, "FILTER": pcp.CodeFilter,
		"DESCRIPTION": pcp.CodeDescription, "PORT_SET": pcp.CodePortSet,
	})
	check(t, map[pcp.PMPResult]string{
		0: "success", 1: "unsupported version", 2: "not authorized", 3: "network failure", 4: "out of resources",
		5: "unsupported opcode", 6: "result 6",
	}, map[string]pcp.PMPResult{
		"success": pcp.PMPSuccess, "unsupported version": pcp.PMPUnsupportedVersion, "not authorized": pcp.PMPRefused,
		"network failure": pcp.PMPNetworkFailure, "out of resources": pcp.PMPOutOfResources, "unsupported opcode": pcp.PMPUnsupportedOpcode,
	})
}

// check compares the names of numbers, and the numbers of constants.
func check[N interface {
	comparable
	fmt.Stringer
}](t *testing.T, names map[N]string, constants map[string]N,
) {
	t.Helper()
	for number, name := range names {
		if got := number.String(); got != name {
			t.Errorf("%T %v is %q, want %q", number, number, got, name)
		}
	}
	for name, constant := range constants {
		if names[constant] != name {
			t.Errorf("the constant for %s has the number of %q", name, names[constant])
		}
	}
}

func TestWhichOptionsMayBeIgnored(t *testing.T) {
	for code, mandatory := range map[pcp.OptionCode]bool{0: true, 1: true, 127: true, 128: false, 130: false, 255: false} {
		if got := code.Mandatory(); got != mandatory {
			t.Errorf("%s must be processed: %t, want %t", code, got, mandatory)
		}
	}
}

func TestHowLongErrorsLast(t *testing.T) {
	const short, long = 30 * time.Second, 30 * time.Minute
	for result, want := range map[pcp.Result]time.Duration{
		pcp.ResultSuccess: 0, pcp.ResultUnsuppVersion: long, pcp.ResultNotAuthorized: long, pcp.ResultMalformedRequest: long,
		pcp.ResultUnsuppOpcode: long, pcp.ResultUnsuppOption: long, pcp.ResultMalformedOption: long, pcp.ResultNetworkFailure: short,
		pcp.ResultNoResources: short, pcp.ResultUnsuppProtocol: long, pcp.ResultUserExQuota: short,
		pcp.ResultCannotProvideExternal: short, pcp.ResultAddressMismatch: long, pcp.ResultExcessiveRemotePeers: long,
	} {
		if got := result.ErrorLifetime(); got != want {
			t.Errorf("%s: %s, want %s", result, got, want)
		}
	}
}
