package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"

	utilfeature "k8s.io/apiserver/pkg/util/feature"
	logsapi "k8s.io/component-base/logs/api/v1"
	kubeletapp "k8s.io/kubernetes/cmd/kubelet/app"
	"k8s.io/kubernetes/cmd/kubelet/app/options"
	"k8s.io/kubernetes/pkg/kubelet/apis/config/validation"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/lifecycle"
)

// kubelet is the upstream kubelet, started as its command would start it.
type kubelet struct {
	config cluster.NodeConfig
	ip     netip.Addr
	ready  <-chan struct{} // closed when the Node is Ready
	log    *slog.Logger
}

func (k *kubelet) Name() cluster.ComponentName { return "kubelet" }

// Run runs the kubelet. It leaves goroutines behind when it stops, and exits the process when its credentials expire or its
// configuration is unusable; then PID 1 starts the process again.
func (k *kubelet) Run(ctx context.Context, ready func()) error {
	server, err := k.server()
	if err != nil {
		return lifecycle.Permanent(fmt.Errorf("configure kubelet: %w", err))
	}
	deps, err := kubeletapp.UnsecuredDependencies(ctx, server, utilfeature.DefaultFeatureGate)
	if err != nil {
		return lifecycle.Permanent(fmt.Errorf("prepare kubelet: %w", err))
	}
	size := newCapacity(k.config.MilliCPUs, k.config.MemoryBytes)
	if deps.CAdvisorInterface, err = newMachine(ctx, server, size); err != nil {
		return lifecycle.Permanent(fmt.Errorf("inspect machine: %w", err))
	}
	watchPodsEarly(ctx, server, deps)
	ended := make(chan error, 1)
	go func() { ended <- kubeletapp.Run(ctx, server, deps, utilfeature.DefaultFeatureGate) }()
	return serve(ctx, ended, k.ready, ready)
}

// serve waits for an upstream program that runs in a goroutine and calls ready once up is closed. When ctx is done it does
// not wait for the program, which may never return: the process ends then.
func serve(ctx context.Context, ended <-chan error, up <-chan struct{}, ready func()) error {
	for {
		select {
		case err := <-ended:
			if err == nil {
				err = errors.New("ended without an error")
			}
			return lifecycle.Permanent(err) // the program cannot be started twice in a process
		case <-up:
			ready()
			up = nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// hasSeccomp reports whether the kernel can filter system calls.
func hasSeccomp() bool {
	status, err := os.ReadFile("/proc/self/status")
	return err == nil && bytes.Contains(status, []byte("\nSeccomp:"))
}

func (k *kubelet) server() (*options.KubeletServer, error) {
	size := newCapacity(k.config.MilliCPUs, k.config.MemoryBytes)
	want, err := kubeletConfiguration(k.config, size.reserved, hasSeccomp())
	if err != nil {
		return nil, err
	}
	config, err := decodeKubelet(want, k.config.KubeletPatch)
	if err != nil {
		return nil, fmt.Errorf("decode configuration: %w", err)
	}
	flags := options.NewKubeletFlags()
	flags.KubeConfig = kubeconfigFile // see credentials
	flags.CertDirectory = certDir
	flags.HostnameOverride = k.config.Name
	flags.NodeIP = k.ip.String()
	flags.CloudProvider = "external" // the control plane sets the node's addresses and removes its initial taint
	labels, refused := nodeLabels(k.config.Labels)
	if len(refused) > 0 {
		k.log.Warn("labels that a kubelet may not set on its node", "labels", refused)
	}
	flags.NodeLabels = map[string]string{}
	args := map[string]string{}
	if labels != "" {
		args["node-labels"] = labels
	}
	for name, value := range k.config.KubeletArgs {
		args[name] = value
	}
	if err := applyKubeletArgs(flags, config, args); err != nil {
		return nil, fmt.Errorf("set flags: %w", err)
	}
	if err := utilfeature.DefaultMutableFeatureGate.SetFromMap(config.FeatureGates); err != nil {
		return nil, err
	}
	if err := logsapi.ValidateAndApply(&config.Logging, utilfeature.DefaultFeatureGate); err != nil {
		return nil, fmt.Errorf("set up logging: %w", err)
	}
	if err := options.ValidateKubeletFlags(flags); err != nil {
		return nil, err
	}
	if err := validation.ValidateKubeletConfiguration(config, utilfeature.DefaultFeatureGate); err != nil {
		return nil, err
	}
	return &options.KubeletServer{KubeletFlags: *flags, KubeletConfiguration: *config}, nil
}
