package node

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	proxyapp "k8s.io/kubernetes/cmd/kube-proxy/app"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/lifecycle"
)

// proxy is the upstream kube-proxy in nftables mode. It uses the kubelet's credentials.
type proxy struct {
	config  cluster.NodeConfig
	hasNode <-chan struct{} // closed when the Node has an address; kube-proxy itself would poll for it every second
}

func (p *proxy) Name() cluster.ComponentName { return "kube-proxy" }

// Run runs kube-proxy. Like the kubelet, it cannot be stopped and started again in one process, and exits the process when
// the node's address changes.
func (p *proxy) Run(ctx context.Context, ready func()) error {
	select {
	case <-p.hasNode:
	case <-ctx.Done():
		return ctx.Err()
	}
	opts, err := proxyOptions(p.config)
	if err != nil {
		return lifecycle.Permanent(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- opts.Run(ctx) }()
	return serve(ctx, ended, p.hasNode, ready)
}

// proxyOptions are upstream's options from kl's flags and the user's.
func proxyOptions(c cluster.NodeConfig) (*proxyapp.Options, error) {
	opts := proxyapp.NewOptions()
	fs := pflag.NewFlagSet("kube-proxy", pflag.ContinueOnError)
	opts.AddFlags(fs)
	if err := setFlags(fs, proxyFlags(c)); err != nil {
		return nil, fmt.Errorf("set flags: %w", err)
	}
	if err := setFlags(fs, c.ProxyArgs, "config", "kubeconfig", "hostname-override"); err != nil {
		return nil, fmt.Errorf("set flags: %w", err)
	}
	if err := opts.Complete(fs); err != nil {
		return nil, fmt.Errorf("complete options: %w", err)
	}
	if err := opts.Validate(); err != nil {
		return nil, fmt.Errorf("validate options: %w", err)
	}
	return opts, nil
}

// proxyFlags returns kl's flags; the user's are set after them.
func proxyFlags(c cluster.NodeConfig) map[string]string {
	flags := map[string]string{
		"proxy-mode":             "nftables",
		"kubeconfig":             kubeconfigFile,
		"hostname-override":      c.Name,
		"cluster-cidr":           c.PodCIDR,
		"detect-local-mode":      "ClusterCIDR",
		"conntrack-max-per-core": "0", // the host's limit, which a container cannot raise
	}
	var gates []string
	for _, gate := range slices.Sorted(maps.Keys(c.FeatureGates)) {
		gates = append(gates, fmt.Sprintf("%s=%t", gate, c.FeatureGates[gate]))
	}
	if len(gates) > 0 {
		flags["feature-gates"] = strings.Join(gates, ",")
	}
	return flags
}
