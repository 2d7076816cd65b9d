package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"time"
)

// ssdpGroup is where searches are sent (UDA 1.1, section 1.3.2).
const (
	ssdpGroup  = "239.255.255.250:1900"
	searchWait = 5 * time.Second
)

// search sends an M-SEARCH for a gateway and returns the first answer.
func search(from netip.Addr, to string) (answer string, err error) {
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0)))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	dst, err := netip.ParseAddrPort(to)
	if err != nil {
		return "", err
	}
	const target = "urn:schemas-upnp-org:device:InternetGatewayDevice:1"
	request := "M-SEARCH * HTTP/1.1\r\nHOST: " + to + "\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: " + target + "\r\n\r\n"
	if _, err := conn.WriteToUDPAddrPort([]byte(request), dst); err != nil {
		return "", err
	}
	if err := conn.SetReadDeadline(time.Now().Add(searchWait)); err != nil {
		return "", err
	}
	buffer := make([]byte, 2048)
	n, _, err := conn.ReadFromUDPAddrPort(buffer)
	if err != nil {
		return "", fmt.Errorf("search for a gateway at %s: %w", to, err)
	}
	return string(buffer[:n]), nil
}

// searches times answers, one search after the other.
func (t Task) searches(_ context.Context) (Result, error) {
	to := ssdpGroup
	if t.Kind == SearchHost {
		to = netip.AddrPortFrom(t.Router, 1900).String()
	}
	var answered meter
	for i := range t.Count {
		err := answered.run(1, 1, func(int, int) error {
			_, err := search(t.client(i), to)
			return err
		})
		if err != nil {
			return Result{}, err
		}
	}
	return Result{Series: map[string]Series{SeriesSearch: answered.series()}}, nil
}

// What of an answer and of a description matters here.
var (
	locationLine = regexp.MustCompile(`(?im)^location: *(\S+)`)
	controlURL   = regexp.MustCompile(`(?s)<serviceType>urn:schemas-upnp-org:service:WANIPConnection:\d</serviceType>.*?<controlURL>([^<]+)</controlURL>`)
)

// find does what every client does first. It tries again until somebody answers.
func (t Task) find(ctx context.Context) (Result, error) {
	var errs []error
	for range 3 {
		gateway, err := t.findOnce(ctx)
		if err == nil {
			return Result{Gateway: gateway}, nil
		}
		errs = append(errs, err)
	}
	return Result{}, errors.Join(errs...)
}

func (t Task) findOnce(ctx context.Context) (Gateway, error) {
	answer, err := search(t.client(0), ssdpGroup)
	if err != nil {
		return Gateway{}, err
	}
	location := locationLine.FindStringSubmatch(answer)
	if location == nil {
		return Gateway{}, fmt.Errorf("an answer without a location: %q", answer)
	}
	base, err := url.Parse(location[1])
	if err != nil {
		return Gateway{}, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base.String(), nil)
	if err != nil {
		return Gateway{}, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return Gateway{}, err
	}
	defer response.Body.Close()
	description, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return Gateway{}, err
	}
	control := controlURL.FindSubmatch(description)
	if control == nil {
		return Gateway{}, fmt.Errorf("the description at %s has no WANIPConnection", base)
	}
	at, err := base.Parse(string(control[1]))
	if err != nil {
		return Gateway{}, err
	}
	addr, err := netip.ParseAddrPort(at.Host)
	if err != nil {
		return Gateway{}, fmt.Errorf("control URL %s: %w", at, err)
	}
	return Gateway{Control: addr, Path: at.Path}, nil
}
