package igd

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// What a request may be made of. The longest that real clients send is about 2 KiB and 4 elements deep.
const (
	maxBody  = 32 << 10
	maxDepth = 20
	maxArgs  = 32
)

// controlNamespace is that of faults and of QueryStateVariable (UDA 1.1, section 3.2.2; UDA 1.0, section 3.3).
const controlNamespace = "urn:schemas-upnp-org:control-1-0"

// invocation is what the body of a control request says.
type invocation struct {
	action string            // local name of the body's element
	args   map[string]string // local names and contents of its children, white space trimmed
}

var (
	errNotSOAP = errors.New("not a SOAP envelope with one action in it")
	errDoctype = errors.New("document type declarations are not accepted")
	errDepth   = errors.New("elements are nested too deeply")
	errCharset = errors.New("character encoding is neither UTF-8 nor Latin-1")
)

// decodeInvocation reads the body of a control request. Prefixes and namespaces do not matter, nor do attributes
// or the order of arguments: the service is the one that the SOAPACTION header names, and clients are sloppy with
// the rest. The error is a [code] if the document is a call with wrong arguments, any other if it is none.
func decodeInvocation(body []byte) (invocation, error) {
	d := xml.NewDecoder(bytes.NewReader(toUTF8(body)))
	d.CharsetReader = acceptCharset
	p := invocationParser{args: map[string]string{}}
	for {
		token, err := d.Token()
		switch {
		case errors.Is(err, io.EOF):
			return p.result()
		case errors.Is(err, errCharset):
			return invocation{}, invalidArgs
		case err != nil:
			return invocation{}, err
		}
		if err := p.take(token); err != nil {
			return invocation{}, err
		}
	}
}

// toUTF8 decides by content what the characters are: what is valid UTF-8 is that, everything else Latin-1,
// whatever the document claims. Zero bytes at the end are the terminators of C strings, counted by mistake.
func toUTF8(body []byte) []byte {
	body = bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))
	body = bytes.TrimRight(body, "\x00")
	if utf8.Valid(body) {
		return body
	}
	text := make([]rune, len(body))
	for i, c := range body {
		text[i] = rune(c)
	}
	return []byte(string(text))
}

// acceptCharset lets the names pass that fit what [toUTF8] does.
func acceptCharset(name string, r io.Reader) (io.Reader, error) {
	switch strings.ToLower(name) {
	case "utf8", "us-ascii", "ascii", "iso-8859-1", "latin1", "windows-1252":
		return r, nil
	default:
		return nil, errCharset
	}
}

// invocationParser takes the tokens of a document in order.
type invocationParser struct {
	depth   int
	inBody  bool
	bodies  int
	actions int
	action  string
	arg     string // the argument that is being read
	text    strings.Builder
	args    map[string]string
	wrong   bool // the arguments cannot be those of any action
}

// The depths at which the elements of a call are: Envelope, Body, action, argument.
const (
	depthEnvelope = iota + 1
	depthBody
	depthAction
	depthArgument
)

func (p *invocationParser) take(token xml.Token) error {
	switch t := token.(type) {
	case xml.Directive:
		return errDoctype
	case xml.StartElement:
		p.depth++
		if p.depth > maxDepth {
			return errDepth
		}
		return p.start(t.Name.Local)
	case xml.EndElement:
		p.end()
		p.depth--
	case xml.CharData:
		switch {
		case p.inBody && p.depth >= depthArgument:
			p.text.Write(t)
		case p.depth == 0 && len(bytes.TrimSpace(t)) > 0:
			return errNotSOAP
		}
	}
	return nil
}

func (p *invocationParser) start(name string) error {
	switch p.depth {
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
		p.arg = name
		p.text.Reset()
	default:
		// The arguments that we know are simple ones.
		p.wrong = p.wrong || p.inBody
	}
	return nil
}

func (p *invocationParser) end() {
	if !p.inBody || p.depth != depthArgument {
		return
	}
	if _, double := p.args[p.arg]; double || len(p.args) == maxArgs {
		p.wrong = true
		return
	}
	p.args[p.arg] = strings.TrimSpace(p.text.String())
}

func (p *invocationParser) result() (invocation, error) {
	switch {
	case p.bodies != 1 || p.actions != 1:
		return invocation{}, errNotSOAP
	case p.wrong:
		return invocation{}, invalidArgs
	}
	return invocation{action: p.action, args: p.args}, nil
}

// parseSOAPAction splits the value of a SOAPACTION header into the namespace and the action. Quotes may be double,
// single or absent.
func parseSOAPAction(header string) (namespace, name string, err error) {
	bare := strings.Trim(strings.TrimSpace(header), `"'`)
	i := strings.LastIndexByte(bare, '#')
	if i < 1 || i == len(bare)-1 {
		return "", "", fmt.Errorf("SOAPACTION must be a service type, '#' and an action")
	}
	return bare[:i], bare[i+1:], nil
}

const (
	envelopeStart = `<?xml version="1.0"?>` + "\r\n" +
		`<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" ` +
		`s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>`
	envelopeEnd = `</s:Body></s:Envelope>` + "\r\n"
)

// encodeResponse writes the answer of an action. The namespace is the one that the caller used, the response
// element has a prefix and its children have none: clients look for exactly that.
func encodeResponse(namespace string, a action, values results) []byte {
	b := []byte(envelopeStart)
	b = append(b, "<u:"+a.name+`Response xmlns:u="`+namespace+`">`...)
	for i, arg := range a.out {
		b = append(b, "<"+arg.name+">"...)
		b = appendText(b, values[i])
		b = append(b, "</"+arg.name+">"...)
	}
	b = append(b, "</u:"+a.name+"Response>"...)
	return append(b, envelopeEnd...)
}

// encodeVariable writes the answer of QueryStateVariable (UDA 1.0, section 3.3.2).
func encodeVariable(text string) []byte {
	b := []byte(envelopeStart)
	b = append(b, `<u:QueryStateVariableResponse xmlns:u="`+controlNamespace+`"><return>`...)
	b = appendEscaped(b, text)
	b = append(b, `</return></u:QueryStateVariableResponse>`...)
	return append(b, envelopeEnd...)
}

// encodeFault writes a fault (UDA 1.1, section 3.2.2). There is no white space around the number: Apple's client
// searches the text for ">718</errorCode".
func encodeFault(c code) []byte {
	b := []byte(envelopeStart)
	b = append(b, `<s:Fault><faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring><detail>`...)
	b = append(b, `<UPnPError xmlns="`+controlNamespace+`"><errorCode>`...)
	b = strconv.AppendInt(b, int64(c), 10)
	b = append(b, "</errorCode><errorDescription>"...)
	b = appendEscaped(b, c.String())
	b = append(b, "</errorDescription></UPnPError></detail></s:Fault>"...)
	return append(b, envelopeEnd...)
}
