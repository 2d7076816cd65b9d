package web

import (
	"crypto/rand"
	"crypto/subtle"
	"strings"
	"time"
)

const (
	codeAlphabet = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ" // 32 characters, none that is mistaken for another
	codeLength   = 8

	// codeTries is how many wrong codes are accepted before the right one is replaced.
	codeTries = 10

	// resetLifetime is how long a code for a new password can be used.
	resetLifetime = 15 * time.Minute
)

// setupCode is the code that allows to set the password: the proof that somebody can read the router's log or
// its Unix socket. The zero value allows nothing.
type setupCode struct {
	text    string // without the hyphen; "" when there is no code
	reset   bool   // there is a password already, and this code allows another one
	expires time.Time
	wrong   int
}

// newSetupCode makes a code. One for the first password is valid until it is used, a reset code for a while.
func newSetupCode(now time.Time, reset bool) setupCode {
	random := make([]byte, codeLength)
	_, _ = rand.Read(random) // never fails: crypto/rand ends the program instead
	for i, b := range random {
		random[i] = codeAlphabet[int(b)%len(codeAlphabet)] // 256 is a multiple of 32: no bias
	}
	return setupCode{text: string(random), reset: reset, expires: now.Add(resetLifetime)}
}

func (c *setupCode) valid(now time.Time) bool {
	return c.text != "" && (!c.reset || now.Before(c.expires))
}

// matches compares in constant time. Case, spaces and hyphens do not matter.
func (c *setupCode) matches(typed string) bool {
	return subtle.ConstantTimeCompare([]byte(normalCode(typed)), []byte(c.text)) == 1
}

func normalCode(typed string) string {
	if len(typed) > 4*codeLength {
		return ""
	}
	return strings.ToUpper(strings.NewReplacer("-", "", " ", "", "\t", "").Replace(typed))
}

// String returns the code as people read it: XXXX-XXXX.
func (c *setupCode) String() string {
	if c.text == "" {
		return ""
	}
	return c.text[:codeLength/2] + "-" + c.text[codeLength/2:]
}

func (c *setupCode) json(now time.Time) SetupCode {
	answer := SetupCode{Code: c.String(), Reset: c.reset}
	if c.reset {
		answer.ExpiresSeconds = seconds(c.expires.Sub(now))
	}
	return answer
}
