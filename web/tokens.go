package web

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/portreeve/portreeve/lease"
)

const (
	// tokenPrefix makes tokens recognizable, for people and for programs that look for secrets where none should be.
	tokenPrefix = "portreeve_"

	maxTokens = 64

	defaultTokenLife = 90 * 24 * time.Hour
	longestTokenLife = 5 * 365 * 24 * time.Hour
)

// TokenList answers GET tokens.
type TokenList struct {
	Tokens []Token `json:"tokens"` // the newest first
}

// Token is a token by which programs use the API.
type Token struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	User    string    `json:"user"` // the account that has made it; "": somebody on the router itself
	Role    Role      `json:"role"`
	Areas   []Area    `json:"areas"` // the parts of the API that it is for; none: all
	Created time.Time `json:"created"`

	ExpiresSeconds int64  `json:"expires_seconds"`
	Used           string `json:"used"` // RFC 3339, about when it was used last; "": never
}

// NewToken answers POST tokens.
type NewToken struct {
	Token  Token  `json:"token"`
	Secret string `json:"secret"` // is shown this once
}

// TokenRequest is the body of POST tokens.
type TokenRequest struct {
	Name            string   `json:"name"`
	Role            Role     `json:"role"`             // absent: viewer
	Areas           []string `json:"areas"`            // absent or none: all
	LifetimeSeconds uint64   `json:"lifetime_seconds"` // absent: 90 days
}

// tokens remembers those that have not ended, by the hashes of their secrets.
type tokens struct {
	now    func() time.Time
	clock  func() (lease.Instant, error)
	outbox *outbox

	mu  sync.Mutex
	all map[tokenHash]*apiToken
}

// apiToken is one. Its end carries a monotonic reading; created and used are for people.
type apiToken struct {
	id, name, user string
	role           Role
	areas          []Area
	created, used  time.Time
	ends           time.Time
	stored         time.Time // when its use was stored last
}

// tokenRecord is how a token is stored.
type tokenRecord struct {
	Version int     `json:"v"`
	Hash    string  `json:"hash"`
	Name    string  `json:"name"`
	User    string  `json:"user,omitempty"`
	Role    Role    `json:"role"`
	Areas   []Area  `json:"areas,omitempty"`
	Created int64   `json:"created_ms"`
	Used    int64   `json:"used_ms,omitempty"`
	Life    lasting `json:"life"`
}

func loadTokens(ctx context.Context, r Records, now func() time.Time, clock func() (lease.Instant, error), o *outbox) (*tokens, error) {
	t := &tokens{now: now, clock: clock, outbox: o, all: map[tokenHash]*apiToken{}}
	stored, err := r.Records(ctx, kindTokens)
	if err != nil {
		return nil, fmt.Errorf("read the tokens: %w", err)
	}
	if len(stored) == 0 {
		return t, nil
	}
	instant, err := clock()
	if err != nil {
		return nil, fmt.Errorf("read the clocks: %w", err)
	}
	gone := changes{}
	for id, text := range stored {
		var record tokenRecord
		if err := json.Unmarshal(text, &record); err != nil {
			return nil, fmt.Errorf("read the token %.64q: %w", id, err)
		}
		raw, err := hex.DecodeString(record.Hash)
		left := record.Life.left(instant)
		if err != nil || len(raw) != len(tokenHash{}) || left <= 0 {
			gone.put(kindTokens, id, nil)
			continue
		}
		one := &apiToken{
			id: id, name: record.Name, user: record.User, role: record.Role, areas: record.Areas,
			created: time.UnixMilli(record.Created), ends: now().Add(left), stored: now(),
		}
		if record.Used != 0 {
			one.used = time.UnixMilli(record.Used)
		}
		t.all[tokenHash(raw)] = one
	}
	if len(gone) > 0 {
		_ = o.put(ctx, gone) // it is logged, and tried again
	}
	return t, nil
}

func (one *apiToken) record(hash tokenHash, now time.Time, instant lease.Instant) []byte {
	r := tokenRecord{
		Version: recordVersion, Hash: hash.key(), Name: one.name, User: one.user, Role: one.role, Areas: one.areas,
		Created: one.created.UnixMilli(), Life: keepLasting(one.ends.Sub(now), instant),
	}
	if !one.used.IsZero() {
		r.Used = one.used.UnixMilli()
	}
	return encode(r)
}

// use returns the token of a secret, and notes that it was used; false if there is none or it has ended.
func (t *tokens) use(ctx context.Context, hash tokenHash) (apiToken, bool) {
	now := t.now()
	c := changes{}
	t.mu.Lock()
	one, ok := t.all[hash]
	switch {
	case !ok:
		t.mu.Unlock()
		return apiToken{}, false
	case !now.Before(one.ends):
		delete(t.all, hash)
		c.put(kindTokens, one.id, nil)
		ok = false
	default:
		if one.used = now.Round(0); now.Sub(one.stored) >= touchEvery {
			one.stored = now
			if instant, err := t.clock(); err == nil {
				c.put(kindTokens, one.id, one.record(hash, now, instant))
			}
		}
	}
	found := *one
	t.mu.Unlock()
	if len(c) > 0 {
		_ = t.outbox.put(ctx, c) // it is logged, and tried again
	}
	return found, ok
}

// add makes a token durable and returns its secret.
func (t *tokens) add(ctx context.Context, one apiToken, life time.Duration) (apiToken, string, error) {
	secret, _ := newSecret()
	secret = tokenPrefix + secret
	hash := hashOf(secret)
	instant, err := t.clock()
	if err != nil {
		return apiToken{}, "", fmt.Errorf("read the clocks: %w", err)
	}
	now := t.now()
	one.id, one.created, one.ends, one.stored = newShortID(), now.Round(0), now.Add(life), now.Add(-touchEvery)
	c := changes{}
	t.mu.Lock()
	defer t.mu.Unlock()
	for other, old := range t.all {
		if !now.Before(old.ends) {
			delete(t.all, other)
			c.put(kindTokens, old.id, nil)
		}
	}
	if len(t.all) >= maxTokens {
		return apiToken{}, "", problem(CodeExhausted, "there are %d tokens, allowed are %d: revoke one that is of no use", len(t.all), maxTokens)
	}
	c.put(kindTokens, one.id, one.record(hash, now, instant))
	if err := t.outbox.records.PutRecords(ctx, c); err != nil {
		t.outbox.log.Error("the token could not be stored", "err", err)
		return apiToken{}, "", problem(CodeUnavailable, "it could not be stored; the log says why")
	}
	t.all[hash] = &one
	return one, secret, nil
}

// drop forgets the tokens that match, and adds to the changes that they go from the store too.
func (t *tokens) drop(c changes, match func(*apiToken) bool) (dropped int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for hash, one := range t.all {
		if match(one) {
			delete(t.all, hash)
			c.put(kindTokens, one.id, nil)
			dropped++
		}
	}
	return dropped
}

// list returns the tokens that have not ended, the newest first.
func (t *tokens) list() []apiToken {
	now := t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []apiToken
	for _, one := range t.all {
		if now.Before(one.ends) {
			all = append(all, *one)
		}
	}
	slices.SortFunc(all, func(a, b apiToken) int { return cmp.Or(b.created.Compare(a.created), cmp.Compare(a.id, b.id)) })
	return all
}

func (s *Server) tokenRoutes(access) []route {
	return []route{
		{http.MethodGet, "/tokens", RoleAdmin, AreaAccess, "", nil, s.getTokens},
		{http.MethodPost, "/tokens", RoleAdmin, AreaAccess, "token.create", s.tokenShort, s.postToken},
		{http.MethodDelete, "/tokens/:id", RoleAdmin, AreaAccess, "token.revoke", s.tokenShort, s.deleteToken},
	}
}

func (s *Server) tokenShort(id string) string {
	for _, t := range s.owner.tokens.list() {
		if t.id == id {
			return t.name + ": " + string(t.role) + " " + joined(t.areas)
		}
	}
	return ""
}

func tokenOf(t apiToken, now time.Time) Token {
	out := Token{
		ID: t.id, Name: t.name, User: t.user, Role: t.role, Areas: notNil(t.areas), Created: t.created, ExpiresSeconds: seconds(t.ends.Sub(now)),
	}
	if !t.used.IsZero() {
		out.Used = t.used.Format(time.RFC3339)
	}
	return out
}

func (s *Server) getTokens(w http.ResponseWriter, _ *http.Request) error {
	now, list := s.Leases.Now(), TokenList{Tokens: []Token{}}
	for _, t := range s.owner.tokens.list() {
		list.Tokens = append(list.Tokens, tokenOf(t, now))
	}
	return writeJSON(w, list)
}

func (s *Server) postToken(w http.ResponseWriter, r *http.Request) error {
	dry, err := flag(r, "dry_run")
	if err != nil {
		return err
	}
	body := TokenRequest{Role: RoleViewer, LifetimeSeconds: uint64(defaultTokenLife / time.Second)}
	wrong, err := readMembers(r, &body)
	if err != nil {
		return err
	}
	one := apiToken{name: lease.CleanText(body.Name, maxName), user: identityOf(r).user, role: body.Role}
	if one.name == "" && !wrong.has("name") {
		wrong.add("name", "is absent, allowed is a text by which you know the token again")
	}
	wrong.role(body.Role, false)
	for _, a := range body.Areas {
		if one.areas = append(one.areas, Area(a)); !slices.Contains(Areas(), Area(a)) {
			wrong.add("areas", "names %q, allowed are %s", lease.CleanText(a, 32), joined(Areas()))
		}
	}
	if most := uint64(longestTokenLife / time.Second); !wrong.has("lifetime_seconds") && (body.LifetimeSeconds < 60 || body.LifetimeSeconds > most) {
		wrong.add("lifetime_seconds", "is %d, allowed are 60 to %d", body.LifetimeSeconds, most)
	}
	if err := wrong.problem(); err != nil {
		return err
	}
	life := time.Duration(body.LifetimeSeconds) * time.Second
	if dry {
		one.created, one.ends = s.Leases.Now().Round(0), s.Leases.Now().Add(life)
		return writeJSON(w, NewToken{Token: tokenOf(one, s.Leases.Now())})
	}
	one, secret, err := s.owner.tokens.add(r.Context(), one, life)
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/api/v1/tokens/"+one.id)
	return writeJSONStatus(w, http.StatusCreated, NewToken{tokenOf(one, s.Leases.Now()), secret})
}

func (s *Server) deleteToken(w http.ResponseWriter, r *http.Request) error {
	dry, err := flag(r, "dry_run")
	if err != nil {
		return err
	}
	for _, t := range s.owner.tokens.list() {
		if t.id != r.PathValue("id") {
			continue
		}
		if !dry {
			c := changes{}
			s.owner.tokens.drop(c, func(one *apiToken) bool { return one.id == t.id })
			_ = s.owner.tokens.outbox.put(r.Context(), c) // it opens nothing any more, and that is stored as soon as it can be
		}
		return writeJSON(w, tokenOf(t, s.Leases.Now()))
	}
	return problem(CodeNoToken, "there is no such token (any more)")
}
