package cmd

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/config"
)

// apply brings an existing cluster to what a file says, without making it anew. It returns the Spec for Up, which makes
// what is missing.
func apply(ctx context.Context, e *env, old, want cluster.Spec, f upFlags) (cluster.Spec, []config.Change, error) {
	changes, err := config.Plan(old, want)
	if err != nil {
		return want, nil, usageError{err}
	}
	want, gone := old.Names(want)
	for _, name := range gone {
		if err := nodeRemove(ctx, e, name, false, f.Timeout, f.output); err != nil {
			return want, nil, err
		}
	}
	if !f.output.isJSON() {
		for _, c := range changes {
			fmt.Fprintln(e.Err, "change", c)
		}
	}
	if has(changes, config.EffectControlPlane, config.EffectRestart) {
		progress := e.progress(f.output)
		err := e.host(progress.Event).StopControlPlane(ctx, old.Name)
		progress.Close()
		if err != nil {
			return want, nil, err
		}
	}
	return want, changes, nil
}

func has(changes []config.Change, effects ...config.Effect) bool {
	return slices.ContainsFunc(changes, func(c config.Change) bool { return slices.Contains(effects, c.Effect) })
}

// converge does what needs the cluster to be up again: programs that read their configuration anew, labels and taints.
func converge(ctx context.Context, e *env, old, want cluster.Spec, changes []config.Change, f upFlags) error {
	if has(changes, config.EffectNodeRestart, config.EffectRestart) {
		progress := e.progress(f.output)
		err := e.host(progress.Event).RestartNodePrograms(ctx, old.Name)
		progress.Close()
		if err != nil {
			return err
		}
	}
	if !has(changes, config.EffectLive) {
		return nil
	}
	for i := range min(len(old.Nodes), len(want.Nodes)) {
		before, after := old.Nodes[i], want.Nodes[i]
		labels, taints := labelArgs(before.Labels, after.Labels), taintArgs(before.Taints, after.Taints)
		for _, name := range after.Names {
			if len(labels) > 0 {
				if err := e.kubectl(ctx, append([]string{"label", "--overwrite", "node", name}, labels...)...); err != nil {
					return &cluster.Error{Op: "label node", Node: name, Err: err}
				}
			}
			if len(taints) > 0 {
				if err := e.kubectl(ctx, append([]string{"taint", "--overwrite", "node", name}, taints...)...); err != nil {
					return &cluster.Error{Op: "taint node", Node: name, Err: err}
				}
			}
		}
	}
	return nil
}

// labelArgs are kubectl's: key=value sets, key- removes.
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

// taintArgs are kubectl's: key=value:effect sets, key:effect- removes.
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
