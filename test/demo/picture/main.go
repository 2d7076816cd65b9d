// Picture makes the picture of the admin page that the README shows, from the real
// page: it runs the demo, signs in with a real browser and takes a screenshot.
//
//	go run ./test/demo/picture -o docs/images/leases.png
//
// It needs chromium. Demo and browser run in namespaces of their own.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/portreeve/portreeve/test/netns"
)

const (
	width, height = 1280, 700
	// rows is how many ports the devices of the demo open.
	rows = 3
	// within bounds everything, with the building of portreeve.
	within = 5 * time.Minute
)

func main() {
	output := flag.String("o", "leases.png", "file to write")
	flag.Parse()
	os.Exit(isolated(func(ctx context.Context) error { return take(ctx, *output) }))
}

// isolated calls f in namespaces of our own and returns the exit code.
func isolated(f func(context.Context) error) (code int) {
	inside, err := netns.Enter()
	if err == nil && !inside {
		code, err = netns.Reexec()
	}
	if err == nil && inside {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		ctx, cancel := context.WithTimeout(ctx, within)
		defer cancel()
		err = f(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "picture:", err)
		code = max(code, 1)
	}
	return code
}

// take builds the demo, runs it and takes its picture.
func take(ctx context.Context, output string) error {
	// In the private /run, where nobody needs to clean up.
	const program = "/run/demo"
	build := exec.CommandContext(ctx, "go", "build", "-tags", "nomsgpack", "-o", program, "github.com/portreeve/portreeve/test/demo")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the demo: %w\n%s", err, out)
	}
	demo := exec.CommandContext(ctx, program)
	// It makes namespaces of its own within ours.
	demo.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "PORTREEVE_NETNS=") })
	interrupt := func() error { return demo.Process.Signal(os.Interrupt) }
	demo.Cancel = interrupt
	demo.WaitDelay = 30 * time.Second
	demo.Stderr = os.Stderr
	said, err := demo.StdoutPipe()
	if err != nil {
		return err
	}
	if err := demo.Start(); err != nil {
		return err
	}
	err = photograph(ctx, said, output)
	return errors.Join(err, interrupt(), drain(said), demo.Wait())
}

// photograph reads what the demo says and takes a picture of its page.
func photograph(ctx context.Context, said io.Reader, output string) error {
	url, code, err := invitation(said)
	if err != nil {
		return err
	}
	picture, err := screenshot(ctx, url, code)
	if err != nil {
		return err
	}
	return os.WriteFile(output, picture, 0o644)
}

// invitation reads the demo's output until it tells the address and the setup code.
func invitation(said io.Reader) (url, code string, err error) {
	open, setup := regexp.MustCompile(`^ +open +(\S+)$`), regexp.MustCompile(`^ +setup code +(\S+)$`)
	lines := bufio.NewScanner(said)
	for lines.Scan() {
		if m := open.FindStringSubmatch(lines.Text()); m != nil {
			url = m[1]
		}
		if m := setup.FindStringSubmatch(lines.Text()); m != nil {
			return url, m[1], nil
		}
	}
	return "", "", errors.Join(errors.New("the demo did not start"), lines.Err())
}

// screenshot sets a password and returns a picture of the page of leases, as PNG.
func screenshot(ctx context.Context, url, code string) (picture []byte, err error) {
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.NoSandbox, // which cannot be made as root
		chromedp.DisableGPU,
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.Flag("hide-scrollbars", true),
	)
	ctx, cancel := chromedp.NewExecAllocator(ctx, options...)
	defer cancel()
	ctx, cancel = chromedp.NewContext(ctx)
	defer cancel()
	const password = "a picture of the page"
	// The first call starts the browser, which then lives as long as ctx.
	if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: "light"},
			{Name: "prefers-reduced-motion", Value: "reduce"},
		},
	}); err != nil {
		return nil, fmt.Errorf("start the browser: %w", err)
	}
	err = chromedp.Do(
		ctx,
		chromedp.EmulateViewport(width, height),
		chromedp.Navigate(url),
		chromedp.SendKeys(chromedp.CSS("#code"), code),
		chromedp.SendKeys(chromedp.CSS("#password"), password),
		chromedp.Click(chromedp.CSS("button[type=submit]"), chromedp.NodeVisible),
		chromedp.WaitVisible(chromedp.CSS("#live")),
		chromedp.WaitVisible(chromedp.CSS(fmt.Sprintf("#rows tr:nth-child(%d)", rows))),
	)
	if err == nil {
		picture, err = chromedp.Run(ctx, chromedp.CaptureScreenshot())
	}
	if err != nil {
		return nil, fmt.Errorf("browser: %w", err)
	}
	return picture, nil
}

// drain reads what is left, so that the writer can end.
func drain(r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}
