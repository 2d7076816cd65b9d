package web

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"
)

// owner guards the one account: first password, sign-in, lost password.
type owner struct {
	accounts Accounts
	hasher   *hasher
	limiter  *limiter
	sessions *sessions
	now      func() time.Time
	log      *slog.Logger

	mu   sync.Mutex
	hash string // as stored; "" before the first setup
	code setupCode
}

func newOwner(ctx context.Context, accounts Accounts, now func() time.Time, log *slog.Logger) (*owner, error) {
	hash, err := accounts.PasswordHash(ctx)
	if err != nil {
		return nil, fmt.Errorf("web: read the password: %w", err)
	}
	o := &owner{
		accounts: accounts, hasher: newHasher(), limiter: newLimiter(), sessions: newSessions(now),
		now: now, log: log, hash: hash,
	}
	if hash == "" {
		o.replaceCode()
	}
	return o, nil
}

// replaceCode makes a new setup code and logs it, which is how it reaches the owner. The caller holds mu,
// or is the only one who knows o.
func (o *owner) replaceCode() {
	o.code = newSetupCode(o.now(), o.hash != "")
	o.log.Info("open the admin page and set a password with this code", "setup_code", o.code.String())
}

// configured tells whether a password has been set.
func (o *owner) configured() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.hash != ""
}

// currentCode returns the setup code, if there is one that can be used.
func (o *owner) currentCode() (SetupCode, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.now()
	if !o.code.valid(now) {
		return SetupCode{}, problem(CodeNoCode, "a password is set and there is no setup code; make a new code to replace a lost password")
	}
	return o.code.json(now), nil
}

// newCode voids the setup code, makes another one and returns it.
func (o *owner) newCode() SetupCode {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.replaceCode()
	return o.code.json(o.now())
}

// setup sets the password of whoever knows the setup code, ends all sessions and opens one.
func (o *owner) setup(ctx context.Context, from netip.Addr, code, password string) (token string, err error) {
	// A password that would be refused must not cost the code.
	if err := checkPassword(password); err != nil {
		return "", err
	}
	if err := o.allow(from); err != nil {
		return "", err
	}
	taken, err := o.takeCode(from, code)
	if err != nil {
		return "", err
	}
	var hash string
	err = o.hasher.do(ctx, func() { hash = newHash(password) })
	if err == nil {
		if err = o.accounts.SetPasswordHash(ctx, hash); err != nil {
			o.log.Error("the password could not be stored", "err", err)
			err = problem(CodeUnavailable, "the password could not be stored; the log says why")
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if err != nil {
		// Nothing has changed, so the code is good for another try, unless a newer one has come since.
		if o.code.text == "" {
			o.code = taken
		}
		return "", err
	}
	// Any code made meanwhile goes too: one for the first password would be valid for ever.
	o.hash, o.code = hash, setupCode{}
	o.sessions.endAll()
	o.limiter.forgive(from)
	o.log.Info("the owner's password was set", "client", from)
	return o.sessions.open(), nil
}

// takeCode makes the code void for everybody else if it is the right one.
func (o *owner) takeCode(from netip.Addr, typed string) (setupCode, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.code.valid(o.now()) {
		return setupCode{}, problem(CodeNoCode, "there is no setup code; get one on the router with: portreeve setup-code")
	}
	if !o.code.matches(typed) {
		o.log.Warn("wrong setup code", "client", from)
		if o.code.wrong++; o.code.wrong >= codeTries {
			o.replaceCode()
		}
		return setupCode{}, problem(CodeWrongCode, "this is not the setup code")
	}
	taken := o.code
	o.code = setupCode{}
	return taken, nil
}

// login opens a session for whoever knows the password.
func (o *owner) login(ctx context.Context, from netip.Addr, password string) (token string, err error) {
	o.mu.Lock()
	stored := o.hash
	o.mu.Unlock()
	if stored == "" {
		return "", setupRequired()
	}
	if err := o.allow(from); err != nil {
		return "", err
	}
	if len(password) > MaxPassword {
		return "", wrongPassword()
	}
	var ok bool
	var damaged error
	if err := o.hasher.do(ctx, func() { ok, damaged = verify(password, stored) }); err != nil {
		return "", err
	}
	if damaged != nil {
		return "", fmt.Errorf("sign in: %w; set a new password with: portreeve setup-code", damaged)
	}
	if !ok {
		o.log.Warn("wrong password", "client", from)
		return "", wrongPassword()
	}
	return o.admit(from, stored)
}

// admit opens the session, unless the password was changed while its hash was computed.
func (o *owner) admit(from netip.Addr, proven string) (token string, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.hash != proven {
		return "", wrongPassword()
	}
	o.limiter.forgive(from)
	o.log.Info("the owner signed in", "client", from)
	return o.sessions.open(), nil
}

func (o *owner) allow(from netip.Addr) error {
	if wait := o.limiter.take(o.now(), from); wait > 0 {
		p := problem(CodeRate, "").after(wait)
		p.Detail = fmt.Sprintf("too many tries; wait %d s", p.RetryAfter)
		return p
	}
	return nil
}

func setupRequired() *Problem {
	return problem(CodeSetup, "no password is set yet; set one with the setup code from the log or from: portreeve setup-code")
}

func wrongPassword() *Problem { return problem(CodeWrong, "wrong password") }

// MemoryAccounts keeps the password hash until the program ends, for a daemon that shall write nothing.
type MemoryAccounts struct {
	mu   sync.Mutex
	hash string
}

// NewMemoryAccounts returns accounts without a password.
func NewMemoryAccounts() *MemoryAccounts { return &MemoryAccounts{} }

// PasswordHash implements [Accounts]; it never fails.
func (a *MemoryAccounts) PasswordHash(context.Context) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.hash, nil
}

// SetPasswordHash implements [Accounts]; it never fails.
func (a *MemoryAccounts) SetPasswordHash(_ context.Context, hash string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.hash = hash
	return nil
}
