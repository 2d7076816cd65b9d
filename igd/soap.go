package igd

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// What a request may be made of. The longest that real clients send is about 2 KiB and 4 elements deep.
const (
	maxBody = 32 << 10
	maxArgs = 32
)

// controlNamespace is that of faults and of QueryStateVariable (UDA 1.1, section 3.2.2; UDA 1.0, section 3.3).
const controlNamespace = "urn:schemas-upnp-org:control-1-0"

// invocation is what the body of a control request says.
type invocation struct {
	action string // local name of the body's element
	args   arguments
}

// arguments are the children of an action, each of another name.
type arguments []givenArgument

// givenArgument is the local name of one and its content, with white space trimmed.
type givenArgument struct{ name, text string }

// get returns the content of the one that has the name.
func (a arguments) get(name string) (text string, ok bool) {
	i := slices.IndexFunc(a, func(g givenArgument) bool { return g.name == name })
	if i < 0 {
		return "", false
	}
	return a[i].text, true
}

var errNotSOAP = errors.New("not a SOAP envelope with one action in it")

// decodeInvocation reads the body of a control request. Prefixes and namespaces do not matter, nor do attributes
// or the order of arguments: the service is the one that the SOAPACTION header names, and clients are sloppy with
// the rest. The error is a [code] if the document is a call with wrong arguments, any other if it is none.
func decodeInvocation(body string) (invocation, error) {
	var p invocationParser
	switch err := scan(toUTF8(body), &p); {
	case errors.Is(err, errCharset):
		return invocation{}, invalidArgs
	case err != nil:
		return invocation{}, err
	}
	return p.result()
}

// toUTF8 decides by content what the characters are: what is valid UTF-8 is that, everything else Latin-1,
// whatever the document claims. Zero bytes at the end are the terminators of C strings, counted by mistake.
func toUTF8(body string) string {
	body = strings.TrimPrefix(body, "\xef\xbb\xbf")
	body = strings.TrimRight(body, "\x00")
	if utf8.ValidString(body) {
		return body
	}
	text := make([]rune, len(body))
	for i := range len(body) {
		text[i] = rune(body[i])
	}
	return string(text)
}

// invocationParser is told what is in a document.
type invocationParser struct {
	invocation
	inBody  bool
	bodies  int
	actions int
	arg     givenArgument // the one that is being read
	wrong   bool          // the arguments cannot be those of any action
}

// The depths at which the elements of a call are.
const (
	depthEnvelope = iota + 1
	depthBody
	depthAction
	depthArgument
)

func (p *invocationParser) start(depth int, name string) error {
	switch depth {
	case depthEnvelope:
		if name != "Envelope" || p.bodies > 0 {
			return errNotSOAP
		}
	case depthBody:
		if p.inBody = name == "Body"; p.inBody {
			p.bodies++
		}
	case depthAction:
		if p.inBody {
			p.actions++
			p.action = name
		}
	case depthArgument:
		p.arg = givenArgument{name: name}
	default:
		// The arguments that we know are simple ones.
		p.wrong = p.wrong || p.inBody
	}
	return nil
}

func (p *invocationParser) text(depth int, s string) error {
	switch {
	case depth == 0 && strings.TrimSpace(s) != "":
		return errNotSOAP
	case depth == depthArgument && p.inBody:
		p.arg.text += s // in most documents it comes in one piece
	}
	return nil
}

func (p *invocationParser) end(depth int) {
	if !p.inBody || depth != depthArgument {
		return
	}
	if _, double := p.args.get(p.arg.name); double || len(p.args) == maxArgs {
		p.wrong = true
		return
	}
	p.arg.text = strings.TrimSpace(p.arg.text)
	p.args = append(p.args, p.arg)
}

func (p *invocationParser) result() (invocation, error) {
	switch {
	case p.bodies != 1 || p.actions != 1:
		return invocation{}, errNotSOAP
	case p.wrong:
		return invocation{}, invalidArgs
	}
	return p.invocation, nil
}

// parseSOAPAction splits the value of a SOAPACTION header into the namespace and the action. Quotes may be double,
// single or absent.
func parseSOAPAction(header string) (namespace, name string, err error) {
	bare := strings.Trim(strings.TrimSpace(header), `"'`)
	i := strings.LastIndexByte(bare, '#')
	if i < 1 || i == len(bare)-1 {
		return "", "", errors.New("SOAPACTION must be a service type, '#' and an action")
	}
	return bare[:i], bare[i+1:], nil
}

const (
	envelopeStart = `<?xml version="1.0"?>` + "\r\n" +
		`<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" ` +
		`s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>`
	envelopeEnd = `</s:Body></s:Envelope>` + "\r\n"
)

// appendResponse appends the answer of an action. The namespace is the one that the caller used, the response
// element has a prefix and its children have none: clients look for exactly that.
func appendResponse(b []byte, namespace string, a *action, values results) []byte {
	b = append(b, envelopeStart...)
	b = append(b, "<u:"...)
	b = append(b, a.name...)
	b = append(b, `Response xmlns:u="`...)
	b = append(b, namespace...)
	b = append(b, `">`...)
	for i, arg := range a.out {
		b = appendElement(b, arg.name, values[i])
	}
	b = append(b, "</u:"...)
	b = append(b, a.name...)
	b = append(b, "Response>"...)
	return append(b, envelopeEnd...)
}

func appendElement(b []byte, name string, content any) []byte {
	b = append(append(append(b, '<'), name...), '>')
	b = appendText(b, content)
	return append(append(append(b, "</"...), name...), '>')
}

// appendVariable appends the answer of QueryStateVariable (UDA 1.0, section 3.3.2).
func appendVariable(b []byte, text string) []byte {
	b = append(b, envelopeStart...)
	b = append(b, `<u:QueryStateVariableResponse xmlns:u="`+controlNamespace+`"><return>`...)
	b = appendEscaped(b, text)
	b = append(b, `</return></u:QueryStateVariableResponse>`...)
	return append(b, envelopeEnd...)
}

// appendFault appends a fault (UDA 1.1, section 3.2.2). There is no white space around the number: Apple's client
// searches the text for ">718</errorCode".
func appendFault(b []byte, c code) []byte {
	b = append(b, envelopeStart...)
	b = append(b, `<s:Fault><faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring><detail>`...)
	b = append(b, `<UPnPError xmlns="`+controlNamespace+`"><errorCode>`...)
	b = strconv.AppendInt(b, int64(c.number()), 10)
	b = append(b, "</errorCode><errorDescription>"...)
	b = appendEscaped(b, c.String())
	b = append(b, "</errorDescription></UPnPError></detail></s:Fault>"...)
	return append(b, envelopeEnd...)
}
