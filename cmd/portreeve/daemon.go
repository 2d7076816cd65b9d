package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/portreeve/portreeve/config"
	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/igd"
	"github.com/portreeve/portreeve/lan"
	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/lease/boltstore"
	"github.com/portreeve/portreeve/notify"
	"github.com/portreeve/portreeve/pcp"
	"github.com/portreeve/portreeve/ssdp"
	"github.com/portreeve/portreeve/wan"
	"github.com/portreeve/portreeve/web"
)

// daemon is everything that runs, wired together. It has no logic of its own beyond the order of start and end.
type daemon struct {
	cfg    config.Config
	socket net.Listener
	log    *slog.Logger

	firewalls backends
	backend   firewall.Backend // the chosen one
	store     *boltstore.Store // nil: nothing is kept
	wan       *wan.Watcher
	lan       *lan.Watcher
	leases    *lease.Manager
	meter     *firewall.Meter

	disturbed    chan struct{} // somebody else may have changed the firewall rules
	countersFail atomic.Bool   // the WAN's traffic counters cannot be read, and that was said

	igd  *igd.Server  // nil: switched off
	ssdp *ssdp.Server // nil: switched off
	pcp  *pcp.Server  // PCP and NAT-PMP; nil: both are switched off
	web  *web.Server

	heard *lan.Heard // who said something to the servers lately

	notifier     *notify.Notifier
	resolver     *lan.Resolver // asks devices for their names; nil: switched off
	certificates *certificates // of the admin page; nil: it is served without TLS

	limits limits
}

// limits are those of the connections to each server, over all LANs.
type limits struct{ igd, web, socket *lan.Limiter }

// newLimits allows 376 connections in all, and events may need 256: a process may usually have 1024 files open. A browser
// opens six connections at most, a control point one or two.
func newLimits(device func(netip.Addr) string, log *slog.Logger) limits {
	return limits{
		igd:    lan.NewLimiter(lan.Limits{Name: "UPnP", Total: 256, PerHost: 32, Device: device}, log),
		web:    lan.NewLimiter(lan.Limits{Name: "admin page", Total: 96, PerHost: 24, Device: device}, log),
		socket: lan.NewLimiter(lan.Limits{Name: "command line", Total: 24, PerHost: 24}, log),
	}
}

// newDaemon opens what must be there before anything runs: firewall, store, the kernel's view of the network.
func newDaemon(ctx context.Context, cfg config.Config, o *options, log *slog.Logger) (d *daemon, err error) {
	d = &daemon{disturbed: make(chan struct{}, 1), cfg: cfg, log: log, heard: lan.NewHeard(time.Now)}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	if err := os.MkdirAll(o.stateDir, 0o700); err != nil {
		return d, fmt.Errorf("state directory: %w: create it, or name another with --state-dir", err)
	}
	if d.socket, err = listenLocal(ctx, o.socket); err != nil {
		return d, err
	}
	if d.firewalls, err = openBackends(ctx, cfg, log); err != nil {
		return d, err
	}
	d.backend = d.firewalls.chosen
	if err := d.watchNetwork(); err != nil {
		return d, err
	}
	d.limits = newLimits(d.lan.MAC, log)
	if err := d.openLeases(ctx); err != nil {
		return d, err
	}
	if err := d.newServers(ctx, o); err != nil {
		return d, err
	}
	return d, nil
}

func (d *daemon) watchNetwork() (err error) {
	if d.wan, err = wan.New(wan.Config{Names: d.cfg.WANs, Inside: d.cfg.LANs, Now: time.Now, Log: d.log}); err != nil {
		return err
	}
	d.lan, err = lan.New(lan.Config{Names: d.cfg.LANs, Outside: d.wan.Outside, Log: d.log})
	return err
}

func (d *daemon) openLeases(ctx context.Context) (err error) {
	cfg := lease.Config{
		Firewall:  d.backend,
		Policy:    d.cfg.Policy,
		Rules:     d.cfg.Rules,
		NAT:       d.cfg.NAT,
		Topology:  d.topology(),
		Listeners: withOwnPorts(d.cfg, d.lan.Listening),
		Disturbed: d.disturbed,
		Device:    d.lan.MAC,
		Addrs:     d.lan.Addrs,
		Moved:     d.lan.Moved(),
		Present:   d.lan.Present,
		Logger:    d.log,
	}
	if d.cfg.Store != "" {
		if d.store, err = boltstore.Open(ctx, d.cfg.Store, boltstore.Options{Wait: time.Second, Logger: d.log}); err != nil {
			return err
		}
		cfg.Store = d.store
	}
	if d.leases, err = lease.New(ctx, cfg); err != nil {
		return err
	}
	d.meter = d.newMeter()
	return nil
}

func (d *daemon) newServers(ctx context.Context, o *options) (err error) {
	if d.cfg.IGD.Enable {
		if err := d.newIGD(o); err != nil {
			return err
		}
	}
	d.pcp = d.newPCP(o.stateDir)
	var records web.Records = web.NewMemoryRecords()
	if d.store != nil {
		records = d.store
	}
	if d.certificates, err = openCertificates(d.cfg.Web, o.stateDir, d.ownAddrs(), d.log); err != nil {
		return err
	}
	if d.cfg.MDNS {
		d.resolver = lan.NewResolver(d.lan, time.Now, d.log)
	}
	names := lan.NewNames(lan.UsualNameFiles(), time.Now, d.log)
	if err := d.newNotifier(ctx, records, names); err != nil {
		return err
	}
	d.web, err = web.New(ctx, web.Config{
		DeviceName: d.deviceName(names), Neighbours: d.neighbours, Vendor: lan.NewVendors(lan.UsualVendorFiles(), d.log).Vendor,
		Leases: d.leases, Records: records, Facts: d.facts, OwnAddrs: d.ownAddrs, Traffic: d.traffic, Use: d.use, Minutes: d.minutes, Counts: d.counts,
		MAC: d.lan.MAC, Addrs: d.lan.Addrs, Policy: d.cfg.Policy, Answer: answer, Settings: settings(d.cfg), Logger: d.log,
		ConfigFile: o.file(), Check: d.selfCheck, Heard: d.hostsHeard, Notify: d.notifier,
	})
	return err
}

func (d *daemon) newPCP(stateDir string) *pcp.Server {
	cfg := pcp.Config{
		Leases: d.leases, Outside: outside{d}, Logger: d.log, Device: d.lan.MAC, Flow: d.flow, Heard: d.hears(lan.Asked),
		ThirdParty: slices.Contains(d.cfg.Policy.ThirdParty, lease.OriginPCP),
		Changed:    func() <-chan struct{} { return d.wan.Snapshot().Changed() },

		LAN:         outside{d}.lanOf,
		LANsChanged: func() <-chan struct{} { return d.lan.Snapshot().Changed() },
	}
	if d.store != nil { // else the epoch begins anew anyway
		cfg.Lines, cfg.KeepLines = keptLines(stateDir, d.log)
	}
	switch {
	case d.cfg.PCP && d.cfg.NATPMP:
		cfg.Versions = pcp.PCPAndPMP
	case d.cfg.PCP:
		cfg.Versions = pcp.OnlyPCP
	case d.cfg.NATPMP:
		cfg.Versions = pcp.OnlyPMP
	default:
		return nil
	}
	return pcp.NewServer(cfg)
}

// hears returns what takes down that a host has said something.
func (d *daemon) hears(what lan.Sound) func(netip.Addr) {
	return func(host netip.Addr) { d.heard.Note(what, host) }
}

// igdVersions translates the setting.
func igdVersions(setting int) igd.Versions {
	switch setting {
	case 1:
		return igd.OnlyVersion1
	case 2:
		return igd.OnlyVersion2
	default:
		return igd.BothVersions
	}
}

func (d *daemon) newIGD(o *options) error {
	id, err := machineID(o.stateDir)
	if err != nil {
		return err
	}
	cfg := igd.Config{
		UUID: id, Version: version(), Product: product(), Versions: igdVersions(d.cfg.IGD.Version),
		Device: d.lan.MAC, Addrs: d.lan.Addrs, Present: d.lan.Present, Leases: d.leases, Outside: outside{d}, Logger: d.log,
		Network: d.network(), Heard: d.hears(lan.Called),
	}
	if d.cfg.Web.Enable {
		cfg.UIPort, cfg.UISecure = d.cfg.Web.Port, d.cfg.Web.TLS
	}
	if d.igd, err = igd.New(cfg); err != nil {
		return err
	}
	var targets []ssdp.Target
	for _, t := range d.igd.Targets() {
		targets = append(targets, ssdp.Target(t))
	}
	d.ssdp, err = ssdp.New(ssdp.Config{
		Targets: targets,
		Location: func(addr netip.Addr, target string, version int) string {
			return "http://" + netip.AddrPortFrom(addr, d.cfg.IGD.Port).String() + d.igd.DescriptionPath(target, version)
		},
		BootID:   func() uint32 { return uint32(d.leases.Now().Unix()) },
		Product:  product(),
		ConfigID: d.igd.ConfigID(),
		Heard:    d.hears(lan.Searched),
		Log:      d.log,
	})
	return err
}

// run serves until ctx ends, calling ready once every socket listens and the rules stand. The servers end first, so
// that they can say goodbye; then the core, so that whatever they began is finished; the firewall rules go last.
func (d *daemon) run(ctx context.Context, ready func()) (err error) {
	defer func() { err = errors.Join(err, d.close()) }()
	d.removeOldRules(ctx)
	coreCtx, endCore := context.WithCancel(context.WithoutCancel(ctx))
	defer endCore()
	core, coreCtx := errgroup.WithContext(coreCtx)
	core.Go(func() error { return d.leases.Run(coreCtx) })
	core.Go(func() error { return d.wan.Run(coreCtx) })
	core.Go(func() error { return d.lan.Run(coreCtx) })
	core.Go(func() error { return d.meter.Run(coreCtx) })
	core.Go(func() error { return d.followNetwork(coreCtx) })
	if d.resolver != nil {
		core.Go(func() error { return d.resolver.Run(coreCtx) })
	}
	core.Go(func() error { return d.holdAddresses(coreCtx) })
	core.Go(func() error {
		d.backend.Watch(coreCtx, func() {
			select {
			case d.disturbed <- struct{}{}:
			default: // one that waits is enough
			}
		})
		return nil
	})

	serverCtx, endServers := context.WithCancel(ctx)
	defer endServers()
	defer context.AfterFunc(coreCtx, endServers)() // without the core there is nothing to serve
	serveErr := d.serve(serverCtx, ready)
	endCore()
	err = errors.Join(core.Wait(), serveErr)
	cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	if cleanErr := d.backend.Cleanup(cleanup); cleanErr != nil {
		err = errors.Join(err, fmt.Errorf("remove the firewall rules: %w; try portreeve cleanup", cleanErr))
	}
	return err
}

// removeOldRules removes what an earlier run may have left in a backend that is not used any more.
func (d *daemon) removeOldRules(ctx context.Context) {
	other := d.firewalls.other
	if other == nil {
		return
	}
	if err := other.Cleanup(ctx); err != nil {
		d.log.Warn("rules of an earlier run may be left", "backend", other.Name(), "err", err)
	}
}

// followNetwork tells the core of each change outside and inside.
func (d *daemon) followNetwork(ctx context.Context) error {
	for {
		outside, inside := d.wan.Snapshot(), d.lan.Snapshot()
		if err := d.leases.SetTopology(ctx, d.topology()); err != nil && ctx.Err() == nil {
			d.log.Warn("the firewall does not follow the network yet", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-outside.Changed():
		case <-inside.Changed():
		}
	}
}

func (d *daemon) topology() lease.Topology {
	return lease.Topology{WANs: d.wan.Snapshot().Topology(), LANs: d.lan.Snapshot().Topology()}
}

// serve runs all servers until ctx ends. The first that fails ends the others.
func (d *daemon) serve(ctx context.Context, ready func()) error {
	select {
	case <-d.leases.Ready():
	case <-ctx.Done():
		return nil
	}
	all, ctx := newServers(ctx)
	all.start(func(ready func()) error {
		ready() // the socket listens since newDaemon
		return d.web.ServeLocal(ctx, d.limits.socket.Limit(d.socket))
	})
	all.start(func(ready func()) error {
		ready() // it needs no socket
		return d.notifier.Run(ctx)
	})
	if d.igd != nil {
		all.start(func(ready func()) error {
			ready() // it needs no socket
			return d.igd.Run(ctx)
		})
		all.start(func(ready func()) error { return d.lan.EachAddr(ctx, lan.IPv4AndIPv6, d.serveIGD, ready) })
		for _, family := range []lan.Families{lan.OnlyIPv4, lan.OnlyIPv6} {
			all.start(func(ready func()) error { return d.lan.EachInterface(ctx, family, d.serveSSDP(family), ready) })
		}
	}
	if d.pcp != nil {
		families := lan.OnlyIPv4 // is all that NAT-PMP knows
		if d.cfg.PCP {
			families = lan.IPv4AndIPv6
		}
		all.start(func(ready func()) error { return d.lan.EachAddr(ctx, families, d.servePCP, ready) })
	}
	if d.cfg.Web.Enable {
		all.start(func(ready func()) error { return d.lan.EachAddr(ctx, lan.IPv4AndIPv6, d.serveWeb, ready) })
	}
	return all.wait(ctx, ready)
}

func (d *daemon) serveIGD(ctx context.Context, ifc lan.Interface, addr netip.Addr, ready func()) error {
	ln, err := lan.Listen(ctx, ifc, netip.AddrPortFrom(addr, d.cfg.IGD.Port))
	if err != nil {
		return setting(err, "[igd] port")
	}
	ready()
	at := igd.LAN{Name: ifc.Name, Addr: addr, Hosts: ifc.OnLink(addr), Pages: pagesAt(ifc, addr)}
	return d.igd.Serve(ctx, ln, d.limits.igd, at)
}

// pagesAt is the address at which a host finds the admin page that has found one of the router's addresses. No browser takes
// a link-local address of IPv6, for it cannot be told the link (RFC 9844): it is sent to one of the others, that of IPv6 first.
func pagesAt(ifc lan.Interface, addr netip.Addr) netip.Addr {
	if !addr.IsLinkLocalUnicast() || addr.Is4() {
		return addr
	}
	for _, p := range ifc.Prefixes6 {
		if !p.Addr().IsLinkLocalUnicast() {
			return p.Addr()
		}
	}
	return ifc.Prefixes[0].Addr()
}

// serveSSDP returns what serves one family.
func (d *daemon) serveSSDP(family lan.Families) lan.InterfaceService {
	return func(ctx context.Context, ifc lan.Interface, ready func()) error {
		conn, err := lan.ListenMulticast(ctx, ifc, family, 1900)
		if err != nil {
			return setting(err, "[igd] enable")
		}
		at := ssdp.Interface{Name: ifc.Name, Index: ifc.Index, Prefixes: ifc.Of(family)}
		return d.ssdp.Serve(ctx, conn, at, ready)
	}
}

func (d *daemon) servePCP(ctx context.Context, ifc lan.Interface, addr netip.Addr, ready func()) error {
	conn, err := lan.ListenPacket(ctx, ifc, netip.AddrPortFrom(addr, pcp.Port))
	if err != nil {
		return setting(err, "[pcp] natpmp and pcp")
	}
	ready()
	return d.pcp.Serve(ctx, conn, ifc.OnLink(addr)...)
}

func (d *daemon) serveWeb(ctx context.Context, ifc lan.Interface, addr netip.Addr, ready func()) error {
	ln, err := lan.Listen(ctx, ifc, netip.AddrPortFrom(addr, d.cfg.Web.Port))
	if err != nil {
		return setting(err, "[web] port")
	}
	ready()
	return d.web.ServeLAN(ctx, d.certificates.listener(d.limits.web.Limit(ln)))
}

// setting adds to the error of a taken port the setting by which another one is chosen.
func setting(err error, name string) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w; the setting is %s", err, name)
	}
	return err
}

// close releases what newDaemon opened.
func (d *daemon) close() error {
	var errs []error
	if d.socket != nil {
		if err := d.socket.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if d.store != nil {
		errs = append(errs, d.store.Close())
	}
	return errors.Join(errs...)
}
