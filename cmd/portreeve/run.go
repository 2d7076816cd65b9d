package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/mdlayher/sdnotify"
	"github.com/spf13/cobra"
)

func newRun() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the daemon in the foreground",
		Long: `Run the daemon in the foreground until SIGTERM or SIGINT. It then takes its firewall rules away;
connections that exist live on, and leases come back when it is started again.`,
		Args: cobra.NoArgs,
	}
	o := &options{}
	o.addConfigFlags(cmd)
	o.addPlaceFlags(cmd)
	o.addLogFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := o.load()
		if err != nil {
			return err
		}
		log, err := o.logger(cmd.ErrOrStderr())
		if err != nil {
			return err
		}
		for _, w := range cfg.Warnings {
			log.Warn("configuration: " + w)
		}
		saveMemory()
		ctx, stop := untilSignal(cmd.Context(), log)
		defer stop()
		d, err := newDaemon(ctx, cfg, o, log)
		if err != nil {
			return failure(err)
		}
		notify := systemd(log)
		err = d.run(ctx, func() {
			debug.FreeOSMemory() // reading the store takes several times what its leases need afterwards
			log.Info("ready", "version", version(), "backend", d.backend.Name(), "why", d.backend.Why(), "socket", o.socket)
			notify(sdnotify.Ready, sdnotify.Statusf("serving %d leases", len(d.leases.Snapshot().Leases)))
		})
		notify(sdnotify.Stopping)
		return failure(err)
	}
	return cmd
}

// saveMemory makes the garbage collector work harder than is usual, unless the owner has set it: a router has little
// memory, and this program little to do.
func saveMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
}

// untilSignal returns a context that ends at the first SIGTERM or SIGINT; the second one ends the process as it
// would without us. There is nothing to reload, so SIGHUP is said to be of no use instead of ending the daemon.
func untilSignal(ctx context.Context, log *slog.Logger) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	go func() {
		for {
			select {
			case s := <-signals:
				if s == syscall.SIGHUP {
					log.Warn("SIGHUP: settings are read at start only; restart portreeve to apply them, its leases stay")
					continue
				}
				log.Info("stopping", "signal", s)
				signal.Stop(signals)
				cancel()
				return
			case <-ctx.Done():
				signal.Stop(signals)
				return
			}
		}
	}()
	return ctx, cancel
}

// systemd returns a function that tells the service manager of our state (sd_notify(3)); without one it does nothing.
func systemd(log *slog.Logger) func(states ...string) {
	n, err := sdnotify.New()
	if err != nil {
		if !errors.Is(err, os.ErrNotExist) {
			log.Warn("cannot talk to the service manager", "err", err)
		}
		return func(...string) {}
	}
	return func(states ...string) {
		if err := n.Notify(states...); err != nil {
			log.Warn("cannot talk to the service manager", "err", err)
		}
	}
}
