package igd

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"net/netip"
	"testing"
	"time"
)

// For the tests from outside: the whole way of a request but for the socket.

// Exchange has a host of the LAN send some bytes and then close its side. It returns all that it gets.
func Exchange(s *Server, lan netip.Prefix, client netip.Addr, sent io.Reader) []byte {
	peer := &memory{Reader: sent}
	newConn().serve(peer, client, &lanServer{server: s, handler: s.handler(lan), prefix: lan, requests: context.Background()})
	return peer.Bytes()
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
