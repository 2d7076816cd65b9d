package web

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

func etag(version uint64) string { return fmt.Sprintf("%q", strconv.FormatUint(version, 10)) }

// versions is the list of an If-Match header (RFC 9110, section 13.1.1): of which versions something must be to be changed.
// "" and "*" are any.
type versions string

// ifMatch returns what a request says in If-Match, "" if nothing.
func ifMatch(r *http.Request) versions {
	return versions(strings.Join(r.Header.Values("If-Match"), ","))
}

// of returns the version that something must still have when it is changed, 0 for any. has is that which it has now, and
// what a word for it.
func (v versions) of(what string, has uint64) (uint64, error) {
	switch trimmed := strings.TrimSpace(string(v)); {
	case trimmed == "" || trimmed == "*":
		return 0, nil
	case !v.include(has):
		return 0, problem(CodeChanged, "the %s has version %d, which is none of those in If-Match: look at it again", what, has)
	}
	return has, nil // should it change on the way, the manager refuses
}

// include tells whether a version is in the list. Weak tags never match.
func (v versions) include(version uint64) bool {
	return slices.ContainsFunc(strings.Split(string(v), ","), func(tag string) bool { return strings.TrimSpace(tag) == etag(version) })
}
