package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/portreeve/portreeve/config"
	"github.com/portreeve/portreeve/lan"
	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/pcp"
	"github.com/portreeve/portreeve/wan"
)

// finding is one thing that was looked at.
type finding struct {
	Subject string `json:"subject"`
	OK      bool   `json:"ok"`
	What    string `json:"what"`
	Do      string `json:"do,omitempty"` // what to do about it, or could be done
}

// report collects findings.
type report []finding

func (r *report) ok(subject, format string, args ...any) {
	*r = append(*r, finding{Subject: subject, OK: true, What: fmt.Sprintf(format, args...)})
}

func (r *report) bad(subject, what, do string) {
	*r = append(*r, finding{Subject: subject, What: what, Do: do})
}

func (r *report) note(subject, what, do string) {
	*r = append(*r, finding{Subject: subject, OK: true, What: what, Do: do})
}

func newCheck() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check the configuration and whether this machine can run portreeve; changes nothing",
		Long: `Check the configuration and whether this machine can run portreeve. It changes nothing, and may be run
beside a running daemon. Exits with 3 if the configuration is wrong and with 7 if something else would not work.`,
		Args: cobra.NoArgs,
	}
	o, out := &options{}, addOutputFlag(cmd)
	o.addConfigFlags(cmd)
	o.addPlaceFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := o.load()
		if err != nil {
			return err
		}
		r := check(cmd.Context(), cfg, o)
		bad := 0
		for _, f := range r {
			if !f.OK {
				bad++
			}
		}
		if err := out.print(cmd.OutOrStdout(), r, func(w io.Writer) { printReport(w, r) }); err != nil {
			return err
		}
		if bad > 0 {
			return exit{exitFindings, fmt.Errorf("%d of %d checks found a problem", bad, len(r))}
		}
		return nil
	}
	return cmd
}

func printReport(w io.Writer, r report) {
	for _, f := range r {
		mark := "ok"
		switch {
		case !f.OK:
			mark = "PROBLEM"
		case f.Do != "":
			mark = "note"
		}
		row(w, mark, f.Subject, f.What)
		if f.Do != "" {
			row(w, "", "", "-> "+f.Do)
		}
	}
}

func check(ctx context.Context, cfg config.Config, o *options) report {
	var r report
	r.ok("configuration", "valid")
	for _, w := range cfg.Warnings {
		r.note("configuration", w, "change the setting, or live with it")
	}
	running := reachable(ctx, o.socket)
	if running {
		r.ok("daemon", "running")
	}
	r.checkStore(cfg.Store)
	r.checkFirewall(ctx, cfg)
	r.checkNetwork(ctx, cfg, running)
	return r
}

// checkStore looks whether the directory of the store can be written, or could be made.
func (r *report) checkStore(path string) {
	if path == "" {
		r.ok("store", "in memory: leases do not outlive the daemon")
		return
	}
	dir := filepath.Dir(path)
	for {
		err := unix.Access(dir, unix.W_OK|unix.X_OK)
		if errors.Is(err, fs.ErrNotExist) && dir != "/" && dir != "." {
			dir = filepath.Dir(dir)
			continue
		}
		if err != nil {
			r.bad("store", fmt.Sprintf("%s cannot be written: %v", dir, err), "run as the daemon's user, or set [store] path or --state-dir to a directory that it can write")
			return
		}
		break
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		r.bad("store", path+" is not a file", "set [store] path to a file")
		return
	}
	r.ok("store", "%s", path)
}

func (r *report) checkFirewall(ctx context.Context, cfg config.Config) {
	all, err := openBackends(ctx, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		r.bad("firewall", err.Error(), "")
		return
	}
	b := all.chosen
	r.ok("firewall", "%s: %s", b.Name(), b.Why())
	for _, p := range b.Check(ctx) {
		r.bad("firewall", p.What, p.Do)
	}
}

// checkNetwork looks at the interfaces, and unless the daemon runs, whether its ports are free on each LAN.
func (r *report) checkNetwork(ctx context.Context, cfg config.Config, running bool) {
	log := slog.New(slog.DiscardHandler)
	outside, err := wan.New(wan.Config{Names: cfg.WANs, Inside: cfg.LANs, Now: time.Now, Log: log})
	if err != nil {
		r.bad("wan", err.Error(), "")
		return
	}
	if primary, ok := outside.Snapshot().Primary(); ok && primary.Connected() {
		r.ok("wan", "%s %s: %s", primary.Name, join(primary.Addrs), primary.Note())
	} else {
		r.bad("wan", outside.Snapshot().Note(), "mappings are kept and take effect when the WAN is up; if the wrong interface was found, name it with [wan] interfaces or --wan")
	}
	inside, err := lan.New(lan.Config{Names: cfg.LANs, Outside: outside.Outside, Log: log})
	if err != nil {
		r.bad("lan", err.Error(), "")
		return
	}
	snapshot := settled(ctx, inside)
	for _, m := range snapshot.Missing {
		r.bad("lan", fmt.Sprintf("%s: %s", m.Name, m.Why), "it will be served as soon as it can be; if that is never, correct [lan] interfaces")
	}
	r.checkRules(ctx, cfg, lease.Topology{WANs: outside.Snapshot().Topology(), LANs: snapshot.Topology()}, inside)
	if len(snapshot.Interfaces) == 0 {
		r.bad("lan", "no interface with a private IPv4 address", "give the LAN interface its address, or name it with [lan] interfaces or --lan")
	}
	for _, ifc := range snapshot.Interfaces {
		r.ok("lan", "%s %s", ifc.Name, join(ifc.Prefixes))
		if !running {
			r.checkPorts(ctx, cfg, ifc)
		}
	}
}

// checkRules looks for rules of the configuration file that could not be in force here.
func (r *report) checkRules(ctx context.Context, cfg config.Config, t lease.Topology, inside *lan.Watcher) {
	own, err := withOwnPorts(cfg, inside.Listening)(ctx)
	if err != nil {
		r.bad("rules", "cannot ask for the router's own ports: "+err.Error(), "run as root or as the daemon's user")
	}
	unfit := 0
	for _, rule := range cfg.Rules {
		if why := rule.Unfit(t, own); why != "" {
			unfit++
			r.bad("rules", fmt.Sprintf("%s of the configuration file would not be in force: %s", rule.Title(), why),
				"correct it, switch it off (enabled = false), or let portreeve wait until that is otherwise")
		}
	}
	for _, rule := range cfg.Policy.Rules {
		if why := rule.Unfit(t); why != "" {
			unfit++
			r.bad("policy", fmt.Sprintf("rule %q of the configuration file matches nothing: %s", rule.Name, why), "correct its networks, or let portreeve wait until there is one")
		}
	}
	if n := len(cfg.Rules) + len(cfg.Policy.Rules); n > 0 && unfit == 0 {
		r.ok("rules", "%d in the configuration file, which can be in force", n)
	}
}

// settled returns the LANs, giving a watcher that has found none yet the time to make sure: as long as there is no
// default route, any interface might still turn out to lead outside.
func settled(ctx context.Context, w *lan.Watcher) *lan.Snapshot {
	snapshot := w.Snapshot()
	if len(snapshot.Interfaces) > 0 || len(snapshot.Missing) > 0 {
		return snapshot
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	var watching errgroup.Group
	watching.Go(func() error { return w.Run(ctx) })
	select {
	case <-snapshot.Changed():
	case <-ctx.Done():
	}
	cancel()
	_ = watching.Wait() // it was cancelled, and what it has found is in its snapshot
	return w.Snapshot()
}

func (r *report) checkPorts(ctx context.Context, cfg config.Config, ifc lan.Interface) {
	for _, p := range ifc.Prefixes {
		try := func(on bool, protocol lease.Protocol, port uint16, name string) {
			if !on {
				return
			}
			addr := netip.AddrPortFrom(p.Addr(), port)
			var c io.Closer
			var err error
			if protocol == lease.TCP {
				c, err = lan.Listen(ctx, ifc, addr)
			} else {
				c, err = lan.ListenPacket(ctx, ifc, addr)
			}
			if err != nil {
				r.bad("port", err.Error(), "the setting is "+name)
				return
			}
			c.Close()
			r.ok("port", "%s %s is free", protocol, addr)
		}
		try(cfg.IGD.Enable, lease.TCP, cfg.IGD.Port, "[igd] port")
		try(cfg.NATPMP, lease.UDP, pcp.Port, "[pcp] natpmp")
		try(cfg.Web.Enable, lease.TCP, cfg.Web.Port, "[web] port")
	}
}
