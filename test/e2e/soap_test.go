package e2e_test

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/portreeve/portreeve/test/lab"
)

const (
	wanIP1 = "urn:schemas-upnp-org:service:WANIPConnection:1"
	wanIP2 = "urn:schemas-upnp-org:service:WANIPConnection:2"
)

// arg is one argument of an action.
type arg struct{ name, value string }

// mapping is the arguments of AddPortMapping.
func mapping(external any, protocol string, internal any, client, lifetime string) []arg {
	return []arg{
		{"NewRemoteHost", ""},
		{"NewExternalPort", fmt.Sprint(external)},
		{"NewProtocol", protocol},
		{"NewInternalPort", fmt.Sprint(internal)},
		{"NewInternalClient", client},
		{"NewEnabled", "1"},
		{"NewPortMappingDescription", "e2e"},
		{"NewLeaseDuration", lifetime},
	}
}

// which names a mapping for Get and Delete.
func which(external any, protocol string) []arg {
	return []arg{{"NewRemoteHost", ""}, {"NewExternalPort", fmt.Sprint(external)}, {"NewProtocol", protocol}}
}

// call sends one action from a LAN host and returns the UPnP error code, 0 for success, and the reply.
func call(ctx context.Context, from *lab.Host, router, service, action string, args []arg) (int, string, error) {
	var body strings.Builder
	fmt.Fprintf(&body, `<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body><u:%s xmlns:u="%s">`, action, service)
	for _, a := range args {
		fmt.Fprintf(&body, "<%s>", a.name)
		if err := xml.EscapeText(&body, []byte(a.value)); err != nil {
			return 0, "", err
		}
		fmt.Fprintf(&body, "</%s>", a.name)
	}
	fmt.Fprintf(&body, "</u:%s></s:Body></s:Envelope>", action)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+router+":49000/ctl/IPConn", strings.NewReader(body.String()))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Content-Type", `text/xml; charset="utf-8"`)
	req.Header.Set("SOAPAction", `"`+service+"#"+action+`"`)
	client := http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DialContext: from.Dial, DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	reply, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, "", err
	}
	if resp.StatusCode == http.StatusOK {
		return 0, string(reply), nil
	}
	_, rest, _ := strings.Cut(string(reply), "<errorCode>")
	code, _, _ := strings.Cut(rest, "<")
	n, err := strconv.Atoi(code)
	if err != nil {
		return 0, "", fmt.Errorf("HTTP status %s without an error code: %s", resp.Status, reply)
	}
	return n, string(reply), nil
}

// soap is call for tests: it must answer.
func soap(t *testing.T, from *lab.Host, service, action string, args []arg) (int, string) {
	t.Helper()
	code, reply, err := call(t.Context(), from, "192.168.1.1", service, action, args)
	if err != nil {
		t.Fatalf("%s from %s: %v", action, from.Name, err)
	}
	return code, reply
}

// mustSOAP expects success.
func mustSOAP(t *testing.T, from *lab.Host, service, action string, args []arg) string {
	t.Helper()
	code, reply := soap(t, from, service, action, args)
	if code != 0 {
		t.Fatalf("%s %v from %s: error %d: %s", action, args, from.Name, code, reply)
	}
	return reply
}

// element returns the text of the first element of a name.
func element(reply, name string) string {
	_, rest, _ := strings.Cut(reply, "<"+name+">")
	text, _, _ := strings.Cut(rest, "</"+name+">")
	return text
}
