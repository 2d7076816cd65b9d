package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// DefaultUser is the name of the first account, and of the one that signs in without telling a name.
const DefaultUser = "admin"

// maxUsers bounds the accounts.
const maxUsers = 64

// owner guards who comes in: the accounts, the first password, sign-in, lost passwords.
type owner struct {
	records  Records
	hasher   *hasher
	limiter  *limiter
	sessions *sessions
	tokens   *tokens
	now      func() time.Time
	log      *slog.Logger

	mu    sync.Mutex
	users map[string]user
	code  setupCode
}

// user is an account.
type user struct {
	name    string
	role    Role
	hash    string // of the password
	created time.Time
	version uint64 // counts up with each change
}

// userRecord is how an account is stored. The first versions had one account, without a role.
type userRecord struct {
	Version int    `json:"v"`
	Hash    string `json:"password_hash"`
	Role    Role   `json:"role,omitempty"`
	Created int64  `json:"created_ms,omitempty"`
	Changes uint64 `json:"version,omitempty"`
}

func (u user) record() []byte {
	return encode(userRecord{recordVersion, u.hash, u.role, u.created.UnixMilli(), u.version})
}

func newOwner(ctx context.Context, c Config, o *outbox) (*owner, error) {
	own := &owner{
		records: c.Records, hasher: newHasher(), limiter: newLimiter(), now: c.Leases.Now, log: c.Logger, users: map[string]user{},
	}
	stored, err := c.Records.Records(ctx, kindUsers)
	if err != nil {
		return nil, fmt.Errorf("web: read the accounts: %w", err)
	}
	for name, text := range stored {
		var r userRecord
		if err := json.Unmarshal(text, &r); err != nil {
			return nil, fmt.Errorf("web: read the account %.64q: %w", name, err)
		}
		if r.Role == "" {
			r.Role = RoleAdmin
		}
		own.users[name] = user{name, r.Role, r.Hash, time.UnixMilli(r.Created), max(1, r.Changes)}
	}
	if own.sessions, err = loadSessions(ctx, c.Records, own.now, c.Clock, o); err != nil {
		return nil, fmt.Errorf("web: %w", err)
	}
	if own.tokens, err = loadTokens(ctx, c.Records, own.now, c.Clock, o); err != nil {
		return nil, fmt.Errorf("web: %w", err)
	}
	if !own.configured() {
		own.replaceCode()
	}
	return own, nil
}

// replaceCode makes a new setup code and logs it, which is how it reaches the owner. The caller holds mu,
// or is the only one who knows o.
func (o *owner) replaceCode() {
	o.code = newSetupCode(o.now(), len(o.users) > 0)
	o.log.Info("open the admin page and set a password with this code", "setup_code", o.code.String())
}

// configured tells whether a password has been set.
func (o *owner) configured() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.users) > 0
}

// user returns an account; false if there is none of that name.
func (o *owner) user(name string) (user, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	u, ok := o.users[name]
	return u, ok
}

// list returns the accounts by name.
func (o *owner) list() []user {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := make([]user, 0, len(o.users))
	for _, u := range o.users {
		all = append(all, u)
	}
	slices.SortFunc(all, func(a, b user) int { return strings.Compare(a.name, b.name) })
	return all
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

// setup sets the password of whoever knows the setup code, ends all sessions and opens one. An account that does not exist
// becomes one that may everything; name "" is [DefaultUser].
func (o *owner) setup(ctx context.Context, v visitor, name, code, password string) (token string, err error) {
	if name == "" {
		name = DefaultUser
	}
	// What would be refused must not cost the code.
	if err := checkUserName(name); err != nil {
		return "", err
	}
	if err := checkPassword(password); err != nil {
		return "", err
	}
	if err := o.allow(v.from, ""); err != nil {
		return "", err
	}
	taken, err := o.takeCode(v.from, code)
	if err != nil {
		return "", err
	}
	c := changes{}
	var u user
	hash, err := o.hash(ctx, password)
	if err == nil {
		u = o.withPassword(name, hash)
		c.put(kindUsers, name, u.record())
		o.sessions.drop(c, func(*session) bool { return true })
		err = o.store(ctx, c)
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
	o.users[name], o.code = u, setupCode{}
	o.limiter.forgive(v.from, name)
	o.log.Info("the owner's password was set", "client", v.from, "user", name)
	return o.sessions.open(ctx, name, v), nil
}

// withPassword returns an account with another password; a new one that may everything if there is none of that name.
func (o *owner) withPassword(name, hash string) user {
	u, ok := o.user(name)
	if !ok {
		u = user{name: name, role: RoleAdmin, created: o.now().Round(0)}
	}
	u.hash = hash
	u.version++
	return u
}

// hash computes the hash of a new password when it is its turn.
func (o *owner) hash(ctx context.Context, password string) (hash string, err error) {
	err = o.hasher.do(ctx, func() { hash = newHash(password) })
	return hash, err
}

// store makes changes of accounts durable.
func (o *owner) store(ctx context.Context, c changes) error {
	if err := o.records.PutRecords(ctx, c); err != nil {
		o.log.Error("the accounts could not be stored", "err", err)
		return problem(CodeUnavailable, "it could not be stored; the log says why")
	}
	return nil
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

// login opens a session for whoever knows the password of an account; name "" is the one that was there first.
func (o *owner) login(ctx context.Context, v visitor, name, password string) (u user, token string, err error) {
	if !o.configured() {
		return user{}, "", setupRequired()
	}
	if name == "" {
		name = o.firstUser()
	}
	u, err = o.prove(ctx, v, name, password)
	if err != nil {
		return user{}, "", err
	}
	return o.admit(ctx, v, u)
}

// firstUser is the name of the account that signs in without telling one.
func (o *owner) firstUser() string {
	first := user{name: DefaultUser}
	for _, u := range o.list() {
		if u.name == DefaultUser {
			return DefaultUser
		}
		if first.hash == "" || u.created.Before(first.created) {
			first = u
		}
	}
	return first.name
}

// prove returns the account of a name if the password is right. Whether there is such an account the answer does not tell,
// nor the time that it takes.
func (o *owner) prove(ctx context.Context, v visitor, name, password string) (user, error) {
	if err := o.allow(v.from, name); err != nil {
		return user{}, err
	}
	if len(password) > MaxPassword {
		return user{}, wrongPassword()
	}
	u, known := o.user(name)
	stored := u.hash
	if !known {
		stored = hashOfNobody
	}
	var ok bool
	var damaged error
	if err := o.hasher.do(ctx, func() { ok, damaged = verify(password, stored) }); err != nil {
		return user{}, err
	}
	if damaged != nil {
		return user{}, fmt.Errorf("sign in: %w; set a new password with: portreeve setup-code", damaged)
	}
	if !ok || !known {
		o.log.Warn("wrong password", "client", v.from, "user", lease.CleanText(name, maxName))
		return user{}, wrongPassword()
	}
	return u, nil
}

// hashOfNobody costs as much to compare with as that of an account, and fits no password.
const hashOfNobody = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// admit opens the session, unless the account was changed while the hash was computed.
func (o *owner) admit(ctx context.Context, v visitor, proven user) (user, string, error) {
	if u, ok := o.user(proven.name); !ok || u.hash != proven.hash {
		return user{}, "", wrongPassword()
	}
	o.limiter.forgive(v.from, proven.name)
	o.log.Info("somebody signed in", "client", v.from, "user", proven.name)
	return proven, o.sessions.open(ctx, proven.name, v), nil
}

// allow counts a try to come in from an address to an account, "" for none.
func (o *owner) allow(from netip.Addr, account string) error {
	if wait := o.limiter.take(o.now(), from, account); wait > 0 {
		p := problem(CodeRate, "").after(wait)
		p.Detail = fmt.Sprintf("too many tries; wait %d s", p.RetryAfter)
		return p
	}
	return nil
}

// userChange says what shall become of an account.
type userChange struct {
	name    string
	ifMatch versions
	dryRun  bool
	change  func(*user)   // a role of "" removes it
	also    func(changes) // ends what must not go on, and adds to the changes that it goes from the store too; may be nil
}

// changeUser changes an account, stores it and makes it so. It returns the account as it is then.
func (o *owner) changeUser(ctx context.Context, what userChange) (user, error) {
	name := what.name
	o.mu.Lock()
	defer o.mu.Unlock()
	u, ok := o.users[name]
	if !ok {
		return user{}, noUser()
	}
	if _, err := what.ifMatch.of("account", u.version); err != nil {
		return user{}, err
	}
	next := u
	what.change(&next)
	if u.role == RoleAdmin && next.role != RoleAdmin && !o.otherAdmin(name) {
		return user{}, problem(CodeLastAdmin, "%s is the only account that may set accounts: make another one %s first", name, RoleAdmin)
	}
	next.version++
	if what.dryRun {
		return next, nil
	}
	c := changes{}
	if what.also != nil {
		what.also(c)
	}
	record := next.record()
	if next.role == "" { // it goes
		record = nil
	}
	c.put(kindUsers, name, record)
	if err := o.store(ctx, c); err != nil {
		return user{}, err
	}
	if o.users[name] = next; next.role == "" {
		delete(o.users, name)
	}
	return next, nil
}

// replaceUsers makes the accounts those that are wanted, and returns which of them are new or other than before, and which
// are gone. Sessions end with their account or its password, but the one that is kept as long as its account is there.
func (o *owner) replaceUsers(ctx context.Context, wanted []user, dryRun bool, kept string) (added, removed []string, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	next, c := map[string]user{}, changes{}
	for _, u := range wanted {
		old, known := o.users[u.name]
		u.created, u.version = o.now().Round(0), 1
		if known {
			u.created, u.version = old.created, old.version+1
		}
		if old.role == u.role && old.hash == u.hash {
			u = old
		} else {
			added = append(added, u.name)
			c.put(kindUsers, u.name, u.record())
		}
		next[u.name] = u
	}
	for _, name := range slices.Sorted(maps.Keys(o.users)) {
		if _, stays := next[name]; !stays {
			removed = append(removed, name)
			c.put(kindUsers, name, nil)
		}
	}
	if dryRun || len(c) == 0 {
		return added, removed, nil
	}
	o.sessions.drop(c, func(one *session) bool {
		u, stays := next[one.user]
		return !stays || u.hash != o.users[one.user].hash && one.id != kept
	})
	o.tokens.drop(c, func(t *apiToken) bool {
		_, stays := next[t.user]
		return t.user != "" && !stays
	})
	if err := o.store(ctx, c); err != nil {
		return added, removed, err
	}
	o.users = next
	if !o.code.reset {
		o.code = setupCode{}
	}
	return added, removed, nil
}

// endOthers ends the sessions of an account but one.
func (o *owner) endOthers(c changes, name, kept string) {
	o.sessions.drop(c, func(one *session) bool { return one.user == name && one.id != kept })
}

// otherAdmin tells whether somebody else may everything. The caller holds mu.
func (o *owner) otherAdmin(name string) bool {
	for _, u := range o.users {
		if u.name != name && u.role == RoleAdmin {
			return true
		}
	}
	return false
}

// addUser makes an account.
func (o *owner) addUser(ctx context.Context, u user, dryRun bool) (user, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch _, exists := o.users[u.name]; {
	case exists:
		return user{}, problem(CodeExists, "there is an account %q already", u.name)
	case len(o.users) >= maxUsers:
		return user{}, problem(CodeExhausted, "there are %d accounts, allowed are %d: remove one that is of no use", len(o.users), maxUsers)
	case len(o.users) == 0 && u.role != RoleAdmin:
		return user{}, problem(CodeLastAdmin, "the first account must have the role %s", RoleAdmin)
	}
	u.version, u.created = 1, o.now().Round(0)
	if dryRun {
		return u, nil
	}
	c := changes{}
	c.put(kindUsers, u.name, u.record())
	if err := o.store(ctx, c); err != nil {
		return user{}, err
	}
	o.users[u.name] = u
	if !o.code.reset { // that for the first password is of no use any more
		o.code = setupCode{}
	}
	return u, nil
}

// checkUserName tells what is wrong with a name of an account, or nil.
func checkUserName(name string) error {
	const allowed = "abcdefghijklmnopqrstuvwxyz0123456789._-"
	if name == "" || len(name) > 32 || strings.Trim(name, allowed) != "" || strings.ContainsAny(name[:1], "._-") {
		var f faults
		f.add("name", "is %q, allowed are 1 to 32 of a-z, 0-9, dot, underscore and hyphen, the first a letter or digit", lease.CleanText(name, maxName))
		return f.problem()
	}
	return nil
}

func setupRequired() *Problem {
	return problem(CodeSetup, "no password is set yet; set one with the setup code from the log or from: portreeve setup-code")
}

func wrongPassword() *Problem { return problem(CodeWrong, "wrong name or password") }

func noUser() *Problem { return problem(CodeNoUser, "there is no such account (any more)") }

// isWrong tells whether somebody could not show who they are.
func isWrong(err error) bool {
	p, ok := errors.AsType[*Problem](err)
	return ok && slices.Contains([]Code{CodeWrong, CodeWrongCode, CodeRate}, p.Code)
}
