package main

import (
	"fmt"
	"path/filepath"
	"strings"
)

// banner is what the owner of the home is told when all is ready.
func banner(d *demo, setupCode, pid string) string {
	const frame = 78
	text := fmt.Sprintf(`
  portreeve runs on the router of a home of its own.

    open         http://%s/
    setup code   %s

  The console (%s) has asked for udp 3074 and tcp 8080 by UPnP, the
  computer (%s) for udp 51413 by NAT-PMP. A host on the internet sends
  something to each of these ports every second.

  Try this: choose a password with the setup code, look at the open ports, and
  close one. Its packets stop at once; %.0f seconds later it says so here. Its
  device notices, waits %v and asks again, as a game would: the port comes
  back, and you need not reload the page.

  The command line, in another terminal of this machine:

    %s

  Ctrl-C ends everything and leaves nothing behind.
`, d.page.Addr(), setupCode, d.home.LAN1.Addr, d.home.LAN2.Addr, silentAfter.Seconds(), d.again, cliLine(pid, "lease", "list"))
	line := strings.Repeat("=", frame)
	return line + "\n" + text + "\n" + line
}

// cliLine is a command for a shell outside that runs the CLI inside.
func cliLine(pid string, args ...string) string {
	return fmt.Sprintf("nsenter -t %s -U -m --preserve-credentials %s %s",
		pid, filepath.Join(folder, "portreeve"), strings.Join(args, " "))
}
