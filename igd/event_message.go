package igd

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

// Times of telling one subscriber. It may take 30 seconds to answer (UDA 1.1, section 4.3.3), but there is nothing in an answer
// that we would need, and some never give one: what has changed meanwhile would wait for it.
const (
	dialWithin   = 3 * time.Second
	answerWithin = 5 * time.Second
	silentWithin = time.Second // of one that has not answered the event before
)

// maxRefused is how many events in a row a subscriber may refuse because it does not know its subscription.
const maxRefused = 3

// pauseAfter is how long to wait after a subscriber could not be reached so many times.
func pauseAfter(attempts int) time.Duration {
	pauses := []time.Duration{time.Second, 5 * time.Second, 15 * time.Second, time.Minute}
	return pauses[min(attempts, len(pauses))-1]
}

// messenger tells one subscriber what has changed.
type messenger struct {
	events  *events
	sub     *subscription
	told    []string // nil: nothing yet
	seq     uint32   // of the next event
	silent  bool     // it has not answered the last one
	refused int      // so many in a row
}

// Why an event is not delivered.
var (
	errUnreachable = errors.New("the subscriber cannot be reached")
	errRefused     = errors.New("the subscriber does not know its subscription")
)

// tell tells what is not known yet, the first time everything. It is false if the subscription has ended, or has no sense any
// more.
//
// Who cannot be reached has not got the event, and is tried again until the subscription ends, with what has changed
// meanwhile. So a device that sleeps or changes the room misses nothing, and the numbers of the events show no gap.
func (m *messenger) tell() bool {
	for attempts := 1; ; attempts++ {
		values, left := m.events.state(m.sub)
		if left <= 0 {
			return false
		}
		body := m.properties(values)
		if body == nil {
			return true
		}
		err := m.deliver(body)
		switch {
		case m.sub.ended.Err() != nil:
			return false
		case errors.Is(err, errRefused):
			m.refused++
		default:
			m.refused = 0
		}
		// The first event may have come before the subscriber has taken note of its subscription.
		if again := errors.Is(err, errUnreachable) || m.seq == 0 && m.refused > 0; !again || m.refused == maxRefused {
			m.told, m.silent = values, errors.Is(err, os.ErrDeadlineExceeded)
			if m.seq++; m.seq == 0 {
				m.seq = 1 // 0 is for the first event only (UDA 1.1, section 4.3.2)
			}
			return m.refused < maxRefused
		}
		if !m.pause(pauseAfter(attempts)) {
			return false
		}
	}
}

func (m *messenger) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-m.sub.ended.Done():
		return false
	}
}

// properties makes the body of an event of the variables that differ from what was told; nil if none does.
func (m *messenger) properties(values []string) []byte {
	b := []byte(`<?xml version="1.0"?>` + "\r\n" + `<e:propertyset xmlns:e="urn:schemas-upnp-org:event-1-0">`)
	i, empty := 0, true
	for v := range m.sub.service.evented() {
		if m.told == nil || m.told[i] != values[i] {
			b = append(b, "<e:property>"...)
			b = appendElement(b, v.name, values[i])
			b = append(b, "</e:property>"...)
			empty = false
		}
		i++
	}
	if empty {
		return nil
	}
	return append(b, "</e:propertyset>\r\n"...)
}

// deliver hands an event over to the first callback that can be reached. It does not know what became of it if the answer is
// not understood.
func (m *messenger) deliver(body []byte) (err error) {
	for _, c := range m.sub.callbacks {
		if err = m.deliverTo(c, body); err != nil {
			m.events.log.Debug("event not delivered", "client", m.sub.client, "service", m.sub.service.name, "callback", c.to, "seq", m.seq, "err", err)
		}
		if !errors.Is(err, errUnreachable) {
			break
		}
	}
	return err
}

func (m *messenger) deliverTo(c callback, body []byte) error {
	ctx, cancel := context.WithTimeout(m.sub.ended, dialWithin)
	defer cancel()
	conn, err := m.events.dial(ctx, m.sub.lan, c.to)
	if err != nil {
		return errors.Join(errUnreachable, err)
	}
	defer conn.Close()
	defer context.AfterFunc(m.sub.ended, func() { _ = conn.Close() })()
	wait := answerWithin
	if m.silent {
		wait = silentWithin
	}
	if err := conn.SetDeadline(m.events.now().Add(wait)); err != nil {
		return errors.Join(errUnreachable, err)
	}
	if _, err := conn.Write(m.request(c, body)); err != nil {
		return errors.Join(errUnreachable, err)
	}
	return readAnswer(conn)
}

// request is the whole message (UDA 1.1, section 4.3.2).
func (m *messenger) request(c callback, body []byte) []byte {
	b := make([]byte, 0, 512+len(c.target)+len(body))
	b = append(b, "NOTIFY "+c.target+" HTTP/1.1\r\nHOST: "+c.host...)
	b = append(b, "\r\nCONTENT-TYPE: "+textXML+"\r\nCONTENT-LENGTH: "...)
	b = strconv.AppendInt(b, int64(len(body)), 10)
	b = append(b, "\r\nNT: upnp:event\r\nNTS: upnp:propchange\r\nSID: "+m.sub.id+"\r\nSEQ: "...)
	b = strconv.AppendUint(b, uint64(m.seq), 10)
	b = append(b, "\r\nCONNECTION: close\r\n\r\n"...)
	return append(b, body...)
}

// readAnswer reads the first line of the answer, which is all that matters. A subscriber that closes the connection instead of
// answering has got the event.
func readAnswer(conn net.Conn) error {
	const longest = 256
	line, err := bufio.NewReaderSize(io.LimitReader(conn, longest), longest).ReadString('\n')
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return err
	}
	const status = len("HTTP/1.1 ")
	if len(line) >= status+3 && line[status:status+3] == strconv.Itoa(http.StatusPreconditionFailed) {
		return errRefused
	}
	return nil
}
