package web

import (
	"errors"
	"net/http"
	"net/netip"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// RequestList answers GET requests.
type RequestList struct {
	Requests []WaitingRequest `json:"requests"` // the latest first
}

// WaitingRequest is a request of a device that asks the owner. The device was told to come again.
type WaitingRequest struct {
	ID              lease.ID     `json:"id"`
	Device          string       `json:"device"`      // MAC address, "" when unknown
	DeviceName      string       `json:"device_name"` // "" when unknown
	Client          netip.Addr   `json:"client"`
	Via             lease.Origin `json:"via"`
	Protocol        string       `json:"protocol"`
	ExternalPort    uint16       `json:"external_port"` // that is wanted; 0: any
	InternalAddress netip.Addr   `json:"internal_address"`
	InternalPort    uint16       `json:"internal_port"`
	PortCount       int          `json:"port_count"`
	Description     string       `json:"description"`      // as the client sent it: untrusted
	Agent           string       `json:"agent"`            // what the client calls itself: untrusted
	LifetimeSeconds int64        `json:"lifetime_seconds"` // that is wanted; 0: without an end
	Count           int          `json:"count"`            // how often it has come
	FirstSeconds    int64        `json:"first_seconds"`    // how long ago it has come first
	LastSeconds     int64        `json:"last_seconds"`     // and last
}

// RequestAnswer is the body of POST requests/{id}.
type RequestAnswer struct {
	Answer lease.Answer `json:"answer"` // "allow", "allow_always", "deny" or "deny_always"
}

// waiting lists what waits.
func (v view) waiting() []WaitingRequest {
	all := []WaitingRequest{}
	for _, w := range v.Waiting {
		if v.now.Sub(w.Last) < lease.WaitingFor {
			all = append(all, v.waitingRequest(w))
		}
	}
	return all
}

func (v view) waitingRequest(w lease.Waiting) WaitingRequest {
	out := WaitingRequest{
		ID: w.ID, Device: w.Device, Client: w.Client, Via: w.Origin, Protocol: w.Protocol.String(), ExternalPort: w.External.Port(),
		InternalAddress: w.Internal.Addr(), InternalPort: w.Internal.Port(), PortCount: w.PortCount(),
		Description: w.Description, Agent: w.Agent, Count: w.Count,
		FirstSeconds: seconds(v.now.Sub(w.First)), LastSeconds: seconds(v.now.Sub(w.Last)),
	}
	out.DeviceName = lease.CleanText(v.name(lease.Lease{Device: w.Device, Client: w.Client, Mapping: w.Mapping}), maxName)
	if !w.Permanent {
		out.LifetimeSeconds = seconds(w.Lifetime + time.Second/2)
	}
	return out
}

func (s *Server) getRequests(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, RequestList{s.look().waiting()})
}

// postRequest answers a request that waits, in the name of the owner, who came by origin.
func (s *Server) postRequest(origin lease.Origin) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		dry, err := flag(r, "dry_run")
		if err != nil {
			return err
		}
		var body RequestAnswer
		wrong, err := readMembers(r, &body)
		if err != nil {
			return err
		}
		if err := wrong.problem(); err != nil {
			return err
		}
		options := lease.DeviceOptions{By: origin, DryRun: dry}
		was, err := s.Leases.AnswerRequest(r.Context(), lease.ID(r.PathValue("id")), body.Answer, options)
		if errors.Is(err, lease.ErrNotFound) {
			return problem(CodeNoRequest, "this request does not wait any more")
		}
		if err != nil {
			return err
		}
		return writeJSON(w, s.look().waitingRequest(was))
	}
}

// requestShort tells in short what a request is about.
func (s *Server) requestShort(id string) string {
	for _, w := range s.Leases.Snapshot().Waiting {
		if w.ID == lease.ID(id) {
			return w.String()
		}
	}
	return ""
}
