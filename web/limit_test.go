package web

import (
	"errors"
	"net/netip"
	"testing"
	"time"
)

func TestLimiterPerSource(t *testing.T) {
	l, now := newLimiter(), time.Now()
	from := netip.MustParseAddr("192.168.1.20")
	for n := range sourceBurst {
		if wait := l.take(now, from, ""); wait != 0 {
			t.Fatalf("try %d has to wait %s", n, wait)
		}
	}
	// Refused tries cost nothing: the wait does not grow by asking.
	for range 10 {
		if wait := l.take(now, from, ""); wait != sourceEvery {
			t.Fatalf("wait = %s, want %s", wait, sourceEvery)
		}
	}
	if wait := l.take(now, netip.MustParseAddr("192.168.1.21"), ""); wait != 0 {
		t.Errorf("another host has to wait %s", wait)
	}
	if wait := l.take(now.Add(sourceEvery), from, ""); wait != 0 {
		t.Errorf("who waited as told has to wait %s more", wait)
	}
	l.forgive(from, "anna")
	if wait := l.take(now, from, ""); wait != 0 {
		t.Errorf("who has signed in has to wait %s", wait)
	}
}

func TestLimiterOverAllSources(t *testing.T) {
	l, now := newLimiter(), time.Now()
	from := netip.MustParseAddr("10.0.0.1")
	for range globalBurst {
		if wait := l.take(now, from, ""); wait != 0 {
			t.Fatalf("%s has to wait %s", from, wait)
		}
		from = from.Next()
	}
	for range 10 {
		if wait := l.take(now, from, ""); wait != globalEvery {
			t.Fatalf("wait = %s, want %s", wait, globalEvery)
		}
	}
}

func TestLimiterIsBounded(t *testing.T) {
	l, now := newLimiter(), time.Now()
	from := netip.MustParseAddr("10.0.0.1")
	for range 3 * maxSources {
		l.take(now, from, "")
		from = from.Next()
	}
	if len(l.sources) > maxSources {
		t.Errorf("%d sources are remembered, want at most %d", len(l.sources), maxSources)
	}
}

func TestSourceOf(t *testing.T) {
	tests := []struct{ addr, want string }{
		{"192.168.1.20", "192.168.1.20/32"},
		{"::ffff:192.168.1.20", "192.168.1.20/32"},
		{"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"},
		{"fe80::1%lan", "fe80::/64"},
	}
	for _, tt := range tests {
		if got := sourceOf(netip.MustParseAddr(tt.addr)).String(); got != tt.want {
			t.Errorf("sourceOf(%s) = %s, want %s", tt.addr, got, tt.want)
		}
	}
}

func TestHasherRefusesWhenTooManyWait(t *testing.T) {
	h := newHasher()
	first, release := make(chan struct{}), make(chan struct{})
	answers := make(chan error, hashQueue+1)
	running := 0 // guarded by the hasher itself: the race detector tells if it lets in two
	work := func() { running++ }
	go func() { answers <- h.do(t.Context(), func() { close(first); <-release; work() }) }()
	<-first
	for range hashQueue {
		go func() { answers <- h.do(t.Context(), work) }()
	}
	for len(h.waiting) < hashQueue+1 {
		time.Sleep(time.Millisecond)
	}
	err := h.do(t.Context(), work)
	if p, ok := errors.AsType[*Problem](err); !ok || p.Code != CodeBusy || p.RetryAfter == 0 {
		t.Errorf("err = %v, want busy and when to come again", err)
	}
	close(release)
	for range hashQueue + 1 {
		if err := <-answers; err != nil {
			t.Errorf("who waited got %v", err)
		}
	}
	if running != hashQueue+1 {
		t.Errorf("%d have run, want %d", running, hashQueue+1)
	}
}

func TestSetupCodesAreTypable(t *testing.T) {
	seen := map[string]bool{}
	for range 200 {
		c := newSetupCode(time.Now(), false)
		if text := c.String(); len(text) != 9 || text[4] != '-' || seen[text] || !c.matches(text) {
			t.Fatalf("code %q is not a new one of the form XXXX-XXXX", text)
		}
		seen[c.String()] = true
	}
	var none setupCode
	if none.valid(time.Now()) {
		t.Error("no code is a valid code")
	}
	if c := newSetupCode(time.Now(), false); c.matches("") || c.matches(c.text+"X") || c.matches(c.text[:7]) {
		t.Error("half a code is a code")
	}
}

func TestLimiterPerAccount(t *testing.T) {
	l, now := newLimiter(), time.Now()
	home := netip.MustParseAddr("192.168.1.2")
	l.forgive(home, "anna")
	from := netip.MustParseAddr("10.0.0.1")
	for n := range accountBurst {
		if wait := l.take(now, from, "anna"); wait != 0 {
			t.Fatalf("try %d has to wait %s", n, wait)
		}
		from = from.Next()
	}
	if wait := l.take(now, from, "anna"); wait != accountEvery {
		t.Errorf("from many addresses: wait = %s, want %s", wait, accountEvery)
	}
	if wait := l.take(now, from, "bob"); wait != 0 {
		t.Errorf("another account has to wait %s", wait)
	}
	// Nobody keeps anna out by guessing: where she has signed in before, the guesses of others do not count.
	if wait := l.take(now, home, "anna"); wait != 0 {
		t.Errorf("who has signed in before has to wait %s", wait)
	}
}
