package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
)

// buildOnce builds once and remembers the outcome.
var buildOnce = sync.OnceValues(build)

// Build returns the path of the portreeve program of this source tree, built once
// for all tests of a test binary, and with the race detector if the test binary
// has it. The program vanishes with the namespaces of netns.
func Build(t testing.TB) string {
	t.Helper()
	path, err := buildOnce()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Binary is Build for a program.
func Binary() (string, error) { return buildOnce() }

func build() (string, error) {
	// In the private /run, where nobody needs to clean up.
	dir, err := os.MkdirTemp("/run", "portreeve-build")
	if err != nil {
		return "", fmt.Errorf("lab: build portreeve: %w", err)
	}
	// The daemon may run as another user.
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", fmt.Errorf("lab: build portreeve: %w", err)
	}
	path := filepath.Join(dir, "portreeve")
	args := []string{"build", "-tags", "nomsgpack,nethttpomithttp2", "-o", path}
	env := append(os.Environ(), "CGO_ENABLED=0")
	if raceDetector() {
		args, env = append(args, "-race"), append(os.Environ(), "CGO_ENABLED=1")
	}
	// Not the context of a test: many want the result, whichever asked first.
	cmd := exec.CommandContext(context.Background(), "go", append(args, "github.com/portreeve/portreeve/cmd/portreeve")...)
	cmd.Env = env
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("lab: build portreeve: %w\n%s", err, out)
	}
	return path, nil
}

// raceDetector reports whether this program was built with -race.
func raceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}
