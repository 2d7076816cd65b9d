package web

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/portreeve/portreeve/lease"
)

// CloseRequest is the body of POST leases/close: which leases. They are named in one way: by IDs, by what they have in common, or
// all.
type CloseRequest struct {
	IDs    []lease.ID   `json:"ids"`
	Device string       `json:"device"` // MAC address, or the address that the ports lead to
	Port   uint16       `json:"port"`   // outside
	Via    lease.Origin `json:"via"`
	All    bool         `json:"all"`
}

// CloseResult answers POST leases/close.
type CloseResult struct {
	DryRun bool        `json:"dry_run"` // nothing has changed
	Closed []Lease     `json:"closed"`  // as they were
	Failed []NotClosed `json:"failed"`
}

// NotClosed is a lease that was named and is not closed.
type NotClosed struct {
	ID     lease.ID `json:"id"`
	Status int      `json:"status"` // and Code: those of a problem
	Code   Code     `json:"code"`
	Detail string   `json:"detail"`
}

// postClose closes leases in the name of the owner, who came by origin.
func (s *Server) postClose(origin lease.Origin) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		dry, err := flag(r, "dry_run")
		if err != nil {
			return err
		}
		var body CloseRequest
		wrong, err := readMembers(r, &body)
		if err != nil {
			return err
		}
		which := body.selection(&wrong)
		if err := wrong.problem(); err != nil {
			return err
		}
		done, err := s.Leases.CloseSelected(r.Context(), which, lease.CloseOptions{By: origin, DryRun: dry})
		if err != nil {
			return err
		}
		result, v := CloseResult{dry, []Lease{}, []NotClosed{}}, s.look()
		var texts []string
		for _, one := range done {
			if one.Err != nil {
				p := problemOf(one.Err)
				result.Failed = append(result.Failed, NotClosed{lease.ID(lease.CleanText(string(one.ID), 32)), p.Status, p.Code, p.Detail})
				continue
			}
			result.Closed = append(result.Closed, v.lease(one.Lease))
			texts = append(texts, one.Lease.String())
		}
		noteBefore(w, strings.Join(texts, "; "))
		return writeJSON(w, result)
	}
}

func (b CloseRequest) selection(wrong *faults) lease.Selection {
	which := lease.Selection{IDs: b.IDs, Port: b.Port, Via: b.Via, All: b.All}
	if b.Device == "" {
		return which
	}
	if addr, err := netip.ParseAddr(b.Device); err == nil {
		which.Addr = addr.Unmap()
		return which
	}
	mac, err := net.ParseMAC(b.Device)
	if err != nil || len(mac) != 6 {
		wrong.add("device", "is %q, allowed is a MAC address such as 02:00:00:00:00:10, or the address of a device", lease.CleanText(b.Device, 32))
		return which
	}
	which.Device = mac.String()
	return which
}
