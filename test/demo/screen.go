package main

import (
	"fmt"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// screen shows lines, one below the other, and on a terminal also a table below
// them that is redrawn in place. Elsewhere the table is not shown: it says nothing
// that the lines don't. Its methods may be used from many goroutines.
type screen struct {
	out      *os.File
	terminal bool

	mu    sync.Mutex
	table []string
	drawn int // how many rows of the table are on the terminal
}

func newScreen(out *os.File) *screen {
	_, err := unix.IoctlGetTermios(int(out.Fd()), unix.TCGETS)
	return &screen{out: out, terminal: err == nil && os.Getenv("TERM") != "dumb"}
}

// line shows a line, or several.
func (s *screen) line(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draw(fmt.Sprintf(format, args...) + "\n")
}

// row changes a row of the table.
func (s *screen) row(i int, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.table) <= i {
		s.table = append(s.table, "")
	}
	if s.table[i] == text {
		return
	}
	s.table[i] = text
	if s.terminal {
		s.draw("")
	}
}

// draw puts lines in the place of the table and the table below them, in one write
// so that it does not flicker.
func (s *screen) draw(lines string) {
	var b strings.Builder
	if s.drawn > 0 {
		fmt.Fprintf(&b, "\r\x1b[%dA\x1b[J", s.drawn) // up, and erase from there
	}
	b.WriteString(lines)
	s.drawn = 0
	if s.terminal && len(s.table) > 0 {
		// A row that is longer than the terminal is wide would become two.
		width := 80
		if size, err := unix.IoctlGetWinsize(int(s.out.Fd()), unix.TIOCGWINSZ); err == nil && size.Col > 0 {
			width = int(size.Col)
		}
		for _, row := range s.table {
			fmt.Fprintf(&b, "%.*s\n", width-1, row)
		}
		s.drawn = len(s.table)
	}
	// Nobody can be told that the terminal has gone.
	_, _ = s.out.WriteString(b.String())
}
