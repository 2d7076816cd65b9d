package iptables

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// restorer is an iptables-restore that goes on running for a moment after each use, because most changes are done in a
// fraction of the time that it takes to start. It takes one transaction after the other from a pipe, and tells what it has
// come to by printing comments, which it does when asked to be verbose. Android has used it like this since 2017 (netd,
// IptablesRestoreController). It holds neither the lock of iptables nor anything that it knows of the rules from one
// transaction to the next. When it finds an error it ends, and the transaction it is at has not happened.
type restorer struct {
	program program

	mu    sync.Mutex
	runs  *conversation // nil: none
	count int           // of marks that were sent
	idle  *time.Timer   // ends it
}

// idleFor is how long iptables-restore waits for more. It has about as much memory as a shell.
const idleFor = 500 * time.Millisecond

// conversation is a running iptables-restore.
type conversation struct {
	in    *os.File
	cmd   *exec.Cmd
	said  *tail         // to standard error
	marks chan int      // which of our comments it has printed
	ended chan struct{} // closed when it has ended, after err is set
	err   error
}

// write is [program.write] with a program that may be running already.
func (r *restorer) write(ctx context.Context, blocks ...block) error {
	input := transactions(blocks)
	if input == "" {
		return nil
	}
	if !r.program.converses {
		return r.program.write(ctx, blocks...)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: not started: %w", filepath.Base(r.program.restore), err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c, err := r.ready(context.WithoutCancel(ctx)) // it outlives the call
	if err != nil {
		return err
	}
	r.count++
	if err := c.tell(input, r.count, r.program.patience); err != nil {
		r.runs = nil
		return c.explain(r.program, err)
	}
	r.idle.Reset(idleFor)
	return nil
}

// ready returns the program that runs, or starts one.
func (r *restorer) ready(ctx context.Context) (*conversation, error) {
	if r.idle == nil {
		r.idle = time.AfterFunc(idleFor, r.close)
	}
	r.idle.Stop()
	if r.runs != nil {
		select {
		case <-r.runs.ended: // somebody has killed it while it waited
			r.runs = nil
		default:
			return r.runs, nil
		}
	}
	c, err := converse(ctx, r.program)
	if err == nil {
		r.runs = c
	}
	return c, err
}

// close ends the program. The next write starts another.
func (r *restorer) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.runs != nil {
		r.runs.end(r.program.patience)
		r.runs = nil
	}
}

// converse starts the program.
func converse(ctx context.Context, p program) (*conversation, error) {
	theirs, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	out, printed, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, in.Close())
	}
	defer printed.Close()
	c := &conversation{
		in: in, said: &tail{}, marks: make(chan int, 1), ended: make(chan struct{}),
		cmd: exec.CommandContext(ctx, p.restore, append([]string{"--verbose"}, p.restoreOptions()...)...),
	}
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = theirs, printed, c.said
	// A group of its own: who stops the daemon from a terminal means the daemon, which may need this to clean up.
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.cmd.WaitDelay = time.Second
	if err := c.cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start iptables-restore: %w", err), in.Close(), out.Close())
	}
	go c.listen(out)
	return c, nil
}

// mark begins the comments that the program prints again.
const mark = "portreeve-mark-"

// longEnough makes a comment so long that its beginning is printed at once by a program that collects what it prints in a
// buffer: some versions do not empty it after a comment. A line may have 10,239 bytes.
const longEnough = 8 << 10

// tell gives the program lines and waits until it has come to their end.
func (c *conversation) tell(input string, number int, patience time.Duration) error {
	c.said.reset()
	text := fmt.Sprintf("%s# %s%d %s\n", input, mark, number, strings.Repeat(".", longEnough))
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	due, _ := ctx.Deadline()
	if err := c.in.SetWriteDeadline(due); err != nil {
		return err
	}
	if _, err := c.in.WriteString(text); err != nil && !errors.Is(err, syscall.EPIPE) { // why it ended is to be waited for
		return err
	}
	for {
		select {
		case m := <-c.marks:
			if m == number {
				return nil
			}
		case <-c.ended:
			return errEnded
		case <-ctx.Done():
			return os.ErrDeadlineExceeded
		}
	}
}

var errEnded = errors.New("the program ended too early")

// listen reads what the program prints, until it ends.
func (c *conversation) listen(out *os.File) {
	defer close(c.ended)
	words := bufio.NewScanner(out)
	words.Split(bufio.ScanWords)
	for words.Scan() {
		if number, ok := strings.CutPrefix(words.Text(), mark); ok {
			n, err := strconv.Atoi(number)
			if err != nil {
				continue
			}
			select { // only the latest counts
			case <-c.marks:
			default:
			}
			c.marks <- n
		}
	}
	out.Close()
	c.err = c.cmd.Wait()
}

// explain ends a conversation that has failed, and tells why and what that means.
func (c *conversation) explain(p program, err error) error {
	name := filepath.Base(p.restore)
	c.end(0)
	exit, exited := errors.AsType[*exec.ExitError](c.err)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%s: no answer within %v: %w", name, p.patience, errUnknown)
	case !errors.Is(err, errEnded):
	case exited && exit.Exited():
		return fmt.Errorf("%s: %w", name, p.explain(exit, c.said.String()))
	case c.err != nil: // killed
		err = fmt.Errorf("%w: %w", err, c.err)
	}
	return fmt.Errorf("%s: %w: %w", name, err, errUnknown)
}

// end closes the pipe, on which the program ends, and waits for that. Who takes too long is killed.
func (c *conversation) end(patience time.Duration) {
	_ = c.in.Close() // nothing is left to be written
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case <-c.ended:
	case <-timeout.C:
		_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL) // with what it has started; it fails if it has just ended
		<-c.ended
	}
}

// tail keeps the last part of what is written to it.
type tail struct {
	mu   sync.Mutex
	text bytes.Buffer
}

const tailSize = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text.Write(p)
	if over := t.text.Len() - tailSize; over > 0 {
		t.text.Next(over)
	}
	return len(p), nil
}

func (t *tail) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text.Reset()
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return lease.CleanText(t.text.String(), tailSize)
}
