package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/lifecycle"
	"github.com/klkube/kl/embedded/node/policy"
	"github.com/klkube/kl/embedded/node/policy/cni"
)

// enforces reports whether the node enforces NetworkPolicies. They can be disabled, and another pod network enforces them
// itself.
func enforces(c cluster.NodeConfig) bool {
	return c.CNI == "kl" && c.Enabled(cluster.FeatureNetworkPolicy)
}

// policyGate makes the node drop the traffic of pods whose policies are not known, before the kubelet can start any. If
// policies are not enforced, it removes the rules of an earlier run.
type policyGate struct {
	agent   *policy.Agent // nil: policies are not enforced
	ownPods bool          // kl made the pods' links, so that their packets' sources can be checked
	log     *slog.Logger
}

func (*policyGate) Name() cluster.ComponentName { return "policy-gate" }

// Run is ready once the rules are in place or removed. It then keeps those in place that do not depend on policies.
func (g *policyGate) Run(ctx context.Context, ready func()) error {
	if g.agent == nil {
		if err := policy.Remove(ctx); err != nil {
			g.log.Warn("remove the rules of NetworkPolicies", "err", err) // there may never have been any
		}
	} else if err := g.agent.Prepare(ctx); err != nil {
		return fmt.Errorf("drop the traffic of unknown pods: %w", err)
	}
	if err := policy.GuardEdge(ctx, policy.Config{}, g.ownPods); err != nil {
		return fmt.Errorf("refuse packets with false addresses: %w", err)
	}
	if err := dropOtherCNI(cniFile, g.agent != nil); err != nil {
		return fmt.Errorf("remove CNI configuration: %w", err)
	}
	ready()
	const checkEvery = 30 * time.Second
	check := time.NewTicker(checkEvery)
	defer check.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-check.C:
		}
		if policy.EdgeGuarded(ctx) || ctx.Err() != nil {
			continue
		}
		g.log.Warn("table has been deleted, programming it again", "table", policy.EdgeTable)
		if err := policy.GuardEdge(ctx, policy.Config{}, g.ownPods); err != nil {
			g.log.Error("refuse packets with false addresses", "err", err)
		}
	}
}

// dropOtherCNI removes a CNI configuration that has the policy plugin although policies are not enforced, or the reverse.
// The right one is written as soon as the pod range is known.
func dropOtherCNI(file string, policies bool) error {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var config struct {
		Plugins []struct {
			Type string `json:"type"`
		} `json:"plugins"`
	}
	err = json.Unmarshal(data, &config)
	has := slices.ContainsFunc(config.Plugins, func(p struct {
		Type string `json:"type"`
	}) bool {
		return p.Type == cniPolicyType
	})
	if err == nil && has == policies {
		return nil
	}
	return os.Remove(file)
}

// policyUnits returns the components that enforce policies, the first of which is named policy-gate, and adds their routes
// to the mux.
func policyUnits(c cluster.NodeConfig, gateway netip.Addr, mux *http.ServeMux, log *slog.Logger) []lifecycle.Unit {
	if !enforces(c) {
		return []lifecycle.Unit{{Component: &policyGate{ownPods: c.CNI == "kl", log: log}}}
	}
	agent := policy.New(
		func() (kubernetes.Interface, error) { return nodeClient("kl-policy") },
		policy.Config{Node: c.Name, Gateway: gateway, Socket: cni.Socket, Logger: log},
	)
	mux.Handle("/v1/policy/", agent.Handler())
	return []lifecycle.Unit{
		{Component: &policyGate{agent: agent, ownPods: true, log: log}},
		reusable(agent, "credentials", "policy-gate"),
	}
}

// nodeClient returns a client with the kubelet's credentials, which exist once credentials is ready.
func nodeClient(userAgent string) (kubernetes.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfigFile)
	if err != nil {
		return nil, fmt.Errorf("read credentials: %w", err)
	}
	config.UserAgent = userAgent
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	return client, nil
}
