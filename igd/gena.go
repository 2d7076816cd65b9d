package igd

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The methods of GENA (UDA 1.1, section 4.1).
const (
	methodSubscribe   = "SUBSCRIBE"
	methodUnsubscribe = "UNSUBSCRIBE"
)

// How long a subscription lasts if it is not renewed. Less than half an hour is not to be granted, whatever was asked for,
// nor is a subscription without an end (UDA 1.1, section 4.1.1): some clients never unsubscribe.
const (
	minSubscription = 30 * time.Minute
	maxSubscription = 2 * time.Hour
)

// event answers a request for the event URL of a service (UDA 1.1, section 4.1).
func (h *handler) event(ctx context.Context, r *request, s *service, b []byte) response {
	sid, named := r.value("SID")
	switch {
	case r.method != methodSubscribe && r.method != methodUnsubscribe:
		return refuseMethod(r, methodSubscribe+", "+methodUnsubscribe, b)
	case named > 0 && (r.has("NT") || r.has("CALLBACK")):
		return failure(b, http.StatusBadRequest) // is it a new one or not?
	case r.method == methodUnsubscribe:
		if !h.server.events.end(sid, s) {
			return failure(b, http.StatusPreconditionFailed)
		}
		return response{status: http.StatusOK, body: b}
	case named > 0:
		return h.renew(r, s, sid, b)
	default:
		return h.subscribe(ctx, r, s, b)
	}
}

// renew keeps a subscription up.
func (h *handler) renew(r *request, s *service, sid string, b []byte) response {
	lasts := duration(r)
	if !h.server.events.renew(sid, s, lasts) {
		return failure(b, http.StatusPreconditionFailed)
	}
	return granted(sid, lasts, nil, b)
}

// subscribe begins a subscription. Its first event, with all variables, follows the answer: before that the client does
// not know what it would be about.
func (h *handler) subscribe(ctx context.Context, r *request, s *service, b []byte) response {
	if nt, _ := r.value("NT"); nt != "upnp:event" {
		return failure(b, http.StatusPreconditionFailed)
	}
	header, _ := r.value("CALLBACK")
	callbacks := h.permitted(ctx, r, parseCallbacks(header, h.lan.Name))
	if len(callbacks) == 0 {
		return failure(b, http.StatusPreconditionFailed)
	}
	lasts := duration(r)
	sub, ok := h.server.events.begin(subscriber{h.lan, r.client, h.server.deviceOf(r.client)}, s, callbacks, lasts)
	if !ok {
		return failure(b, http.StatusServiceUnavailable)
	}
	h.server.log.Debug("subscription", "client", r.client, "service", s.name, "callback", callbacks[0].to, "sid", sub.id)
	return granted(sub.id, lasts, sub.begin, b)
}

// granted is the answer to who has a subscription now.
func granted(sid string, lasts time.Duration, sent func(), b []byte) response {
	timeout := "Second-" + strconv.Itoa(int(lasts/time.Second))
	return response{status: http.StatusOK, sid: sid, timeout: timeout, sent: sent, body: b}
}

// duration reads TIMEOUT: "Second-1800". What it does not say, or not so, is for us to choose.
func duration(r *request) time.Duration {
	header, _ := r.value("TIMEOUT")
	if number, ok := cutPrefixFold(strings.TrimSpace(header), "Second-"); ok {
		if seconds, err := strconv.ParseUint(number, 10, 31); err == nil {
			return min(max(time.Duration(seconds)*time.Second, minSubscription), maxSubscription)
		}
	}
	return minSubscription
}
