package igd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"time"
)

// maxAction bounds how long one action may take: a client must have its answer within 30 seconds (UDA 1.1,
// section 3.2).
const maxAction = 20 * time.Second

// handler answers the requests of one LAN. It knows nothing of connections.
type handler struct {
	server    *Server
	lan       LAN
	roots     map[view][]byte // descriptions of the root device
	documents map[string]document
	controls  map[string]*service
	events    map[string]*service
}

// handler returns the one for a LAN.
func (s *Server) handler(lan LAN) *handler {
	h := &handler{server: s, lan: lan, controls: s.servicePaths((*service).controlPath), events: s.eventPaths()}
	h.documents, h.roots = s.documents(cmp.Or(lan.Pages, lan.Addr))
	return h
}

// handle answers a request. The body of the response is appended to b.
func (h *handler) handle(ctx context.Context, r *request, b []byte) response {
	if err := h.server.guard.admit(r, &h.lan); err != nil {
		b = append(append(b, err.Error()...), '\n')
		return response{status: http.StatusForbidden, kind: plainText, body: b}
	}
	h.server.heard(r.client)
	if service, ok := h.controls[r.path]; ok {
		return h.control(ctx, r, service, b)
	}
	if service, ok := h.events[r.path]; ok {
		return h.event(ctx, r, service, b)
	}
	if v, ok := h.server.viewFor(r); ok {
		return serve(r, textXML, h.roots[v], b)
	}
	if d, ok := h.documents[r.path]; ok {
		if d.plain != nil && needsVersion1(r) {
			d.body = d.plain
		}
		return serve(r, d.kind, d.body, b)
	}
	return failure(b, http.StatusNotFound)
}

// serve serves a document.
func serve(r *request, kind string, document, b []byte) response {
	if r.method != http.MethodGet && r.method != http.MethodHead {
		return refuseMethod(r, "GET, HEAD", b)
	}
	return response{
		status: http.StatusOK, kind: kind, body: append(b, document...),
		language: r.has("Accept-Language"), // UDA 1.1, section 2.11
	}
}

// control takes one SOAP request (UDA 1.1, section 3.2.1).
func (h *handler) control(ctx context.Context, r *request, s *service, b []byte) response {
	if r.method != http.MethodPost {
		return refuseMethod(r, "POST", b)
	}
	// A browser cannot be made to send this header to another site's server without asking first, so it must
	// not be optional, though the body tells the same.
	header, count := r.value("SOAPAction")
	if count != 1 {
		return failure(b, http.StatusBadRequest)
	}
	namespace, name, err := parseSOAPAction(header)
	if err != nil {
		return failure(b, http.StatusBadRequest)
	}
	body, err := r.body()
	if err != nil {
		return unreadable(b, err)
	}
	agent, _ := r.value("User-Agent")
	c := call{action: name, client: r.client, agent: agent, wait: r.wait}
	reply, err := s.invoke(ctx, namespace, body, &c, b)
	if err == nil {
		return response{status: http.StatusOK, kind: textXML, body: reply}
	}
	fault, ok := errors.AsType[code](err)
	if !ok {
		// Not by an HTTP status alone: miniupnpc, which does not escape descriptions, takes every answer without an error
		// code for a success.
		fault = invalidArgs
		err = fmt.Errorf("%w: %w", fault, err)
	}
	h.server.log.Debug("action refused", "client", r.client, "action", name, "err", err)
	return response{status: http.StatusInternalServerError, kind: textXML, body: appendFault(b, fault)}
}

// invoke runs one call of the service and appends the body of the answer to b. The error is a [code], or any other if
// the body is not a SOAP request at all.
func (s *service) invoke(ctx context.Context, namespace, body string, c *call, b []byte) ([]byte, error) {
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
		return s.query(said.args, c.client, b)
	}
	version, ok := s.versionOf(namespace)
	if !ok {
		return nil, invalidAction
	}
	owner, a, err := s.find(c.action)
	if err != nil {
		return nil, err
	}
	c.version = version
	if c.args, err = owner.check(a, version, said.args); err != nil {
		return nil, err
	}
	values, err := a.answer(ctx, c)
	if err != nil {
		return nil, err
	}
	return appendResponse(b, namespace, a, values), nil
}

// query answers QueryStateVariable (UDA 1.0, section 3.3), which Windows XP still asks.
func (s *service) query(args arguments, client netip.Addr, b []byte) ([]byte, error) {
	name, ok := args.get("varName")
	if !ok {
		return nil, invalidArgs
	}
	v, ok := s.variable(name)
	if !ok || v.current == nil {
		return nil, invalidVar
	}
	return appendVariable(b, v.current(client)), nil
}

// refuseMethod answers a request for something else than the path is for. Methods that HTTP itself does not know
// (M-POST) are answered so that clients do not try again (UDA 1.1, section 3.2.1).
func refuseMethod(r *request, allow string, b []byte) response {
	switch r.method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
		http.MethodOptions, http.MethodTrace, http.MethodConnect:
		w := failure(b, http.StatusMethodNotAllowed)
		w.allow = allow
		return w
	default:
		return failure(b, http.StatusNotImplemented)
	}
}
