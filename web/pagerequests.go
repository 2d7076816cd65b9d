package web

import (
	"net/http"

	"github.com/portreeve/portreeve/lease"
)

// requestsData is the data of the page of requests that wait for the owner.
type requestsData struct {
	Waiting []waitingRow
}

// waitingRow is a request as the page shows it.
type waitingRow struct {
	WaitingRequest
	Key, Name, Ports string
	Service          string // what is usually at this port; "" if nothing that is known to be risky
}

func (s *Server) requestsPage(w http.ResponseWriter, r *http.Request) error {
	return s.showRequests(w, r, nil)
}

func (s *Server) showRequests(w http.ResponseWriter, r *http.Request, why *Problem) error {
	now := s.look()
	d := requestsData{}
	for _, q := range now.waiting() {
		d.Waiting = append(d.Waiting, waitingRow{
			WaitingRequest: q, Key: deviceRef(q.Device, q.InternalAddress), Name: now.deviceName(q.Device, q.InternalAddress),
			Ports: portsText(q.ExternalPort, q.PortCount), Service: lease.RiskyService(q.ExternalPort, q.PortCount),
		})
	}
	return s.show(w, r, now, "requests.html", page{Title: "requests.title", At: "devices", Problem: why, Live: "parts", Data: d})
}

func (s *Server) requestForm(w http.ResponseWriter, r *http.Request) error {
	if err := readForm(r); err != nil {
		return err
	}
	body := RequestAnswer{lease.Answer(r.PostForm.Get("answer"))}
	if err := call[WaitingRequest](r, s.postRequest(lease.OriginWeb), r.PathValue("id"), body, nil); err != nil {
		return s.showRequests(w, r, s.answerError(r, err))
	}
	http.Redirect(w, r, link("/requests", "done", "answered"), http.StatusSeeOther)
	return nil
}
