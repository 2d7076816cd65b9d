package igd

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// maxAction bounds how long one action may take: a client must have its answer within 30 seconds (UDA 1.1,
// section 3.2).
const maxAction = 20 * time.Second

// maxAgent is the length in bytes to which a client's name for itself is cut.
const maxAgent = 128

// handler serves one LAN.
type handler struct {
	server    *Server
	lan       netip.Prefix
	documents map[string][]byte
	controls  map[string]*service
}

// Handler returns the handler for one LAN. The prefix is the router's own address there with the length of the
// subnet's prefix; only hosts inside it are answered, and only if they ask for that address.
func (s *Server) Handler(lan netip.Prefix) http.Handler {
	return &handler{server: s, lan: lan, documents: s.documents(lan.Addr()), controls: s.root.controls()}
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	client, err := h.server.guard.admit(r, h.lan)
	if err != nil {
		h.answer(w, http.StatusForbidden, plainText, []byte(err.Error()+"\n"))
		return
	}
	if service, ok := h.controls[r.URL.Path]; ok {
		h.control(w, r, service, client)
		return
	}
	if document, ok := h.documents[r.URL.Path]; ok {
		h.describe(w, r, document)
		return
	}
	h.fail(w, http.StatusNotFound)
}

// describe serves a description. Nobody can subscribe to events at this URL, but clients that take an empty
// eventSubURL for a relative one try it.
func (h *handler) describe(w http.ResponseWriter, r *http.Request, document []byte) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.refuseMethod(w, r, "GET, HEAD")
		return
	}
	if r.Header.Get("Accept-Language") != "" {
		w.Header().Set("Content-Language", "en") // UDA 1.1, section 2.11
	}
	h.answer(w, http.StatusOK, textXML, document)
}

// control takes one SOAP request (UDA 1.1, section 3.2.1).
func (h *handler) control(w http.ResponseWriter, r *http.Request, s *service, client netip.Addr) {
	if r.Method != http.MethodPost {
		h.refuseMethod(w, r, "POST")
		return
	}
	// A browser cannot be made to send this header to another site's server without asking first, so it must
	// not be optional, though the body tells the same.
	header := r.Header.Values("Soapaction")
	if len(header) != 1 {
		h.fail(w, http.StatusBadRequest)
		return
	}
	namespace, name, err := parseSOAPAction(header[0])
	if err != nil {
		h.fail(w, http.StatusBadRequest)
		return
	}
	body, status := readBody(w, r)
	if status != http.StatusOK {
		w.Header().Set("Connection", "close")
		h.fail(w, status)
		return
	}
	c := call{action: name, client: client, agent: lease.CleanText(r.UserAgent(), maxAgent)}
	ctx, cancel := context.WithTimeout(r.Context(), maxAction)
	defer cancel()
	reply, err := s.invoke(ctx, namespace, body, c)
	var fault code
	switch {
	case err == nil:
		h.answer(w, http.StatusOK, textXML, reply)
	case errors.As(err, &fault):
		h.server.log.Debug("action refused", "client", client, "action", name, "err", fault)
		h.answer(w, http.StatusInternalServerError, textXML, encodeFault(fault))
	default:
		h.server.log.Debug("request not understood", "client", client, "err", err)
		h.fail(w, http.StatusBadRequest)
	}
}

// readBody reads at most [maxBody] bytes; anything but status 200 means that there is none.
func readBody(w http.ResponseWriter, r *http.Request) (body []byte, status int) {
	if r.ContentLength > maxBody {
		return nil, http.StatusRequestEntityTooLarge
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, http.StatusRequestEntityTooLarge
	case err != nil:
		return nil, http.StatusBadRequest
	default:
		return body, http.StatusOK
	}
}

// invoke runs one call of the service and returns the answer's body. The error is a [code], or any other if the
// body is not a SOAP request at all.
func (s *service) invoke(ctx context.Context, namespace string, body []byte, c call) ([]byte, error) {
	said, err := decodeInvocation(body)
	if err != nil {
		return nil, err
	}
	// Header and body must agree on what is to be done. Which of them a proxy or a filter on the way has looked at
	// is not known.
	if said.action != c.action {
		return nil, invalidAction
	}
	if namespace == controlNamespace && c.action == "QueryStateVariable" {
		return s.query(said.args)
	}
	version, ok := s.versionOf(namespace)
	if !ok {
		return nil, invalidAction
	}
	a, err := s.find(c.action)
	if err != nil {
		return nil, err
	}
	c.version = version
	if c.args, err = s.check(a, version, said.args); err != nil {
		return nil, err
	}
	values, err := a.run(ctx, &c)
	if err != nil {
		return nil, err
	}
	return encodeResponse(namespace, a, values), nil
}

// query answers QueryStateVariable (UDA 1.0, section 3.3), which Windows XP still asks.
func (s *service) query(args map[string]string) ([]byte, error) {
	name, ok := args["varName"]
	if !ok {
		return nil, invalidArgs
	}
	v, ok := s.variable(name)
	if !ok || v.current == nil {
		return nil, invalidVar
	}
	return encodeVariable(v.current()), nil
}

const (
	textXML   = `text/xml; charset="utf-8"`
	plainText = `text/plain; charset="utf-8"`
)

// refuseMethod answers a request for something else than the path is for. Methods that HTTP itself does not know
// (M-POST, SUBSCRIBE) are answered so that clients do not try again (UDA 1.1, section 3.2.1).
func (h *handler) refuseMethod(w http.ResponseWriter, r *http.Request, allow string) {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
		http.MethodOptions, http.MethodTrace, http.MethodConnect:
		w.Header().Set("Allow", allow)
		h.fail(w, http.StatusMethodNotAllowed)
	default:
		h.fail(w, http.StatusNotImplemented)
	}
}

func (h *handler) fail(w http.ResponseWriter, status int) {
	h.answer(w, status, plainText, []byte(http.StatusText(status)+"\n"))
}

// answer sends one response at once, with the headers that UDA 1.1, sections 2.11 and 3.2.2 want. Old clients
// cannot read chunks, so the length is always given.
func (h *handler) answer(w http.ResponseWriter, status int, contentType string, body []byte) {
	header := w.Header()
	header.Set("Content-Type", contentType)
	header.Set("Content-Length", strconv.Itoa(len(body)))
	header.Set("Ext", "")
	if h.server.product != "" {
		header.Set("Server", h.server.product)
	}
	w.WriteHeader(status)
	// Whoever does not read its answer has gone; there is nobody to tell.
	_, _ = w.Write(body)
}
