package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/portreeve/portreeve/config"
	"github.com/portreeve/portreeve/web"
)

const (
	defaultConfig   = "/etc/portreeve/portreeve.toml"
	defaultStateDir = "/var/lib/portreeve"
)

// options are the flags that say how the daemon runs, or would run.
type options struct {
	configFile string
	wans, lans []string
	backend    string
	stateDir   string
	socket     string
	logLevel   string
	logFormat  string
}

// addConfigFlags gives a command the flags that choose and override the configuration.
func (o *options) addConfigFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.configFile, "config", "", "configuration file (default "+defaultConfig+", if it exists)")
	f.StringVar(&o.backend, "backend", "", "firewall backend: auto, nftables or iptables (default auto)")
	f.StringVar(&o.socket, "socket", defaultSocket, "Unix socket for the command line")
}

// addPlaceFlags gives a command the flags that say where the daemon is at work.
func (o *options) addPlaceFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&o.wans, "wan", nil, "interface to the internet; may be repeated (default: that of the default route)")
	f.StringArrayVar(&o.lans, "lan", nil, "interface to the home network; may be repeated (default: those with a private address)")
	f.StringVar(&o.stateDir, "state-dir", defaultStateDir, "directory of the lease store")
}

// addLogFlags gives a command the flags that say what it logs.
func (o *options) addLogFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&o.logFormat, "log-format", "text", "text or json")
}

// load reads the configuration file and lets the flags override it.
func (o *options) load() (config.Config, error) {
	cfg, err := o.parseFile()
	if err != nil {
		return config.Config{}, exit{exitConfig, err}
	}
	if o.backend != "" {
		cfg.Backend = o.backend
	}
	if len(o.wans) > 0 {
		cfg.WANs = o.wans
	}
	if len(o.lans) > 0 {
		cfg.LANs = o.lans
	}
	if err := cfg.Check(); err != nil {
		return config.Config{}, exit{exitConfig, err}
	}
	if cfg.Store != "" && !filepath.IsAbs(cfg.Store) {
		cfg.Store = filepath.Join(o.stateDir, cfg.Store)
	}
	return cfg, nil
}

// file is the configuration file that is read, and whether it is there.
func (o *options) file() web.ConfigFile {
	f := web.ConfigFile{Path: cmp.Or(o.configFile, defaultConfig)}
	_, err := os.Stat(f.Path)
	f.Read = err == nil
	return f
}

// parseFile reads the file that was named, or the default one if it exists.
func (o *options) parseFile() (config.Config, error) {
	path := o.configFile
	if path == "" {
		path = defaultConfig
	}
	f, err := os.Open(path)
	if o.configFile == "" && errors.Is(err, fs.ErrNotExist) {
		return config.Default(), nil
	}
	if err != nil {
		return config.Config{}, fmt.Errorf("configuration: %w", err)
	}
	defer f.Close()
	cfg, err := config.Parse(f)
	if err != nil {
		return config.Config{}, fmt.Errorf("configuration %s:\n%w", path, err)
	}
	return cfg, nil
}

// logger makes the log that the flags ask for. Under systemd the journal knows the time already.
func (o *options) logger(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.logLevel)); err != nil {
		return nil, exit{exitUsage, fmt.Errorf("--log-level is %q: allowed are debug, info, warn and error", o.logLevel)}
	}
	h := slog.HandlerOptions{Level: level}
	if os.Getenv("JOURNAL_STREAM") != "" {
		h.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey && len(groups) == 0 {
				return slog.Attr{}
			}
			return a
		}
	}
	switch o.logFormat {
	case "text":
		return slog.New(slog.NewTextHandler(w, &h)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, &h)), nil
	default:
		return nil, exit{exitUsage, fmt.Errorf("--log-format is %q: allowed are text and json", o.logFormat)}
	}
}
