package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/huin/goupnp/dcps/internetgateway1"
)

// consolePorts are those of a game on the console: its play and its lobby.
func consolePorts() []port {
	return []port{
		{"udp", 3074, "Starfall Online (game)"},
		{"tcp", 8080, "Starfall Online (lobby)"},
	}
}

// igd is a gateway that is asked by UPnP.
type igd struct {
	connection *internetgateway1.WANIPConnection1
}

// searchGateway searches the LAN by SSDP until a gateway answers.
func searchGateway(ctx context.Context) (gateway, error) {
	fmt.Println("searching for a gateway by SSDP")
	for {
		// Each search takes about two seconds.
		found, faults, err := internetgateway1.NewWANIPConnection1ClientsCtx(ctx)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if len(found) > 0 {
			fmt.Printf("found %q at %s\n", found[0].RootDevice.Device.FriendlyName, found[0].Location)
			found[0].SOAPClient.HTTPClient.Transport = agent("Console/1.0 Starfall-Online/2.3")
			return igd{found[0]}, nil
		}
		err = errors.Join(append(faults, err)...)
		if err == nil {
			err = errors.New("nobody answered")
		}
		fmt.Println("no gateway found, searching again:", err)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(retryAfter):
		}
	}
}

func (g igd) open(ctx context.Context, p port, lifetime time.Duration) (granted time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, retryAfter)
	defer cancel()
	err = g.connection.AddPortMappingCtx(ctx, "", p.number, strings.ToUpper(p.network), p.number,
		g.connection.LocalAddr().String(), true, p.description, uint32(lifetime/time.Second))
	return lifetime, err // UPnP grants what was asked, or nothing
}

// agent is what the console calls itself in its requests.
type agent string

// RoundTrip is that of the standard transport, under the console's name.
func (a agent) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("User-Agent", string(a))
	return http.DefaultTransport.RoundTrip(r)
}
