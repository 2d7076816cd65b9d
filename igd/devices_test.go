package igd_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/portreeve/portreeve/igd"
)

// recorded is one exchange of a file in testdata/devices.
type recorded struct{ want, contains, request string }

// readDevice reads a file of exchanges; its README tells the format.
func readDevice(t testing.TB, file, router, host, client string) []recorded {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var list []recorded
	for _, block := range strings.Split("\n"+string(content), "\n>>> ")[1:] {
		title, text, _ := strings.Cut(block, "\n")
		want, contains, _ := strings.Cut(title, " ")
		text = strings.NewReplacer("{HOST}", host, "{ROUTER}", router, "{CLIENT}", client).Replace(text)
		head, body, _ := strings.Cut(text, "\n\n")
		body = strings.TrimSpace(body)
		head = strings.ReplaceAll(head, "{LENGTH}", strconv.Itoa(len(body)))
		list = append(list, recorded{want, contains, strings.ReplaceAll(head, "\n", "\r\n") + "\r\n\r\n" + body})
	}
	if len(list) == 0 {
		t.Fatalf("%s has no exchanges", file)
	}
	return list
}

func deviceFiles(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "devices", "*.http"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no recorded devices: %v", err)
	}
	return files
}

func TestDevices(t *testing.T) {
	for _, file := range deviceFiles(t) {
		name := strings.TrimSuffix(filepath.Base(file), ".http")
		t.Run(name, func(t *testing.T) {
			if strings.HasSuffix(name, "-ipv6") {
				replayOverIPv6(t, file)
				return
			}
			r := newRouter(t, loopback())
			address := serve(t, r)
			for i, e := range readDevice(t, file, "127.0.0.254", address, localHost) {
				got := converse(t, dial(t, localHost, address), e.request)
				if got.String() != e.want || !strings.Contains(got.body, e.contains) {
					t.Fatalf("exchange %d: got %s, want %s with %q\n%s\n%s", i+1, got, e.want, e.contains, e.request, got.body)
				}
			}
			if left := r.mappings(); len(left) != 0 {
				t.Errorf("mappings are left: %v", left)
			}
		})
	}
}

// replayOverIPv6 does the same without a socket, as a host with several addresses.
func replayOverIPv6(t *testing.T, file string) {
	t.Helper()
	r := newDualRouter(t)
	for i, e := range readDevice(t, file, "[2001:db8:1:1::1]", "[2001:db8:1:1::1]:49000", alice6) {
		answer := igd.Exchange(r.server, lan6(), netip.MustParseAddr(alice6), strings.NewReader(e.request))
		got := receive(t, bufio.NewReader(bytes.NewReader(answer)))
		if got.String() != e.want || !strings.Contains(got.body, e.contains) {
			t.Fatalf("exchange %d: got %s, want %s with %q\n%s\n%s", i+1, got, e.want, e.contains, e.request, got.body)
		}
	}
	if left := r.mappings(); len(left) != 0 {
		t.Errorf("mappings are left: %v", left)
	}
}

// converse sends a request like [exchange]. If it waits for "100 Continue", so do we.
func converse(t *testing.T, conn net.Conn, request string) reply {
	t.Helper()
	in := bufio.NewReader(conn)
	if head, body, ok := strings.Cut(request, "\r\n\r\n"); ok && strings.Contains(head, "Expect: 100-continue") {
		if _, err := io.WriteString(conn, head+"\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if line, err := in.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 100 ") {
			t.Fatalf("got %q, %v, want 100 Continue", line, err)
		}
		if _, err := in.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		request = body
	}
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	return receive(t, in)
}
