package host

import (
	"context"
	"errors"

	"github.com/klkube/kl/cluster/kubeconfig"
)

// MergeKubeconfig merges a cluster into the file that kubectl would write a new context to, and returns its name.
func (h *Host) MergeKubeconfig(ctx context.Context, name string) (string, error) {
	target := kubeconfig.Target(h.Kubeconfigs)
	if target == "" {
		return "", errors.New("find kubeconfig: neither $KUBECONFIG nor a home directory is set")
	}
	l := h.Home.Cluster(name)
	lock, err := acquire(ctx, l, "kl kubeconfig", newRecorder(h.Events))
	if err != nil {
		return "", err
	}
	defer lock.Remove()
	return target, kubeconfig.Merge(ctx, l, target)
}
