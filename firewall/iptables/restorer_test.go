package iptables

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// restorers runs a test with both variants, in a network without rules.
func restorers(t *testing.T, test func(t *testing.T, r *restorer)) {
	t.Helper()
	for _, name := range []string{"iptables-nft", "iptables-legacy"} {
		t.Run(name, func(t *testing.T) {
			empty(t)
			r := &restorer{program: installed(t, name)}
			if !r.program.converses {
				t.Fatalf("%s of this machine is too old for the test", name)
			}
			t.Cleanup(r.close)
			test(t, r)
		})
	}
}

// pid returns which process runs, 0 if none does.
func (r *restorer) pid() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.runs == nil {
		return 0
	}
	return r.runs.cmd.Process.Pid
}

// standing returns the rules of FORWARD.
func standing(t *testing.T, p program) string {
	t.Helper()
	tables, err := p.saved(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	if filter := tables["filter"]; filter != nil && filter.chains["FORWARD"] != nil {
		for _, r := range filter.chains["FORWARD"].rules {
			texts = append(texts, r.text)
		}
	}
	return strings.Join(texts, "\n")
}

func TestOneProgramForManyTransactions(t *testing.T) {
	restorers(t, func(t *testing.T, r *restorer) {
		pids := map[int]bool{}
		for i := range 20 {
			line := fmt.Sprintf("FORWARD -s 192.0.2.%d/32 -j ACCEPT", i)
			if err := r.write(t.Context(), block{"filter", []string{"-A " + line}}); err != nil {
				t.Fatal(err)
			}
			pids[r.pid()] = true
			if got := standing(t, r.program); !strings.Contains(got, fmt.Sprintf("192.0.2.%d/32", i)) {
				t.Fatalf("answered, but the rule is not there:\n%s", got)
			}
			if err := r.write(t.Context(), block{"filter", []string{"-D " + line}}, block{"nat", nil}); err != nil {
				t.Fatal(err)
			}
		}
		if len(pids) != 1 {
			t.Errorf("%d processes, want one", len(pids))
		}
		if got := standing(t, r.program); got != "" {
			t.Errorf("left:\n%s", got)
		}
	})
}

// It is not there for nothing.
func TestProgramEndsWhenIdle(t *testing.T) {
	restorers(t, func(t *testing.T, r *restorer) {
		if err := r.write(t.Context(), block{"filter", []string{"-A FORWARD -j ACCEPT"}}); err != nil {
			t.Fatal(err)
		}
		pid := r.pid()
		for deadline := time.Now().Add(20 * time.Second); r.pid() != 0; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("it still runs")
			}
		}
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("process %d: %v, want that it is gone", pid, err)
		}
		if err := r.write(t.Context(), block{"filter", []string{"-D FORWARD -j ACCEPT"}}); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}

func TestProgramIsKilled(t *testing.T) {
	restorers(t, func(t *testing.T, r *restorer) {
		one := block{"filter", []string{"-A FORWARD -j ACCEPT"}}
		if err := r.write(t.Context(), one); err != nil {
			t.Fatal(err)
		}
		// While it waits: nobody notices.
		runs := r.runs
		if err := runs.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-runs.ended
		if err := r.write(t.Context(), one); err != nil {
			t.Error(err)
		}
		// While it works: what it has done is unknown.
		runs = r.runs
		if err := runs.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(10*time.Millisecond, func() { _ = runs.cmd.Process.Kill() })
		if err := r.write(t.Context(), one); !errors.Is(err, errUnknown) {
			t.Errorf("error %v, want that the outcome is unknown", err)
		}
		if err := r.write(t.Context(), one); err != nil {
			t.Error(err)
		}
	})
}

// A transaction that fails leaves nothing, says why, and does not disturb the next.
func TestTransactionThatFails(t *testing.T) {
	restorers(t, func(t *testing.T, r *restorer) {
		for range 2 {
			err := r.write(t.Context(), block{"nat", []string{"-A POSTROUTING -j ACCEPT", "-D POSTROUTING -j ACCEPT"}},
				block{"filter", []string{"-A FORWARD -j ACCEPT", "-D FORWARD -j DROP"}})
			if err == nil || errors.Is(err, errUnknown) || !strings.Contains(err.Error(), "exit status") || !strings.Contains(err.Error(), "restore") {
				t.Errorf("error %v, want it to say what iptables-restore did", err)
			}
			if got := standing(t, r.program); got != "" {
				t.Errorf("left:\n%s", got)
			}
		}
		if err := r.write(t.Context(), block{"filter", []string{"-A FORWARD -j ACCEPT"}}); err != nil {
			t.Error(err)
		}
	})
}

func TestLockIsWaitedForBetweenTransactions(t *testing.T) {
	empty(t)
	r := &restorer{program: installed(t, "iptables-legacy")}
	r.program.lockWait = time.Second
	t.Cleanup(r.close)
	one := block{"filter", []string{"-A FORWARD -j ACCEPT"}}
	if err := r.write(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	// The program that waits for us does not hold it.
	lock, err := os.OpenFile("/run/xtables.lock", os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.Fatal(err)
	}
	err = r.write(t.Context(), one)
	if err == nil || !strings.Contains(err.Error(), "another program has held the lock /run/xtables.lock for more than 1s") {
		t.Errorf("error %v, want it to name the lock", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	if err := r.write(t.Context(), one); err != nil {
		t.Errorf("after the lock was released: %v", err)
	}
}

// scripted returns a restorer whose program is a shell script.
func scripted(t *testing.T, script string) *restorer {
	t.Helper()
	path := filepath.Join(t.TempDir(), "iptables-restore")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	r := &restorer{program: program{name: "iptables", restore: path, converses: true, patience: 10 * time.Second}}
	t.Cleanup(r.close)
	return r
}

// Some versions do not print at once what they print.
func TestProgramThatCollectsWhatItPrints(t *testing.T) {
	r := scripted(t, "exec sed -n '/^#/p'")
	pids := map[int]bool{}
	for range 5 {
		if err := r.write(t.Context(), block{"filter", []string{"-A FORWARD -j ACCEPT"}}); err != nil {
			t.Fatal(err)
		}
		pids[r.pid()] = true
	}
	if len(pids) != 1 {
		t.Errorf("%d processes, want one", len(pids))
	}
}

func TestProgramsThatBehaveStrangely(t *testing.T) {
	for script, want := range map[string]string{
		"exec true":                "the program ended too early",
		"exec cat /dev/zero":       "the program ended too early",
		"exec sleep 60":            "no answer within 200ms",
		"cat >/dev/null":           "no answer within 200ms",
		"echo broken >&2; exit":    "the program ended too early",
		"yes '# portreeve-mark-7'": "no answer within 200ms",
	} {
		t.Run(script, func(t *testing.T) {
			r := scripted(t, script)
			r.program.patience = 200 * time.Millisecond
			err := r.write(t.Context(), block{"filter", []string{strings.Repeat("#\n", 1<<20)}})
			if !errors.Is(err, errUnknown) || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v, want %q and that the outcome is unknown", err, want)
			}
			if r.pid() != 0 {
				t.Error("it still runs")
			}
		})
	}
	r := scripted(t, "echo '\033[31mline 3 failed' >&2; exit 2")
	err := r.write(t.Context(), block{"filter", []string{"-A FORWARD -j ACCEPT"}})
	if err == nil || err.Error() != "iptables-restore: exit status 2: [31mline 3 failed" {
		t.Errorf("error %q, want what the program said", err)
	}
	r.program.restore = "/nonexistent/iptables-restore"
	if err := r.write(t.Context(), block{"filter", []string{"-A FORWARD -j ACCEPT"}}); err == nil || errors.Is(err, errUnknown) {
		t.Errorf("error %v, want that it cannot be started", err)
	}
}

func TestOldProgramsAreRunOnceEach(t *testing.T) {
	restorers(t, func(t *testing.T, r *restorer) {
		r.program.converses = false
		if err := r.write(t.Context(), block{"filter", []string{"-A FORWARD -j ACCEPT"}}); err != nil {
			t.Fatal(err)
		}
		if got := standing(t, r.program); r.pid() != 0 || got != "-j ACCEPT" {
			t.Errorf("process %d, rules %q", r.pid(), got)
		}
	})
}

func TestNoTransactionAfterCancellation(t *testing.T) {
	restorers(t, func(t *testing.T, r *restorer) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := r.write(ctx, block{"filter", []string{"-A FORWARD -j ACCEPT"}}); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want that it was cancelled", err)
		}
		if got := standing(t, r.program); got != "" {
			t.Errorf("it was started:\n%s", got)
		}
	})
}
