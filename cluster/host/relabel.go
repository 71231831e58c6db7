package host

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/klkube/kl/cluster"
)

// relabel brings labels and taints of the Node objects from one Spec to another, group by group. Labels and taints that
// neither Spec has are left alone.
func (c *change) relabel(ctx context.Context, old, want cluster.Spec) error {
	return c.steps.within(ctx, cluster.StepLabels, func() (string, error) {
		for i := range min(len(old.Nodes), len(want.Nodes)) {
			before, after := old.Nodes[i], want.Nodes[i]
			err := c.editNodes(ctx, "label", after.Names, labelArgs(before.Labels, after.Labels))
			if err == nil {
				err = c.editNodes(ctx, "taint", after.Names, taintArgs(before.Taints, after.Taints))
			}
			if err != nil {
				return "", err
			}
		}
		return "", nil
	})
}

// editNodes runs kubectl label or kubectl taint on Node objects.
func (c *change) editNodes(ctx context.Context, verb string, nodes, edits []string) error {
	if len(nodes) == 0 || len(edits) == 0 {
		return nil
	}
	log, err := c.kubectl(ctx, cluster.StepLabels, slices.Concat([]string{verb, "--overwrite", "node"}, nodes, edits)...)
	if err != nil {
		return &cluster.Error{Op: verb + " nodes " + strings.Join(nodes, ", "), Err: err, Log: log}
	}
	return nil
}

// labelArgs returns arguments of kubectl label: key=value sets a label, key- removes it.
func labelArgs(before, after map[string]string) []string {
	var args []string
	for _, k := range slices.Sorted(maps.Keys(after)) {
		if v, ok := before[k]; !ok || v != after[k] {
			args = append(args, k+"="+after[k])
		}
	}
	for _, k := range slices.Sorted(maps.Keys(before)) {
		if _, ok := after[k]; !ok {
			args = append(args, k+"-")
		}
	}
	return args
}

// taintArgs returns arguments of kubectl taint: key=value:effect sets a taint, key:effect- removes it.
func taintArgs(before, after []string) []string {
	var args []string
	identity := func(taint string) string {
		kv, effect, _ := strings.Cut(taint, ":")
		key, _, _ := strings.Cut(kv, "=")
		return key + ":" + effect
	}
	kept := map[string]bool{}
	for _, t := range after {
		kept[identity(t)] = true
		if !slices.Contains(before, t) {
			args = append(args, t)
		}
	}
	for _, t := range before {
		if !kept[identity(t)] {
			args = append(args, identity(t)+"-")
		}
	}
	return args
}
