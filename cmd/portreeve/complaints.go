package main

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// What is wrong with a command line is told like everything else that is wrong: what it is, and what is allowed.

// inOurWords makes a command and all below it complain in our words.
func inOurWords(cmd *cobra.Command) {
	cmd.SetFlagErrorFunc(wrongOption)
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if check(cmd, args) == nil {
				return nil
			}
			return exit{exitUsage, wrongArguments(cmd, args)}
		}
	}
	for _, below := range cmd.Commands() {
		inOurWords(below)
	}
}

func wrongArguments(cmd *cobra.Command, args []string) error {
	path, words := cmd.CommandPath(), strings.Fields(cmd.Use)[1:]
	switch {
	case cmd.HasAvailableSubCommands() && len(args) > 0:
		var names []string
		for _, below := range cmd.Commands() {
			if below.IsAvailableCommand() {
				names = append(names, below.Name())
			}
		}
		return fmt.Errorf("%s has no command %q: allowed are %s", path, args[0], strings.Join(names, ", "))
	case len(words) == 0:
		return fmt.Errorf("%s takes no arguments, and %q is one: what it takes are options, see %s --help", path, args[0], path)
	default:
		return fmt.Errorf("%s takes %s, and %d are given: see %s --help", path, strings.Join(words, " "), len(args), path)
	}
}

// wrongOption is the error for an option that the library of the command line does not take.
func wrongOption(cmd *cobra.Command, err error) error {
	path := cmd.CommandPath()
	if args := cmd.Flags().Args(); cmd.HasAvailableSubCommands() && len(args) > 0 { // a command that there is not, and its options
		return exit{exitUsage, wrongArguments(cmd, args)}
	}
	for _, k := range []struct {
		form string
		say  func(m []string) string
	}{
		{`^invalid argument (".*") for "(?:-\w, )?--([\w-]+)" flag: (?s:(.*))$`, func(m []string) string {
			return fmt.Sprintf("--%s is %s: %s", m[2], m[1], allowedFor(cmd, m[2], m[3]))
		}},
		{`^unknown (?:shorthand )?flag: (?:'(.)' in )?-+(\S+)$`, func(m []string) string {
			name := "--" + m[2]
			if m[1] != "" {
				name = "-" + m[1]
			}
			return fmt.Sprintf("%s has no option %s: see %s --help for those that it has", path, name, path)
		}},
		{`^flag needs an argument: (?:'.' in )?(-\S+)$`, func(m []string) string {
			return fmt.Sprintf("%s needs a value: %s", m[1], usageOf(cmd, strings.TrimLeft(m[1], "-")))
		}},
	} {
		if m := regexp.MustCompile(k.form).FindStringSubmatch(err.Error()); m != nil {
			return exit{exitUsage, errors.New(k.say(m))}
		}
	}
	return exit{exitUsage, fmt.Errorf("%w: see %s --help", err, path)}
}

// allowedFor says what an option takes: by its type, or in the words of its own check.
func allowedFor(cmd *cobra.Command, name, cause string) string {
	kind := ""
	if f := cmd.Flag(name); f != nil {
		kind = f.Value.Type()
	}
	return cmp.Or(map[string]string{
		"uint16": "allowed are 0 to 65535", "int": "allowed are whole numbers", "int64": "allowed are whole numbers", "uint": "allowed are whole numbers from 0 on",
		"bool": "allowed are true and false", "duration": "allowed is such as 10s, 90m or 4h", "stringSlice": "allowed is a list of values, separated by commas",
	}[kind], cause)
}

// usageOf says what an option is for.
func usageOf(cmd *cobra.Command, name string) string {
	f := cmd.Flag(name)
	if f == nil && len(name) == 1 {
		f = cmd.Flags().ShorthandLookup(name)
	}
	if f == nil {
		return "see " + cmd.CommandPath() + " --help"
	}
	return f.Usage
}

// exclusive returns an error if more than one of some options is given.
func exclusive(cmd *cobra.Command, names ...string) error {
	given := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !cmd.Flags().Changed(name) })
	if len(given) < 2 {
		return nil
	}
	return exit{exitUsage, fmt.Errorf("--%s and --%s are both given: allowed is one of them", given[0], given[1])}
}
