package igd

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"
)

// For the tests from outside: the whole way of a request but for the socket.

// OneSubnet is a LAN of one subnet, in which the router has that address.
func OneSubnet(p netip.Prefix) LAN {
	return LAN{Name: "lan0", Addr: p.Addr(), Hosts: []netip.Prefix{p}}
}

// Exchange has a host of the LAN send some bytes and then close its side. It returns all that it gets.
func Exchange(s *Server, lan netip.Prefix, client netip.Addr, sent io.Reader) []byte {
	return Exchanges(s, lan, client)(sent)
}

// Exchanges returns a function that does it again and again.
func Exchanges(s *Server, lan netip.Prefix, client netip.Addr) func(sent io.Reader) []byte {
	l := &lanServer{server: s, handler: s.handler(OneSubnet(lan)), lan: OneSubnet(lan), requests: context.Background()}
	c := newConn()
	return func(sent io.Reader) []byte {
		peer := &memory{Reader: sent}
		c.serve(peer, client, l)
		c.leave()
		return peer.Bytes()
	}
}

// Connect returns a function that sends a request over a connection that is kept, and returns the answer.
func Connect(s *Server, lan netip.Prefix, client netip.Addr) func(raw string) []byte {
	c, sent := newConn(), &strings.Reader{}
	peer := &memory{Reader: sent}
	c.lan = &lanServer{server: s, handler: s.handler(OneSubnet(lan)), lan: OneSubnet(lan), requests: context.Background()}
	c.peer, c.request.client = peer, client
	return func(raw string) []byte {
		sent.Reset(raw)
		peer.Reset()
		c.next()
		return peer.Bytes()
	}
}

// memory is a connection of which one side has been recorded, and the other one is.
type memory struct {
	io.Reader
	bytes.Buffer
}

func (m *memory) Read(b []byte) (int, error)       { return m.Reader.Read(b) }
func (m *memory) Write(b []byte) (int, error)      { return m.Buffer.Write(b) }
func (m *memory) SetReadDeadline(time.Time) error  { return nil }
func (m *memory) SetWriteDeadline(time.Time) error { return nil }
func (m *memory) CloseWrite() error                { return nil }
func (m *memory) Close() error                     { return nil }

// Handler answers requests of package net/http as the server of a LAN does, over the wire.
func Handler(t testing.TB, s *Server, lan netip.Prefix) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var sent bytes.Buffer
		if err := r.Write(&sent); err != nil {
			t.Error(err)
		}
		client := netip.MustParseAddrPort(r.RemoteAddr).Addr()
		got, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(Exchange(s, lan, client, &sent))), r)
		if err != nil {
			t.Fatal(err)
		}
		defer got.Body.Close()
		for name, values := range got.Header {
			w.Header()[name] = values
		}
		w.WriteHeader(got.StatusCode)
		if _, err := io.Copy(w, got.Body); err != nil {
			t.Error(err)
		}
	})
}

// OverNetHTTP answers requests as the server of a LAN does, but leaves reading and writing to package net/http.
func OverNetHTTP(s *Server, lan netip.Prefix) http.Handler {
	h := s.handler(OneSubnet(lan))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req := request{
			method: r.Method, path: r.URL.Path, host: r.Host, length: r.ContentLength, wait: func() {},
			client: netip.MustParseAddrPort(r.RemoteAddr).Addr(),
		}
		for name, values := range r.Header {
			for _, value := range values {
				req.fields = append(req.fields, field{name, value})
			}
		}
		req.body = func() (string, error) {
			body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
			if err != nil {
				w.Header().Set("Connection", "close")
				err = errTooLarge()
			}
			return string(body), err
		}
		got := h.handle(r.Context(), &req, nil)
		w.Header().Set("Content-Type", got.kind)
		w.Header().Set("Content-Length", strconv.Itoa(len(got.body)))
		if got.allow != "" {
			w.Header().Set("Allow", got.allow)
		}
		if got.language {
			w.Header().Set("Content-Language", "en")
		}
		w.WriteHeader(got.status)
		_, _ = w.Write(got.body)
	})
}
