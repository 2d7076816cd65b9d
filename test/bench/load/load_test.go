package load

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/portreeve/portreeve/test/netns"
)

// NAT-PMP has a fixed port: in namespaces of its own nobody else has it.
func TestMain(m *testing.M) { netns.Main(m) }

// loopback is client and router at once.
func loopback() netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 0, 1}) }

// answerPMP is a NAT-PMP server that answers each request for a mapping with what reply makes of it.
func answerPMP(t *testing.T, reply func(request []byte) [][]byte) {
	t.Helper()
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback(), pmpPort)))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, 64)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buffer)
			if err != nil {
				return
			}
			for _, answer := range reply(buffer[:n]) {
				_, _ = conn.WriteToUDPAddrPort(answer, from) // without it the test fails
			}
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
}

// granted is an answer (RFC 6886, section 3.3) to a request for a mapping.
func granted(request []byte, result, external uint16) []byte {
	answer := binary.BigEndian.AppendUint16([]byte{0, request[1] | 0x80}, result)
	answer = binary.BigEndian.AppendUint32(answer, 1)
	answer = append(answer, request[4:6]...)
	answer = binary.BigEndian.AppendUint16(answer, external)
	return append(answer, request[8:12]...)
}

// Only what was asked for counts as an answer: a router that refuses quickly is not a fast router.
func TestRefusedMappingsAreErrors(t *testing.T) {
	for _, tt := range []struct {
		name  string
		reply func(request []byte) [][]byte
		want  string // part of the error; empty: none
	}{
		{"granted", func(r []byte) [][]byte { return [][]byte{granted(r, 0, 4000)} }, ""},
		{"refused", func(r []byte) [][]byte { return [][]byte{granted(r, 2, 4000)} }, "result code 2"},
		{"another port", func(r []byte) [][]byte { return [][]byte{granted(r, 0, 4001)} }, "external port 4001"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answerPMP(t, tt.reply)
			client, err := DialPMP(loopback(), loopback())
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			wantError(t, client.Map(4000, time.Minute), tt.want)
		})
	}
}

func TestLateAnswersAreNotTaken(t *testing.T) {
	answerPMP(t, func(r []byte) [][]byte {
		other := append([]byte{}, r...)
		binary.BigEndian.PutUint16(other[4:], 5000)
		return [][]byte{granted(other, 2, 5000), granted(r, 0, 4000)}
	})
	client, err := DialPMP(loopback(), loopback())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	wantError(t, client.Map(4000, time.Minute), "")
}

func TestRefusedActionsAreErrors(t *testing.T) {
	for _, tt := range []struct {
		name, body string
		status     int
		want       string
	}{
		{"done", "<u:AddPortMappingResponse/>", http.StatusOK, ""},
		{"refused", "<errorCode>718</errorCode>", http.StatusInternalServerError, "718"},
		{"another answer", "<u:GetStatusInfoResponse/>", http.StatusOK, "not an answer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.body)
			}))
			defer server.Close()
			client := soapClient{gateway: gatewayOf(t, server), from: loopback()}
			wantError(t, client.addMapping(t.Context(), "UDP", 4000), tt.want)
		})
	}
}

func TestConnectionsAreKeptOnlyIfTheyShall(t *testing.T) {
	for _, keep := range []bool{false, true} {
		opened := 0
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // else the server closes the connection
			_, _ = io.WriteString(w, "<u:GetExternalIPAddressResponse/>")
		}))
		server.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
			opened++
			return ctx
		}
		server.Start()
		task := Task{Gateway: gatewayOf(t, server), Clients: []netip.Addr{loopback()}, KeepAlive: keep, Budget: time.Minute, Most: 5, Kind: Address}
		r, err := task.soap(t.Context())
		server.Close()
		if err != nil {
			t.Fatal(err)
		}
		want := 5
		if keep {
			want = 1
		}
		if got := r.Series[SeriesAddress].Count; got != 5 || opened != want {
			t.Errorf("keep %v: %d answers on %d connections, want 5 on %d", keep, got, opened, want)
		}
	}
}

func gatewayOf(t *testing.T, s *httptest.Server) Gateway {
	t.Helper()
	addr, err := netip.ParseAddrPort(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return Gateway{Control: addr, Path: "/control"}
}

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("got %v, want no error", err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("got error %v, want one with %q", err, want)
	}
}
