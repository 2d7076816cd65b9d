package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/portreeve/portreeve/config"
	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lan"
	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/pcp"
	"github.com/portreeve/portreeve/wan"
	"github.com/portreeve/portreeve/web"
)

// report collects what was found.
type report []web.Finding

func (r *report) ok(subject, format string, args ...any) {
	*r = append(*r, web.Finding{Subject: subject, OK: true, What: fmt.Sprintf(format, args...)})
}

func (r *report) bad(subject, what, do string) {
	*r = append(*r, web.Finding{Subject: subject, What: what, Do: do})
}

func (r *report) note(subject, what, do string) {
	*r = append(*r, web.Finding{Subject: subject, OK: true, What: what, Do: do})
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
	r.checkMiniupnpd()
	return r
}

// selfCheck is what a running daemon finds: the same, of the things that it has open itself, and whether it does its work.
func (d *daemon) selfCheck(ctx context.Context) []web.Finding {
	var r report
	for _, w := range d.cfg.Warnings {
		r.note("configuration", w, "change the setting, or live with it")
	}
	r.checkBackend(ctx, d.backend)
	r.checkState(d.leases.Snapshot())
	r.checkWAN(d.wan)
	r.checkLANs(ctx, d.cfg, d.wan, d.lan, d.lan.Snapshot())
	r.checkListening(ctx, d.cfg, d.lan)
	r.checkMiniupnpd()
	return r
}

// checkState looks whether store and kernel have what was answered.
func (r *report) checkState(s *lease.Snapshot) {
	for _, p := range s.Problems {
		r.bad("rules", p.Source+": "+p.Text, "portreeve tries again by itself; if it lasts, look at its log")
	}
	if len(s.Problems) == 0 {
		r.ok("rules", "%d mappings are stored and in the kernel", len(s.Leases))
	}
}

// checkListening looks whether the daemon's own ports listen.
func (r *report) checkListening(ctx context.Context, cfg config.Config, inside *lan.Watcher) {
	listening, err := inside.Listening(ctx)
	if err != nil {
		r.bad("port", "cannot ask for the router's own ports: "+err.Error(), "run as root or as the daemon's user")
		return
	}
	own := slices.SortedFunc(maps.Keys(ownPorts(cfg)), func(a, b lease.Port) int { return cmp.Compare(a.Number, b.Number) })
	for _, p := range own {
		if name := fmt.Sprintf("%s %d", p.Protocol, p.Number); listening.Has(p) {
			r.ok("port", "%s listens", name)
		} else {
			r.bad("port", name+" does not listen", "look at the log, and start portreeve again")
		}
	}
}

// checkMiniupnpd looks for another daemon that does the same.
func (r *report) checkMiniupnpd() {
	for _, path := range []string{"/run/miniupnpd.pid", "/var/run/miniupnpd.pid"} {
		pid, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		name, err := os.ReadFile(filepath.Join("/proc", filepath.Base(strings.TrimSpace(string(pid))), "comm"))
		if err == nil && strings.TrimSpace(string(name)) == "miniupnpd" {
			r.bad("miniupnpd", "miniupnpd is running, and devices may ask it in place of portreeve", "stop and disable it: systemctl disable --now miniupnpd (OpenWrt: service miniupnpd disable; service miniupnpd stop)")
			return
		}
	}
	for _, path := range []string{"/etc/miniupnpd/miniupnpd.conf", "/etc/config/upnpd"} {
		if _, err := os.Stat(path); err == nil {
			r.note("miniupnpd", "there is a configuration of miniupnpd, "+path+", and portreeve does not use it", "make sure that miniupnpd is not started, and set here again what you need of it")
			return
		}
	}
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
	r.checkBackend(ctx, all.chosen)
}

func (r *report) checkBackend(ctx context.Context, b firewall.Backend) {
	r.ok("firewall", "%s: %s", b.Name(), b.Why())
	forwards := true
	firewall.CheckForwarding(func(string, string) { forwards = false })
	if forwards { // what is wrong with it the backend says
		r.ok("forwarding", "the kernel forwards packets")
	}
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
	r.checkWAN(outside)
	inside, err := lan.New(lan.Config{Names: cfg.LANs, Outside: outside.Outside, Log: log})
	if err != nil {
		r.bad("lan", err.Error(), "")
		return
	}
	snapshot := settled(ctx, inside)
	r.checkLANs(ctx, cfg, outside, inside, snapshot)
	for _, ifc := range snapshot.Interfaces {
		if !running {
			r.checkPorts(ctx, cfg, ifc)
		}
	}
}

// checkWAN looks what the line to the internet is good for.
func (r *report) checkWAN(outside *wan.Watcher) {
	primary, ok := outside.Snapshot().Primary()
	switch {
	case !ok || !primary.Connected():
		r.bad("wan", outside.Snapshot().Note(), "mappings are kept and take effect when the WAN is up; if the wrong interface was found, name it with [wan] interfaces or --wan")
	case primary.Kind() == wan.Public:
		r.ok("wan", "%s", primary.Note())
	case primary.Kind() == wan.Private:
		r.note("wan", primary.Note(), "switch that router to bridge mode, or make this one its DMZ host (exposed host)")
	default:
		r.note("wan", primary.Note(), "ask the provider for a public address, or use IPv6")
	}
}

// checkLANs looks at the networks inside, and at the rules of the file that are about them.
func (r *report) checkLANs(ctx context.Context, cfg config.Config, outside *wan.Watcher, inside *lan.Watcher, snapshot *lan.Snapshot) {
	for _, m := range snapshot.Missing {
		r.bad("lan", fmt.Sprintf("%s: %s", m.Name, m.Why), "it will be served as soon as it can be; if that is never, correct [lan] interfaces")
	}
	r.checkRules(ctx, cfg, lease.Topology{WANs: outside.Snapshot().Topology(), LANs: snapshot.Topology()}, inside)
	if len(snapshot.Interfaces) == 0 {
		r.bad("lan", "no interface with a private IPv4 address", "give the LAN interface its address, or name it with [lan] interfaces or --lan")
	}
	for _, ifc := range snapshot.Interfaces {
		r.ok("lan", "%s %s", ifc.Name, join(ifc.Prefixes))
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
