package host

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/klkube/kl/cluster"
)

// NodeRunner is a driver that can run commands in its nodes.
type NodeRunner interface {
	cluster.Driver
	cluster.Execer
}

// Runtime finds a node that runs and has a container runtime, and the driver that runs commands in it, which the caller closes.
// An empty name stands for the cluster's first node.
func (h *Host) Runtime(ctx context.Context, clusterName, name string) (cluster.Node, NodeRunner, error) {
	d, nodes, err := h.backend(ctx, clusterName)
	if err != nil {
		return cluster.Node{}, nil, err
	}
	n, err := pickNode(clusterName, nodes, name)
	x, ok := d.(NodeRunner)
	if !ok {
		err = &cluster.Error{
			Op: "reach container runtime", Err: fmt.Errorf("the nodes of cluster %s are simulated", clusterName),
			Hint: "only real nodes have a container runtime: 'kl up' with another driver makes some",
		}
	}
	if err != nil {
		return cluster.Node{}, nil, errors.Join(err, d.Close())
	}
	return n, x, nil
}

// pickNode returns the named node, or the first one, if it runs.
func pickNode(clusterName string, nodes []cluster.Node, name string) (cluster.Node, error) {
	fail := func(node, text, hint string) error {
		return &cluster.Error{Op: "reach container runtime", Node: node, Err: errors.New(text), Hint: hint}
	}
	if len(nodes) == 0 {
		return cluster.Node{}, fail("", "cluster "+clusterName+" has no nodes", "'kl node add --name "+clusterName+"' adds one")
	}
	running := 0
	picked := -1
	for i, n := range nodes {
		if n.State == cluster.NodeRunning {
			running++
		}
		if n.Name == name || name == "" && picked < 0 {
			picked = i
		}
	}
	if picked < 0 {
		return cluster.Node{}, fail(name, "cluster "+clusterName+" has no such node, or it is simulated and has no runtime", "'kl node list' shows the nodes")
	}
	n := nodes[picked]
	switch {
	case n.State == cluster.NodeRunning:
		return n, nil
	case n.State == cluster.NodePaused:
		return n, fail(n.Name, "the node is paused", "'kl resume --name "+clusterName+"' resumes the cluster")
	case running == 0:
		return n, fail(n.Name, "the node is "+strings.ToLower(string(n.State)), "'kl start --name "+clusterName+"' starts the cluster")
	}
	return n, fail(n.Name, "the node is "+strings.ToLower(string(n.State)), "'kl node start "+n.Name+" --name "+clusterName+"' starts it; --node names another")
}
