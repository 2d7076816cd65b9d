package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// Problem is every error of the API (RFC 9457, application/problem+json). Programs decide by Code, which is
// stable; Detail is for people.
type Problem struct {
	Type   string `json:"type"` // always "about:blank" (RFC 9457, section 4.2.1): the code says more
	Title  string `json:"title"`
	Status int    `json:"status"`
	Code   Code   `json:"code"`
	Detail string `json:"detail"`

	// RetryAfter is after how many seconds it is worth trying again; absent when that is not known.
	// It is also sent as the header Retry-After.
	RetryAfter int64 `json:"retry_after_seconds,omitempty"`

	// Faults lists what is wrong with the members of a body.
	Faults []Fault `json:"faults,omitempty"`

	// InTheWay lists the leases of devices because of which a rule was refused; with take_over they are closed.
	InTheWay []Lease `json:"in_the_way,omitempty"`
}

// Error makes a Problem an error for the client of the API.
func (p *Problem) Error() string { return p.Detail }

// Code is the stable name of a kind of problem.
type Code string

// The codes.
const (
	CodeInvalid     Code = "invalid_request"
	CodeTooLarge    Code = "too_large"
	CodeMediaType   Code = "unsupported_media_type"
	CodeNotFound    Code = "not_found"
	CodeMethod      Code = "method_not_allowed"
	CodeHost        Code = "foreign_host"
	CodeOrigin      Code = "cross_origin"
	CodeNotOwner    Code = "not_owner"
	CodeSetup       Code = "setup_required"
	CodeLogin       Code = "login_required"
	CodeToken       Code = "invalid_token"
	CodeRole        Code = "role_required"
	CodeNoUser      Code = "user_not_found"
	CodeNoToken     Code = "token_not_found"
	CodeNoSession   Code = "session_not_found"
	CodeNoDevice    Code = "device_not_found"
	CodeNoRequest   Code = "request_not_found"
	CodeNoTarget    Code = "target_not_found"
	CodeExists      Code = "exists"
	CodeLastAdmin   Code = "last_admin"
	CodeWrongCode   Code = "wrong_code"
	CodeNoCode      Code = "no_setup_code"
	CodeWeak        Code = "weak_password"
	CodeWrong       Code = "wrong_password"
	CodeRate        Code = "rate_limited"
	CodeBusy        Code = "busy"
	CodeStreams     Code = "too_many_streams"
	CodeNoLease     Code = "lease_not_found"
	CodeNoRule      Code = "rule_not_found"
	CodeNotAllowed  Code = "not_allowed"
	CodeConflict    Code = "conflict"
	CodeReserved    Code = "reserved"
	CodeExhausted   Code = "exhausted"
	CodeChanged     Code = "changed"
	CodeUnavailable Code = "unavailable"
	CodeStopping    Code = "stopping"
	CodeInternal    Code = "internal"
)

// Codes returns all codes.
func Codes() []Code {
	return []Code{
		CodeInvalid, CodeTooLarge, CodeMediaType, CodeNotFound, CodeMethod, CodeHost, CodeOrigin, CodeNotOwner,
		CodeSetup, CodeLogin, CodeWrongCode, CodeNoCode, CodeWeak, CodeWrong, CodeRate, CodeBusy, CodeStreams,
		CodeNoLease, CodeNoRule, CodeNotAllowed, CodeConflict, CodeReserved, CodeExhausted, CodeChanged,
		CodeUnavailable, CodeStopping, CodeInternal,
		CodeToken, CodeRole, CodeNoUser, CodeNoToken, CodeNoSession, CodeNoDevice, CodeNoRequest, CodeNoTarget, CodeExists, CodeLastAdmin,
	}
}

// httpStatus gives each code its HTTP status.
func httpStatus(c Code) int {
	switch c {
	case CodeInvalid:
		return http.StatusBadRequest
	case CodeLogin, CodeToken:
		return http.StatusUnauthorized
	case CodeHost:
		return http.StatusMisdirectedRequest
	case CodeOrigin, CodeNotOwner, CodeSetup, CodeWrongCode, CodeWrong, CodeNotAllowed, CodeRole:
		return http.StatusForbidden
	case CodeNotFound, CodeNoLease, CodeNoRule, CodeNoCode, CodeNoUser, CodeNoToken, CodeNoSession, CodeNoDevice, CodeNoRequest, CodeNoTarget:
		return http.StatusNotFound
	case CodeConflict, CodeReserved, CodeExhausted, CodeExists, CodeLastAdmin:
		return http.StatusConflict
	case CodeChanged:
		return http.StatusPreconditionFailed
	case CodeMethod:
		return http.StatusMethodNotAllowed
	case CodeTooLarge:
		return http.StatusRequestEntityTooLarge
	case CodeMediaType:
		return http.StatusUnsupportedMediaType
	case CodeWeak:
		return http.StatusUnprocessableEntity
	case CodeRate:
		return http.StatusTooManyRequests
	case CodeBusy, CodeStreams, CodeUnavailable, CodeStopping:
		return http.StatusServiceUnavailable
	default:
		return http.StatusInternalServerError
	}
}

func problem(c Code, format string, args ...any) *Problem {
	status := httpStatus(c)
	return &Problem{
		Type: "about:blank", Title: http.StatusText(status), Status: status,
		Code: c, Detail: fmt.Sprintf(format, args...),
	}
}

// after adds when to try again, rounded up to whole seconds.
func (p *Problem) after(wait time.Duration) *Problem {
	p.RetryAfter = int64((wait + time.Second - 1) / time.Second)
	return p
}

// problemOf is the one place where errors become answers. What is not meant for the other end is hidden behind
// CodeInternal; the caller logs it.
func problemOf(err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return problem(CodeTooLarge, "the request is larger than %d bytes", tooLarge.Limit)
	}
	code := codeOf(err)
	switch code {
	case CodeNoLease:
		return problem(code, "this lease does not exist any more")
	case CodeStopping:
		return problem(code, "portreeve is shutting down")
	case CodeInternal:
		return problem(code, "something went wrong inside portreeve; its log says what")
	case CodeUnavailable:
		return problem(code, "%v", err).after(5 * time.Second)
	default:
		return problem(code, "%s", reasonOf(err)) // the manager words this for the owner
	}
}

// codeOf is the code of an error of the core.
func codeOf(err error) Code {
	rows := []struct {
		err  error
		code Code
	}{
		{lease.ErrInvalid, CodeInvalid},
		{lease.ErrProtocol, CodeInvalid},
		{lease.ErrNotAuthorized, CodeNotAllowed},
		{lease.ErrThirdParty, CodeNotAllowed},
		{lease.ErrPort, CodeNotAllowed},
		{lease.ErrNonce, CodeNotAllowed},
		{lease.ErrReserved, CodeReserved},
		{lease.ErrConflict, CodeConflict},
		{lease.ErrQuota, CodeExhausted},
		{lease.ErrFull, CodeExhausted},
		{lease.ErrNotFound, CodeNoLease},
		{lease.ErrChanged, CodeChanged},
		{lease.ErrUnavailable, CodeUnavailable},
		{lease.ErrStopping, CodeStopping},
	}
	for _, row := range rows {
		if errors.Is(err, row.err) {
			return row.code
		}
	}
	return CodeInternal
}

func setRetryAfter(w http.ResponseWriter, p *Problem) {
	if p.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.FormatInt(p.RetryAfter, 10))
	}
}

// writeProblem answers with a problem as JSON.
func writeProblem(w http.ResponseWriter, p *Problem) {
	setRetryAfter(w, p)
	if p.Status == http.StatusUnauthorized && p.Code == CodeToken {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`) // RFC 6750, section 3
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	// The only errors left are those of a connection that is gone.
	_ = json.NewEncoder(w).Encode(p)
}
