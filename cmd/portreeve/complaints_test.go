package main

import (
	"bytes"
	"io"
	"strings"
	"testing"
)

// Whatever is wrong with a command line is told in our words: what it is, and what is allowed.
func TestComplaints(t *testing.T) {
	for want, args := range map[string][]string{
		`portreeve: --port is "http": allowed are 0 to 65535` + "\n":                                                                                  {"policy", "test", "--port", "http"},
		`portreeve: --port is "70000": allowed are 0 to 65535` + "\n":                                                                                 {"policy", "test", "--port", "70000"},
		`portreeve: --mappings is "many": allowed are whole numbers` + "\n":                                                                           {"policy", "set", "--mappings", "many"},
		`portreeve: --ipv6 is "perhaps": allowed are true and false` + "\n":                                                                           {"forward", "add", "--ipv6=perhaps"},
		`portreeve: --timeout is "soon": allowed is such as 10s, 90m or 4h` + "\n":                                                                    {"client", "announce", "--timeout", "soon"},
		`portreeve: --output is "xml": allowed are table and json` + "\n":                                                                             {"status", "-o", "xml"},
		"portreeve: portreeve forward add has no option --port: see portreeve forward add --help for those that it has\n":                             {"forward", "add", "--port", "1"},
		"portreeve: portreeve forward add has no option -x: see portreeve forward add --help for those that it has\n":                                 {"forward", "add", "-x"},
		"portreeve: --ports needs a value: port outside, or a range such as 5000-5010\n":                                                              {"forward", "add", "--socket", "x", "--ports"},
		`portreeve: portreeve policy has no command "ad": allowed are add, disable, edit, enable, list, move, remove, set, show, test` + "\n":         {"policy", "ad"},
		`portreeve: portreeve forward has no command "ad": allowed are add, disable, edit, enable, list, remove, show` + "\n":                         {"forward", "ad", "--name", "x"},
		`portreeve: portreeve forward list takes no arguments, and "nas" is one: what it takes are options, see portreeve forward list --help` + "\n": {"forward", "list", "nas"},
		"portreeve: portreeve forward show takes ID|NAME, and 0 are given: see portreeve forward show --help\n":                                       {"forward", "show"},
		"portreeve: portreeve policy move takes ID|NAME POSITION, and 1 are given: see portreeve policy move --help\n":                                {"policy", "move", "x"},
	} {
		var complaints bytes.Buffer
		if code := execute(args, io.Discard, &complaints); complaints.String() != want || code != exitUsage {
			t.Errorf("portreeve %q: exit code %d, complained\n%swant\n%s", args, code, complaints.String(), want)
		}
	}
}

// A rule that cannot be in force is not passed over in silence.
func TestStatusNamesRulesThatAreNotInForce(t *testing.T) {
	r := newRouter(t)
	if _, complaints, code := r.do("forward", "add", "--name", "far", "--protocol", "tcp", "--ports", "81", "--to", "192.168.9.9"); code != 0 {
		t.Fatal(complaints)
	}
	if out, _, _ := r.do("status"); !strings.Contains(out, `NOT IN FORCE  forward ID "far" (set by cli): 192.168.9.9 is no host on one of the LANs`) {
		t.Errorf("the status says:\n%s", out)
	}
}

// What the owner forwards to the device that asks is not said to last while that is there.
func TestPolicyTestKnowsOwnRules(t *testing.T) {
	r := newRouter(t)
	if _, complaints, code := r.do("forward", "add", "--name", "own", "--protocol", "udp", "--ports", "5000", "--to", "192.168.1.50"); code != 0 {
		t.Fatal(complaints)
	}
	out, _, _ := r.do("policy", "test", "--client", "192.168.1.50", "--port", "5000")
	if !strings.Contains(out, "your rule ID") || !strings.Contains(out, `ok the owner's rules: forward "own" leads it there already, and as long as that holds`) || strings.Contains(out, "while the device is there") {
		t.Errorf("answers:\n%s", out)
	}
	r.fails(exitUsage, `portreeve: --protocol is "both", allowed are tcp, udp, sctp, udplite and dccp`, "policy", "test", "--client", "192.168.1.50", "--port", "5000", "--protocol", "both")
}
