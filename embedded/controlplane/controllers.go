package controlplane

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/cmd/kube-controller-manager/app"
	"k8s.io/kubernetes/cmd/kube-controller-manager/app/options"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/controlplane/await"
	"github.com/klkube/kl/embedded/lifecycle"
)

// controllers is kube-controller-manager. It has no port: its metrics are those of the process, which the API server
// serves, and a certificate for the port would cost half a second of CPU.
type controllers struct {
	layout cluster.Layout
	files  files
	spec   cluster.Spec
	client kubernetes.Interface
	admin  *rest.Config
	logger klog.Logger
}

var _ lifecycle.Component = (*controllers)(nil)

func (c *controllers) Name() cluster.ComponentName { return cluster.KubeControllerManager }

// Run is ready when the default ServiceAccount exists: pods can be created from then on. It works once a process, see
// upstreamUnits.
func (c *controllers) Run(ctx context.Context, ready func()) error {
	ctx = klog.NewContext(ctx, c.logger)
	o, err := options.NewKubeControllerManagerOptions()
	if err != nil {
		return fmt.Errorf("make options: %w", err)
	}
	known, disabled, aliases := app.KnownControllers(), app.ControllersDisabledByDefault(), app.ControllerAliases()
	if err := c.args().with(c.spec, cluster.KubeControllerManager).parse(cluster.KubeControllerManager, o.Flags(known, disabled, aliases)); err != nil {
		return err
	}
	config, err := o.Config(ctx, known, disabled, aliases)
	if err != nil {
		return fmt.Errorf("configure: %w", err)
	}
	// Upstream waits for /healthz too, but asks once a second.
	if err := await.Answer(ctx, c.admin, "/healthz"); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := awaitDefaultServiceAccount(ctx, c.client); err != nil {
			return fmt.Errorf("wait for the default service account: %w", err)
		}
		ready()
		return nil
	})
	group.Go(func() error {
		if err := app.Run(ctx, config.Complete()); err != nil && ctx.Err() == nil {
			return err
		}
		return errReturned(ctx)
	})
	return group.Wait()
}

func (c *controllers) args() args {
	pki := func(file string) string { return absolute(c.layout.PKI(file)) }
	return args{
		"kubeconfig":     c.files.kubeconfig(cluster.KubeControllerManager),
		"leader-elect":   "false", // on lost leadership it would exit the process
		"secure-port":    "0",
		"kube-api-qps":   fmt.Sprint(clientQPS),
		"kube-api-burst": fmt.Sprint(clientBurst),
		"controllers":    "*,-node-ipam-controller,bootstrap-signer-controller,token-cleaner-controller", // see nodeIPAM

		"service-cluster-ip-range": c.spec.Networking.ServiceCIDR,

		"root-ca-file":                     pki("ca.crt"),
		"cluster-signing-cert-file":        pki("ca.crt"),
		"cluster-signing-key-file":         pki("ca.key"),
		"service-account-private-key-file": pki("sa.key"),
		"use-service-account-credentials":  "true",
		"controller-shutdown-timeout":      controllerShutdown.String(),
	}
}

// awaitDefaultServiceAccount returns when pods can be created in the default namespace.
func awaitDefaultServiceAccount(ctx context.Context, client kubernetes.Interface) error {
	lw := cache.NewListWatchFromClient(client.CoreV1().RESTClient(), "serviceaccounts", metav1.NamespaceDefault,
		fields.OneTermEqualSelector("metadata.name", "default"))
	_, err := watchtools.UntilWithSync(ctx, lw, &corev1.ServiceAccount{}, nil, func(e watch.Event) (bool, error) {
		return e.Type == watch.Added || e.Type == watch.Modified, nil
	})
	return err
}

const (
	// controllerShutdown is how long upstream waits for its controllers when it is told to stop.
	controllerShutdown = 2 * time.Second
	// stopSlack is the margin of a StopTimeout over what upstream promises.
	stopSlack = 500 * time.Millisecond
)
