package timeline

import (
	"github.com/klkube/kl/cluster"
)

// Running makes the chart of the last start of a cluster that runs, of what its control plane and its nodes say about it. Its zero is the
// start of the control plane's process. What the command did that started it is not known any more. A node that started later is not
// in the chart.
func Running(title string, status cluster.Status, programs map[string]cluster.NodeProgram) Chart {
	s := Start{Title: title, Began: status.Started, Status: status, Programs: programs}
	c := Chart{Title: title}
	plane := Group{Name: "control plane", Steps: components(status.Components, 0, func(name cluster.ComponentName) string { return string(name) }, idProcess)}
	sortSteps(plane.Steps)
	groups := []Group{plane}
	for _, n := range status.Nodes {
		p, ok := programs[n.Name]
		if !ok || s.seconds(p.Started) > lateNode || s.seconds(p.Started) < 0 {
			continue
		}
		id := func(part cluster.ComponentName) string { return nodeID(n.Name, string(part)) }
		g := Group{Name: n.Name, Steps: notable(components(p.Components, s.seconds(p.Started), id, id("boot")), id("boot"))}
		sortSteps(g.Steps)
		groups = append(groups, g)
	}
	for _, g := range append(groups, s.dns(groups)) {
		if len(g.Steps) > 0 {
			c.Groups = append(c.Groups, g)
		}
	}
	return c
}

// lateNode is how many seconds after the control plane a node may start and still belong to the same start of the cluster.
const lateNode = 300
