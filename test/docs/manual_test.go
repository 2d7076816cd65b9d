package docs_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// groff warns of whatever it does not understand.
func TestManualPagesAreClean(t *testing.T) {
	manuals, err := filepath.Glob(filepath.Join(root, "deploy/man/*.[58]"))
	if err != nil || len(manuals) != 2 {
		t.Fatalf("manual pages are %v (%v), want 2", manuals, err)
	}
	for _, path := range manuals {
		cmd := exec.CommandContext(t.Context(), "groff", "-man", "-ww", "-z", "-Tutf8", path)
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("groff %s: %v\n%s", path, err, out)
		}
	}
}

// The file's name and section are in the title, so that man(1) finds it.
func TestManualPagesAreTitled(t *testing.T) {
	for name, title := range map[string]string{
		"portreeve.8":      ".TH PORTREEVE 8 ",
		"portreeve.toml.5": ".TH PORTREEVE.TOML 5 ",
	} {
		if text := read(t, filepath.Join("deploy/man", name)); !strings.HasPrefix(text, title) {
			t.Errorf("%s does not begin with %q", name, title)
		}
	}
}
