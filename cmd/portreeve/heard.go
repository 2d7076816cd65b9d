package main

import (
	"cmp"
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/portreeve/portreeve/web"
)

func newHeard() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "heard",
		Short: "Show who has searched for a gateway or asked one lately",
		Long: `Show which hosts said something to the servers in the last ten minutes, whatever came of it.
A console that is not in the list has not been heard: it is on another network, or has UPnP switched off.`,
		Args: cobra.NoArgs,
	}
	c, out := addClientFlags(cmd), addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var list web.HeardList
		if err := c.do(cmd.Context(), http.MethodGet, "/heard", &list); err != nil {
			return err
		}
		return out.print(cmd.OutOrStdout(), list, func(w io.Writer) { printHeard(w, list) })
	}
	return cmd
}

func printHeard(w io.Writer, list web.HeardList) {
	if len(list.Hosts) == 0 {
		fmt.Fprintln(w, "nobody was heard in the last ten minutes")
		return
	}
	row(w, "HOST", "NAME", "MAC", "SEARCHES", "UPNP", "PCP AND NAT-PMP", "LAST")
	for _, h := range list.Hosts {
		row(w, h.Address, cmp.Or(h.Name, "-"), cmp.Or(h.MAC, "-"), h.Searches, h.Calls, h.Requests, short(h.AgoSeconds)+" ago")
	}
}
