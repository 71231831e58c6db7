package cmd

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/klkube/kl/cluster/host"

	"github.com/spf13/cobra"

	"github.com/klkube/kl/cluster"
)

func newStatusCmd(e *env) *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Show the state of the cluster, its components and its nodes",
		Example: "  kl status\n  kl status --name big -o json",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return status(cmd.Context(), e, o) },
	}
	addOutput(cmd, &o)
	return cmd
}

// nodeRow is what the driver, the control plane and the node itself know about a node.
type nodeRow struct {
	cluster.Node
	Ready   bool   `json:"ready"`
	Reason  string `json:"reason,omitempty"`
	Kubelet string `json:"kubelet,omitempty"`
	Memory  int64  `json:"anonymousMemoryBytes,omitempty"` // of the node's programs
}

func status(ctx context.Context, e *env, o output) error {
	info, err := e.host(nil).Inspect(ctx, e.name)
	if err != nil {
		return err
	}
	nodes := nodeRows(ctx, e, info)
	if o.isJSON() {
		return printJSON(e.Out, struct {
			host.Info
			Nodes []nodeRow `json:"nodes"`
		}{info, nodes})
	}
	printStatus(e.Out, info, nodes, time.Now())
	return nil
}

// nodeRows joins what is known about the nodes. It asks each connected node for its memory.
func nodeRows(ctx context.Context, e *env, info host.Info) []nodeRow {
	rows := make([]nodeRow, len(info.Nodes))
	known := map[string]cluster.NodeStatus{}
	if info.Status != nil {
		for _, n := range info.Status.Nodes {
			known[n.Name] = n
		}
	}
	c := cluster.NewClient(e.layout())
	defer c.Close()
	for i, n := range info.Nodes {
		s := known[n.Name]
		rows[i] = nodeRow{Node: n, Ready: s.Ready && s.Connected, Reason: s.Reason, Kubelet: s.Kubelet}
		if s.Connected {
			rows[i].Memory = nodeMemory(ctx, c, n.Name)
		}
	}
	return rows
}

// nodeMemory returns the memory that a node's programs use, in bytes, or 0 if the node does not answer.
func nodeMemory(ctx context.Context, c *cluster.Client, node string) int64 {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	resp, err := c.Node(ctx, node, http.MethodGet, "/v1/info", nil)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	var info struct {
		Memory int64 `json:"memoryBytes"`
	}
	if json.NewDecoder(resp.Body).Decode(&info) != nil {
		return 0
	}
	return info.Memory
}

func printStatus(w io.Writer, i host.Info, nodes []nodeRow, now time.Time) {
	line := func(key, value string) {
		if value != "" {
			fmt.Fprintf(w, "%-12s%s\n", key, value)
		}
	}
	line("cluster", i.Name)
	line("state", string(i.Phase))
	line("reason", i.Reason)
	line("kubernetes", i.Kubernetes)
	driver := string(i.Driver)
	if i.DriverWhy != "" {
		driver += " (" + i.DriverWhy + ")"
	}
	line("driver", driver)
	line("api", i.Server)
	if i.Status != nil {
		line("uptime", age(now.Sub(i.Status.Started)))
		line("memory", megabytes(i.Status.Memory))
		if s := i.Status.Simulated; s.Nodes > 0 {
			line("simulated", fmt.Sprintf("%s, %d ready", plural(s.Nodes, "node"), s.Ready))
		}
	}
	for _, p := range i.Problems {
		line("problem", p)
	}
	if i.Status != nil && len(i.Status.Components) > 0 {
		fmt.Fprintln(w)
		rows := [][]string{{"COMPONENT", "STATE", "SINCE", "STARTED IN", "RESTARTS", "ERROR"}}
		for _, c := range i.Status.Components {
			took := ""
			if c.Ready > 0 {
				took = fmt.Sprintf("%.2fs", c.Ready-c.Began)
			}
			rows = append(rows, []string{string(c.Name), string(c.State), age(now.Sub(c.Since)), took, fmt.Sprint(c.Restarts), c.Error})
		}
		_ = table(w, rows)
	}
	if len(nodes) > 0 {
		fmt.Fprintln(w)
		_ = table(w, nodeTable(nodes, now))
	}
}

func nodeTable(nodes []nodeRow, now time.Time) [][]string {
	rows := [][]string{{"NODE", "STATE", "READY", "IP", "KUBELET", "MEMORY", "AGE", "REASON"}}
	for _, n := range nodes {
		ready := "no"
		if n.Ready {
			ready = "yes"
		}
		rows = append(rows, []string{n.Name, string(n.State), ready, n.IP, n.Kubelet, megabytes(n.Memory), age(now.Sub(n.Created)), n.Reason})
	}
	return rows
}
