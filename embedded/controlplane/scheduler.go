package controlplane

import (
	"context"
	"fmt"

	"k8s.io/component-base/configz"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/cmd/kube-scheduler/app"
	"k8s.io/kubernetes/cmd/kube-scheduler/app/options"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/lifecycle"
)

// scheduler is kube-scheduler. Like controllers, it has no port.
type scheduler struct {
	files  files
	spec   cluster.Spec
	logger klog.Logger
}

var _ lifecycle.Component = (*scheduler)(nil)

func (s *scheduler) Name() cluster.ComponentName { return cluster.KubeScheduler }

// Run is ready when the scheduler's caches are filled.
func (s *scheduler) Run(ctx context.Context, ready func()) error {
	ctx = klog.NewContext(ctx, s.logger)
	o := options.NewOptions()
	if err := s.args().with(s.spec, cluster.KubeScheduler).parse(cluster.KubeScheduler, *o.Flags); err != nil {
		return err
	}
	config, sched, err := app.Setup(ctx, o)
	if err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	waiting, stopWaiting := context.WithCancel(ctx)
	defer stopWaiting()
	go func() {
		config.InformerFactory.WaitForCacheSync(waiting.Done())
		if sched.WaitForHandlersSync(waiting) == nil {
			ready()
		}
	}()
	defer configz.Delete("componentconfig") // the name under which upstream registers: a second run registers again
	err = app.Run(ctx, config, sched)
	if ctx.Err() != nil {
		return ctx.Err() // upstream returns the error "finished without leader elect"
	}
	return err
}

func (s *scheduler) args() args {
	a := args{
		"kubeconfig":     s.files.kubeconfig(cluster.KubeScheduler),
		"leader-elect":   "false", // on lost leadership it would exit the process
		"secure-port":    "0",
		"kube-api-qps":   fmt.Sprint(clientQPS),
		"kube-api-burst": fmt.Sprint(clientBurst),
	}
	if s.spec.Kubernetes.Scheduler != "" {
		return args{"config": s.files.scheduler(), "secure-port": "0"}
	}
	return a
}
