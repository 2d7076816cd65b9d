package main

import (
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"

	"github.com/spf13/cobra"

	"github.com/portreeve/portreeve/web"
)

func newPolicyTest(c *client) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "test",
		Short: "Tell what a device would get that asks for a port, and why",
		Long: `Tell what a device would get that asks for a port, by each protocol, and how that is decided. Nothing is
opened, and the history does not know of it.`,
		Example: `  portreeve policy test --client 192.168.1.50 --port 3074`,
		Args:    cobra.NoArgs,
	}
	var q web.PolicyQuestion
	var lasting string
	f := cmd.Flags()
	f.StringVar(&q.Client, "client", "", "address of the device that asks")
	f.Uint16Var(&q.ExternalPort, "port", 0, "port outside that it asks for")
	f.Uint16Var(&q.InternalPort, "internal-port", 0, "port inside (default: the same)")
	f.StringVar(&q.To, "to", "", "address of the host that it asks for (default: the device itself)")
	f.StringVar(&q.Protocol, "protocol", "udp", "tcp or udp; or sctp, udplite or dccp, which only PCP knows")
	f.StringVar(&q.Description, "description", "", "what the device says that it is for")
	f.StringVar(&q.Via, "by", "", "the protocol by which it asks: upnp, nat-pmp or pcp (default: each of them)")
	f.StringVar(&lasting, "for", "1h", "how long it wants it")
	out := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var err error
		if q.LifetimeSeconds, err = lifetime(lasting); err != nil {
			return err
		}
		var a web.PolicyAnswer
		if err := c.send(cmd.Context(), call{method: http.MethodPost, path: "/policy/test", body: q}, &a); err != nil {
			return err
		}
		return out.print(cmd.OutOrStdout(), a, func(w io.Writer) { printAnswers(w, a.Answers) })
	}
	return cmd
}

// printAnswers shows the answers in a table, and then how they were decided, once for those that were decided alike.
func printAnswers(w io.Writer, answers []web.ProtocolAnswer) {
	row(w, "BY", "ACTION", "ANSWER", "CODE", "PORT", "FOR")
	for _, a := range answers {
		row(w, by(a), a.Action, verdict(a), fmt.Sprintf("%d %s", a.Code, a.Name), given(a), lasts(a))
	}
	for i, a := range answers {
		if i > 0 && reflect.DeepEqual(a.Trace, answers[i-1].Trace) {
			continue
		}
		same := []string{}
		for _, other := range answers[i:] {
			if !reflect.DeepEqual(a.Trace, other.Trace) {
				break
			}
			same = append(same, by(other)+" "+other.Action)
		}
		row(w)
		row(w, strings.Join(same, ", ")+":")
		for _, step := range a.Trace {
			row(w, "  "+map[bool]string{true: "ok", false: "NO"}[step.OK]+" "+step.Rule+": "+step.Why)
		}
		if len(a.Trace) == 0 && a.Why != "" {
			row(w, "  NO "+a.Why)
		}
	}
}

// by names a protocol with its version, where that tells something.
func by(a web.ProtocolAnswer) string {
	switch a.Via {
	case "upnp":
		return fmt.Sprintf("UPnP v%d", a.Version)
	case "nat-pmp":
		return "NAT-PMP"
	default:
		return "PCP"
	}
}

func verdict(a web.ProtocolAnswer) string {
	text := map[bool]string{true: "yes", false: "no"}[a.Allowed]
	if a.Waits {
		text = "you are asked"
	}
	if !a.Served {
		text += " (switched off)"
	}
	return text
}

func given(a web.ProtocolAnswer) string {
	if a.ExternalPort == 0 {
		return "-"
	}
	return fmt.Sprint(a.ExternalPort)
}

func lasts(a web.ProtocolAnswer) string {
	switch {
	case !a.Allowed:
		return "-"
	case a.Rule != "":
		return "your rule " + string(a.Rule)
	case a.Permanent:
		return "while the device is there"
	default:
		return short(a.LifetimeSeconds)
	}
}
