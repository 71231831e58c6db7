package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/kubeconfig"
)

// MergeKubeconfig merges a cluster into the file that kubectl would write a new context to, and makes its context the
// current one. It returns the names of the file and the context.
func (h *Host) MergeKubeconfig(ctx context.Context, name string) (file, context string, err error) {
	file = kubeconfig.Target(h.Kubeconfigs)
	if file == "" {
		return "", "", errors.New("find kubeconfig: neither $KUBECONFIG nor a home directory is set")
	}
	l := h.Home.Cluster(name)
	lock, err := acquire(ctx, l, "kl kubeconfig", newRecorder(h.Events))
	if err != nil {
		return "", "", err
	}
	defer release(l, lock)
	context, err = kubeconfig.Merge(ctx, l, file, true)
	return file, context, err
}

// chooseKubeconfig sets u.target. A file that cannot be merged into is an error if the caller named it. The user's usual
// one is only warned about: the cluster works without it.
func (u *upRun) chooseKubeconfig(warn func(string)) error {
	u.target = cmp.Or(u.opts.Kubeconfig, kubeconfig.Target(u.host.Kubeconfigs))
	if u.target == "" {
		return nil
	}
	err := kubeconfig.Check(u.target)
	if err == nil || u.opts.Kubeconfig != "" {
		return err
	}
	warn(u.notMerged(err))
	u.target = ""
	return nil
}

func (u *upRun) notMerged(err error) string {
	return fmt.Sprintf("%v; it gets no context for the cluster: use 'kl kubectl', or 'kl kubeconfig --merge' once that is mended", err)
}

// mergeKubeconfig merges the cluster into u.target. Only the up that makes a cluster switches the current context. A
// failure is a warning: the cluster runs.
func (u *upRun) mergeKubeconfig(ctx context.Context) error {
	if u.target == "" {
		return nil
	}
	name, err := kubeconfig.Merge(ctx, u.layout, u.target, u.fresh)
	if err != nil && ctx.Err() == nil {
		u.steps.say(cluster.StepKubeconfig, cluster.StepWarning, u.notMerged(err))
		u.target, err = "", nil
	}
	u.context = name
	return err
}

// forget takes a cluster's entries out of the files it was merged into and of those given. A failure is a warning: it must
// not keep a cluster from being removed.
func forget(ctx context.Context, l cluster.Layout, steps *recorder, files []string) {
	for _, err := range kubeconfig.Forget(ctx, l, files) {
		steps.say(cluster.StepKubeconfig, cluster.StepWarning,
			fmt.Sprintf("%v; entries of cluster %s may be left in that file", err, l.Name))
	}
}
