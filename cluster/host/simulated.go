package host

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/klkube/kl/cluster"
)

// nodeless is the driver of clusters without real nodes. It needs no engine.
type nodeless struct{}

var _ cluster.Driver = nodeless{}

func (nodeless) Name() cluster.DriverName                             { return cluster.DriverSimulated }
func (nodeless) List(context.Context, string) ([]cluster.Node, error) { return nil, nil }
func (nodeless) Delete(context.Context, cluster.Node) error           { return nil }
func (nodeless) Close() error                                         { return nil }
func (nodeless) Create(context.Context, cluster.NodeSpec) (cluster.Node, error) {
	return cluster.Node{}, &cluster.Error{
		Op: "driver simulated", Err: errors.New("it makes no real nodes"),
		Hint: "use --driver docker or --driver embedded, or --simulated for simulated ones",
	}
}

// checkSimulated returns an error if the Spec has simulated nodes and this Host cannot make them.
func (h *Host) checkSimulated(s cluster.Spec) error {
	if s.SimulatedCount() > 0 && h.Simulate == nil {
		return &cluster.Error{Op: "make cluster " + s.Name, Err: errors.New("simulated nodes are not available")}
	}
	return nil
}

// grow adds real nodes: to the last group that they fit in unchanged, else as a group of their own.
func grow(groups []cluster.NodeGroup, more int) []cluster.NodeGroup {
	groups = slices.Clone(groups)
	for i := len(groups) - 1; i >= 0; i-- {
		if g := &groups[i]; !g.Simulated && len(g.Ports) == 0 {
			g.Count += more
			return groups
		}
	}
	return append(groups, cluster.NodeGroup{Count: more})
}

// simulated makes n the number of simulated nodes: groups shrink from the last, and the first grows.
func simulated(groups []cluster.NodeGroup, n int) []cluster.NodeGroup {
	groups = slices.Clone(groups)
	for i := range groups {
		if g := &groups[i]; g.Simulated {
			keep := min(g.Count, n)
			g.Count, n = keep, n-keep
		}
	}
	for i := range groups {
		if groups[i].Simulated {
			groups[i].Count += n
			return groups
		}
	}
	return append(groups, cluster.NodeGroup{Count: n, Simulated: true})
}

// simulate makes the simulated nodes once the API answers.
func (u *upRun) simulate(ctx context.Context) error {
	want := u.spec.SimulatedCount()
	if want == 0 && u.before.SimulatedCount() == 0 {
		return nil
	}
	select {
	case <-u.apiReady:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	u.steps.start(cluster.StepSimulated)
	return u.host.Simulate(ctx, u.layout, u.spec, counting(u.steps))
}

// counting returns a callback that reports progress of simulated nodes, about ten times.
func counting(steps *recorder) func(done, of int) {
	return func(done, of int) {
		if done == of || done%max(of/10, 1) == 0 {
			steps.say(cluster.StepSimulated, cluster.StepRunning, fmt.Sprintf("%d of %d", done, of))
		}
	}
}

// Scale changes the number of simulated nodes of a running cluster.
func (h *Host) Scale(ctx context.Context, name string, n int) error {
	if n < 0 {
		return &cluster.Error{Op: "scale simulated nodes", Err: fmt.Errorf("%d is negative", n)}
	}
	return h.change(ctx, name, "kl scale", func(ctx context.Context, c *change) error {
		if err := h.checkSimulated(cluster.Spec{Name: name, Nodes: []cluster.NodeGroup{{Count: 1, Simulated: true}}}); err != nil {
			return err
		}
		c.spec.Nodes = simulated(c.spec.Nodes, n)
		if err := cluster.WriteSpec(c.layout, c.spec); err != nil {
			return err
		}
		return c.steps.within(ctx, cluster.StepSimulated, func() (string, error) {
			return fmt.Sprintf("%d nodes", n), h.Simulate(ctx, c.layout, c.spec, counting(c.steps))
		})
	})
}
