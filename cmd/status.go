package cmd

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/host"
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
	return printStatus(e.Out, info, nodes, time.Now())
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

func printStatus(w io.Writer, i host.Info, nodes []nodeRow, now time.Time) error {
	driver := string(i.Driver)
	if i.DriverWhy != "" {
		driver += " (" + i.DriverWhy + ")"
	}
	field(w, "cluster", i.Name)
	field(w, "state", string(i.Phase))
	field(w, "reason", firstLine(i.Reason))
	if c := i.Crashes; c != nil && c.Last != nil {
		field(w, "crashes", fmt.Sprintf("%d, the last one %s ago: %s", c.Count, age(now.Sub(c.Last.Time)), firstLine(c.Last.Reason)))
		for _, line := range c.Last.Log {
			fmt.Fprintf(w, "  | %s\n", line)
		}
	}
	field(w, "kubernetes", i.Kubernetes)
	field(w, "driver", driver)
	field(w, "api", i.Server)
	field(w, "registry", i.Registry)
	var components []cluster.ComponentStatus
	if s := i.Status; s != nil {
		field(w, "uptime", age(now.Sub(s.Started)))
		field(w, "memory", megabytes(s.Memory))
		if s.Simulated.Nodes > 0 {
			field(w, "simulated", fmt.Sprintf("%s, %d ready", plural(s.Simulated.Nodes, "node"), s.Simulated.Ready))
		}
		components = s.Components
	}
	for _, p := range i.Problems {
		field(w, "problem", p)
	}
	if len(components) > 0 {
		fmt.Fprintln(w)
		if err := table(w, componentTable(components, now)); err != nil {
			return fmt.Errorf("print components: %w", err)
		}
	}
	if len(nodes) > 0 {
		fmt.Fprintln(w)
		if err := table(w, nodeTable(nodes, now)); err != nil {
			return fmt.Errorf("print nodes: %w", err)
		}
	}
	return nil
}

func componentTable(components []cluster.ComponentStatus, now time.Time) [][]string {
	rows := [][]string{{"COMPONENT", "STATE", "SINCE", "STARTED IN", "RESTARTS", "ERROR"}}
	for _, c := range components {
		took := ""
		if c.Ready > 0 {
			took = fmt.Sprintf("%.2fs", c.Ready-c.Began)
		}
		rows = append(rows, []string{string(c.Name), string(c.State), age(now.Sub(c.Since)), took, fmt.Sprint(c.Restarts), c.Error})
	}
	return rows
}

func nodeTable(nodes []nodeRow, now time.Time) [][]string {
	rows := [][]string{{"NODE", "STATE", "READY", "IP", "KUBELET", "MEMORY", "AGE", "REASON"}}
	for _, n := range nodes {
		ready := "no"
		if n.Ready {
			ready = "yes"
		}
		rows = append(rows, []string{n.Name, string(n.State), ready, n.IP, n.Kubelet, megabytes(n.Memory), age(now.Sub(n.Created)), cmp.Or(n.Problem, n.Reason)})
	}
	return rows
}
