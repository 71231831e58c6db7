package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"go.uber.org/zap"
	"k8s.io/apiserver/pkg/features"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	kcm "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	kcmoptions "k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
	ks "k8s.io/kubernetes/cmd/kube-scheduler/app"
	ksoptions "k8s.io/kubernetes/cmd/kube-scheduler/app/options"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/encryption"
	"github.com/klkube/kl/cluster/statefile"
	"github.com/klkube/kl/embedded/lifecycle"
)

// Check judges a Spec as the components of the control plane would when they start: feature gates, flags, API versions and
// the scheduler's configuration. Nothing is served and nothing of the cluster in l changes, which may be running. Check works
// once a process, since feature gates belong to the process.
func Check(ctx context.Context, l cluster.Layout, spec cluster.Spec) error {
	ctx, cancel := context.WithCancel(ctx) // what upstream starts for a configuration
	defer cancel()
	dir, err := os.MkdirTemp("", "kl-check-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	f := files{dir: dir}
	if err := f.write(l, spec); err != nil {
		return err
	}
	trial := cluster.Home(dir).Cluster(spec.Name) // with a key of its own: the one of a cluster that exists is none of a check's business
	wanted := spec.Encryption.Default()
	if err := statefile.MkdirAll(trial.Dir(), 0o700); err != nil {
		return err
	}
	if err := encryption.Write(trial, encryption.New(wanted, encryption.KeyFor(wanted, time.Now())), ""); err != nil {
		return err
	}
	if err := setFeatureGates(spec); err != nil {
		return err
	}
	// With this gate upstream's configuration connects to etcd, which a new cluster does not have yet.
	offline := map[string]bool{string(features.UnknownVersionInteroperabilityProxy): false}
	if err := utilfeature.DefaultMutableFeatureGate.SetFromMap(offline); err != nil {
		return fmt.Errorf("set feature gates: %w", err)
	}
	var errs []error
	for _, c := range []struct {
		name  cluster.ComponentName
		check func() error
	}{
		{cluster.Etcd, func() error { return (&etcd{layout: l, files: f, spec: spec, logger: zap.NewNop()}).check() }},
		{cluster.KubeAPIServer, func() error {
			return (&apiServer{layout: l, files: f, spec: spec, encryption: trial.EncryptionConfig(), logger: klog.Background()}).check(ctx)
		}},
		{cluster.KubeControllerManager, func() error { return (&controllers{layout: l, files: f, spec: spec}).check(ctx) }},
		{cluster.KubeScheduler, func() error { return (&scheduler{files: f, spec: spec}).check(ctx) }},
	} {
		if err := lifecycle.Guard(c.check); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", c.name, err))
		}
	}
	return errors.Join(errs...)
}

func (e *etcd) check() error {
	config, err := e.config()
	if err != nil {
		return err
	}
	return config.Validate()
}

func (a *apiServer) check(ctx context.Context) error {
	completed, err := a.options(ctx)
	if err != nil {
		return err
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0") // the port itself belongs to the one that runs
	if err != nil {
		return err
	}
	defer ln.Close()
	completed.SecureServing.Listener = ln
	_, err = app.NewConfig(completed)
	return err
}

func (c *controllers) check(ctx context.Context) error {
	o, err := kcmoptions.NewKubeControllerManagerOptions()
	if err != nil {
		return err
	}
	known, disabled, aliases := kcm.KnownControllers(), kcm.ControllersDisabledByDefault(), kcm.ControllerAliases()
	if err := c.args().with(c.spec, cluster.KubeControllerManager).parse(cluster.KubeControllerManager, o.Flags(known, disabled, aliases)); err != nil {
		return err
	}
	_, err = o.Config(ctx, known, disabled, aliases)
	return err
}

func (s *scheduler) check(ctx context.Context) error {
	o := ksoptions.NewOptions()
	if err := s.args().with(s.spec, cluster.KubeScheduler).parse(cluster.KubeScheduler, *o.Flags); err != nil {
		return err
	}
	_, _, err := ks.Setup(ctx, o)
	return err
}
