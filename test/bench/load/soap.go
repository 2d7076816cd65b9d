package load

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// The types of the service: everybody understands the first, lists came with the second.
const (
	service1 = "urn:schemas-upnp-org:service:WANIPConnection:1"
	service2 = "urn:schemas-upnp-org:service:WANIPConnection:2"
)

// soapWithin bounds one action. UPnP gives an answer 30 seconds (UDA 1.1, section 3.1.1).
const soapWithin = 30 * time.Second

// soapClient is a UPnP control point at one address. It has one request at a time.
type soapClient struct {
	gateway Gateway
	from    netip.Addr
	keep    bool // connections live on, if the router agrees

	conn   net.Conn
	reader *bufio.Reader
}

// call asks for an action and returns the body of its answer. An answer that is no success is a soapFault.
func (c *soapClient) call(ctx context.Context, service, action, arguments string) ([]byte, error) {
	request := c.request(service, action, arguments)
	again := c.conn != nil // a kept connection may have been closed meanwhile
	status, body, err := c.exchange(ctx, request)
	if err != nil && again {
		status, body, err = c.exchange(ctx, request)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", action, err)
	}
	if status != http.StatusOK {
		return nil, fmt.Errorf("%s: %w", action, soapFault{status, string(body)})
	}
	if !bytes.Contains(body, []byte(action+"Response")) {
		return nil, fmt.Errorf("%s: not an answer to it: %q", action, body)
	}
	return body, nil
}

// soapFault is an answer that refuses.
type soapFault struct {
	status int
	body   string
}

func (f soapFault) Error() string { return fmt.Sprintf("HTTP status %d: %q", f.status, f.body) }

func (c *soapClient) request(service, action, arguments string) []byte {
	body := `<?xml version="1.0"?>` + "\r\n" +
		`<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/">` +
		`<s:Body><u:` + action + ` xmlns:u="` + service + `">` + arguments + `</u:` + action + `></s:Body></s:Envelope>` + "\r\n"
	connection := "close"
	if c.keep {
		connection = "keep-alive"
	}
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\nContent-Type: text/xml; charset=\"utf-8\"\r\n"+
		"SOAPAction: \"%s#%s\"\r\nConnection: %s\r\nContent-Length: %d\r\n\r\n%s",
		c.gateway.Path, c.gateway.Control, service, action, connection, len(body), body)
}

// exchange sends a request and reads the answer.
func (c *soapClient) exchange(ctx context.Context, request []byte) (status int, body []byte, err error) {
	if c.conn == nil {
		dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(c.from, 0)), Timeout: soapWithin, KeepAlive: -1}
		if c.conn, err = dialer.DialContext(ctx, "tcp4", c.gateway.Control.String()); err != nil {
			return 0, nil, err
		}
		c.reader = bufio.NewReaderSize(c.conn, 16<<10)
	}
	closing := true
	defer func() {
		if closing {
			c.close()
		}
	}()
	if err := c.conn.SetDeadline(time.Now().Add(soapWithin)); err != nil {
		return 0, nil, err
	}
	if _, err := c.conn.Write(request); err != nil {
		return 0, nil, err
	}
	answer, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return 0, nil, err
	}
	defer answer.Body.Close()
	if body, err = io.ReadAll(answer.Body); err != nil {
		return 0, nil, err
	}
	closing = !c.keep || answer.Close
	return answer.StatusCode, body, nil
}

func (c *soapClient) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

func (c *soapClient) addMapping(ctx context.Context, protocol string, port uint16) error {
	_, err := c.call(ctx, service1, "AddPortMapping", fmt.Sprintf("<NewRemoteHost></NewRemoteHost><NewExternalPort>%d</NewExternalPort>"+
		"<NewProtocol>%s</NewProtocol><NewInternalPort>%[1]d</NewInternalPort><NewInternalClient>%[3]s</NewInternalClient>"+
		"<NewEnabled>1</NewEnabled><NewPortMappingDescription>bench</NewPortMappingDescription>"+
		"<NewLeaseDuration>%[4]d</NewLeaseDuration>", port, protocol, c.from, int(lifetime/time.Second)))
	return err
}

func (c *soapClient) deleteMapping(ctx context.Context, protocol string, port uint16) error {
	_, err := c.call(ctx, service1, "DeletePortMapping", fmt.Sprintf("<NewRemoteHost></NewRemoteHost>"+
		"<NewExternalPort>%d</NewExternalPort><NewProtocol>%s</NewProtocol>", port, protocol))
	return err
}

// soap runs the tasks of UPnP control.
func (t Task) soap(ctx context.Context) (Result, error) {
	clients := make([]*soapClient, t.workers())
	for i := range clients {
		clients[i] = &soapClient{gateway: t.Gateway, from: t.client(i), keep: t.KeepAlive}
		defer clients[i].close()
	}
	switch t.Kind {
	case Open:
		return Result{}, errors.Join(clients[0].addMapping(ctx, "UDP", t.Port), clients[0].addMapping(ctx, "TCP", t.Port))
	case Shut:
		return Result{}, errors.Join(clients[0].deleteMapping(ctx, "UDP", t.Port), clients[0].deleteMapping(ctx, "TCP", t.Port))
	case Address:
		return t.addresses(ctx, clients)
	case Walk:
		return t.walk(ctx, clients[0])
	case List:
		return list(ctx, clients[0])
	default:
		return t.addCycle(ctx, clients)
	}
}

// addCycle adds and deletes, round by round.
func (t Task) addCycle(ctx context.Context, clients []*soapClient) (Result, error) {
	var added, deleted meter
	protocol := cmp.Or(t.Protocol, "UDP")
	for round := 0; round == 0 || !t.enough(&added); round++ {
		port := func(worker, i int) uint16 { return t.Port + uint16(worker*t.Each+i) }
		err := added.run(len(clients), t.Each, func(w, i int) error { return clients[w].addMapping(ctx, protocol, port(w, i)) })
		if err != nil {
			return Result{}, err
		}
		// One after the other: what is not measured shall not make anybody wait.
		err = deleted.run(1, len(clients)*t.Each, func(_, n int) error {
			w, i := n/t.Each, n%t.Each
			return clients[w].deleteMapping(ctx, protocol, port(w, i))
		})
		if err != nil {
			return Result{}, err
		}
	}
	return Result{Series: map[string]Series{SeriesAdd: added.series()}}, nil
}

func (t Task) addresses(ctx context.Context, clients []*soapClient) (Result, error) {
	var asked meter
	err := asked.runFor(len(clients), t.Budget, t.Most, func(w int) error {
		_, err := clients[w].call(ctx, service1, "GetExternalIPAddress", "")
		return err
	})
	if err != nil {
		return Result{}, err
	}
	return Result{Series: map[string]Series{SeriesAddress: asked.series()}}, nil
}

// walk reads each entry of the table, in random order, so that one that is ended early has asked for entries from all
// of it.
func (t Task) walk(ctx context.Context, c *soapClient) (Result, error) {
	var read meter
	for _, index := range rand.Perm(t.Count) {
		if t.enough(&read) {
			break
		}
		err := read.run(1, 1, func(int, int) error {
			_, err := c.call(ctx, service1, "GetGenericPortMappingEntry", fmt.Sprintf("<NewPortMappingIndex>%d</NewPortMappingIndex>", index))
			return err
		})
		if err != nil {
			return Result{}, err
		}
	}
	return Result{Series: map[string]Series{SeriesWalk: read.series()}}, nil
}

// list asks once for all UDP leases.
func list(ctx context.Context, c *soapClient) (Result, error) {
	var read meter
	var body []byte
	err := read.run(1, 1, func(int, int) (err error) {
		body, err = c.call(ctx, service2, "GetListOfPortMappings", "<NewStartPort>1</NewStartPort><NewEndPort>65535</NewEndPort>"+
			"<NewProtocol>UDP</NewProtocol><NewManage>1</NewManage><NewNumberOfPorts>0</NewNumberOfPorts>")
		return err
	})
	if err != nil {
		return Result{}, err
	}
	// Each entry has a start and an end.
	return Result{
		Series:  map[string]Series{SeriesList: read.series()},
		Entries: bytes.Count(body, []byte("PortMappingEntry")) / 2,
	}, nil
}
