package web

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
)

// The bounds of a password. The least is in characters, because that is what people count; the most is in bytes,
// because that is what is hashed.
const (
	MinPassword = 10
	MaxPassword = 128
)

// checkPassword tells what is wrong with a new password, or nil.
func checkPassword(p string) error {
	switch {
	case !utf8.ValidString(p):
		return problem(CodeWeak, "the password is not valid UTF-8")
	case utf8.RuneCountInString(p) < MinPassword:
		return problem(CodeWeak, "the password must have at least %d characters", MinPassword)
	case len(p) > MaxPassword:
		return problem(CodeWeak, "the password must have at most %d bytes", MaxPassword)
	}
	return nil
}

// argonParams is what argon2id costs. It is stored with each hash, so that it can be raised later.
type argonParams struct {
	memory  uint32 // KiB
	passes  uint32
	threads uint8
}

// currentParams are those that RFC 9106 and OWASP give for small machines: the usual 64 MiB could end a router
// that has 128.
func currentParams() argonParams { return argonParams{memory: 19 * 1024, passes: 2, threads: 1} }

// affordable refuses parameters with which a damaged store could bring the router down.
func (p argonParams) affordable() bool {
	return p.memory >= 8 && p.memory <= 64*1024 && p.passes >= 1 && p.passes <= 10 && p.threads >= 1 && p.threads <= 4
}

const (
	saltSize = 16
	hashSize = 32
)

func (p argonParams) hash(password string, salt []byte) []byte {
	return argon2.IDKey([]byte(password), salt, p.passes, p.memory, p.threads, hashSize)
}

// phcFormat is the "PHC string format" in which argon2's own tools write.
const phcFormat = "$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s"

// newHash hashes a password with a new salt.
func newHash(password string) string {
	p, salt := currentParams(), make([]byte, saltSize)
	_, _ = rand.Read(salt) // never fails: crypto/rand ends the program instead
	return fmt.Sprintf(phcFormat, argon2.Version, p.memory, p.passes, p.threads,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(p.hash(password, salt)))
}

// verify compares a password with a stored hash. An error says that the hash cannot be used.
func verify(password, phc string) (bool, error) {
	p, salt, want, err := parseHash(phc)
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(p.hash(password, salt), want) == 1, nil
}

// checkHash tells why a stored hash cannot be used, or nil.
func checkHash(phc string) error {
	_, _, _, err := parseHash(phc)
	return err
}

// parseHash reads a stored hash.
func parseHash(phc string) (p argonParams, salt, want []byte, err error) {
	parts := strings.Split(phc, "$")
	if len(parts) != 6 || parts[1] != "argon2id" {
		return p, nil, nil, errors.New("the stored password hash is not argon2id in PHC format")
	}
	var version int
	if _, err := fmt.Sscanf(parts[2]+" "+parts[3], "v=%d m=%d,t=%d,p=%d", &version, &p.memory, &p.passes, &p.threads); err != nil {
		return p, nil, nil, fmt.Errorf("the stored password hash has unreadable parameters: %w", err)
	}
	salt, errSalt := base64.RawStdEncoding.DecodeString(parts[4])
	want, errHash := base64.RawStdEncoding.DecodeString(parts[5])
	if errSalt != nil || errHash != nil || len(salt) < 8 || len(want) != hashSize {
		return p, nil, nil, errors.New("the stored password hash is damaged")
	}
	if version != argon2.Version || !p.affordable() {
		return p, nil, nil, fmt.Errorf("the stored password hash has parameters that are not accepted: version %d, %d KiB, %d passes, %d threads",
			version, p.memory, p.passes, p.threads)
	}
	return p, salt, want, nil
}

// hashQueue is how many may wait while one password is hashed.
const hashQueue = 8

// hasher lets one hash be computed at a time, because each takes 19 MiB and a good part of a second of a small
// router's processor.
type hasher struct {
	one, waiting chan struct{}
}

func newHasher() *hasher {
	return &hasher{one: make(chan struct{}, 1), waiting: make(chan struct{}, 1+hashQueue)}
}

// do runs f when it is its turn. It fails at once with CodeBusy when too many wait, and when ctx ends first.
func (h *hasher) do(ctx context.Context, f func()) error {
	select {
	case h.waiting <- struct{}{}:
		defer func() { <-h.waiting }()
	default:
		return problem(CodeBusy, "too many sign-ins at once; try again in a moment").after(2 * time.Second)
	}
	select {
	case h.one <- struct{}{}:
		defer func() { <-h.one }()
	case <-ctx.Done():
		return ctx.Err()
	}
	f()
	return nil
}
