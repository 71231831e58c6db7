package controlplane

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/cmd/kube-controller-manager/app"
	"k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
	"k8s.io/kubernetes/pkg/controller/certificates/rootcacertpublisher"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/controlplane/await"
	"github.com/klkube/kl/embedded/controlplane/manifests"
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
	report func(error) // nil without a supervisor
}

var (
	_ lifecycle.Component = (*controllers)(nil)
	_ lifecycle.Reporter  = (*controllers)(nil)
)

func (c *controllers) Name() cluster.ComponentName { return cluster.KubeControllerManager }

// Report implements lifecycle.Reporter.
func (c *controllers) Report(report func(error)) { c.report = report }

// Run is ready when the default namespace has the authorities that pods trust: controllers run, and so do pods from then on. It works once
// a process, see upstreamUnits.
func (c *controllers) Run(ctx context.Context, ready func()) error {
	ctx = klog.NewContext(ctx, c.logger)
	serving := make(chan struct{})
	told := ready
	ready = sync.OnceFunc(func() { close(serving); told() })
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
	group.Go(func() error { return c.signEarly(ctx, config, serving) })
	group.Go(func() error {
		if err := awaitTrust(ctx, c.client); err != nil {
			return fmt.Errorf("wait for what pods trust: %w", err)
		}
		ready()
		return nil
	})
	group.Go(func() error {
		if err := c.awaitTokens(ctx, ready); err != nil {
			return err
		}
		if err := app.Run(ctx, config.Complete()); err != nil && ctx.Err() == nil {
			return err
		}
		return errReturned(ctx)
	})
	return group.Wait()
}

// tokenRetry is the pause between attempts to get a token.
const tokenRetry = 2 * time.Second

// awaitTokens returns when controllers can get the tokens of their ServiceAccounts. Upstream ends if that takes more than a
// few seconds, and cannot be run again in this process; a webhook that does not answer can refuse them for as long as it
// exists. Then awaitTokens reports it and calls ready, because the API serves without controllers and a user can mend it.
func (c *controllers) awaitTokens(ctx context.Context, ready func()) error {
	refused := false
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{serviceAccountIssuer}}}
	err := await.Success(ctx, tokenRetry, func(ctx context.Context) error {
		_, err := c.client.CoreV1().ServiceAccounts(metav1.NamespaceSystem).CreateToken(ctx, tokenOf, request, metav1.CreateOptions{})
		if !manifests.Refused(err) {
			return nil // upstream knows what to do about others, such as an account that does not exist yet
		}
		if !refused {
			refused = true
			c.setError(fmt.Errorf("controllers wait for their tokens: %w", err))
			ready()
		}
		return err
	})
	if refused && err == nil {
		c.setError(nil)
	}
	return err
}

// tokenOf is the controller whose token awaitTokens asks for. Upstream's starts need it.
const tokenOf = "resourcequota-controller"

func (c *controllers) setError(err error) {
	if c.report != nil {
		c.report(err)
	}
}

func (c *controllers) args() args {
	pki := func(file string) string { return absolute(c.layout.PKI(file)) }
	// Upstream looks at its nodes every five seconds, and one that it saw in the moment before it was ready keeps a taint until then. A look
	// at some nodes costs nothing; at a thousand it does.
	look := "1s"
	if c.spec.SimulatedCount() > 0 {
		look = "5s"
	}
	return args{
		"node-monitor-period": look,
		"kubeconfig":          c.files.kubeconfig(cluster.KubeControllerManager),
		"leader-elect":        "false", // on lost leadership it would exit the process
		"secure-port":         "0",
		"kube-api-qps":        fmt.Sprint(clientQPS),
		"kube-api-burst":      fmt.Sprint(clientBurst),
		"controllers":         "*,-node-ipam-controller,bootstrap-signer-controller,token-cleaner-controller", // see nodeIPAM

		"service-cluster-ip-range": c.spec.Networking.ServiceCIDR,

		"root-ca-file":                     absolute(c.layout.Trust("ca")),
		"cluster-signing-cert-file":        pki("ca.crt"),
		"cluster-signing-key-file":         pki("ca.key"),
		"service-account-private-key-file": pki("sa.key"),
		"use-service-account-credentials":  "true",
		"terminated-pod-gc-threshold":      "500", // upstream keeps 12500, which one machine's etcd and memory feel
		"controller-shutdown-timeout":      controllerShutdown.String(),
	}
}

// awaitTrust returns when the controller that publishes the cluster's authorities has done so for the pods of the default namespace.
func awaitTrust(ctx context.Context, client kubernetes.Interface) error {
	return awaitDefault(ctx, client, "configmaps", rootcacertpublisher.RootCACertConfigMapName, &corev1.ConfigMap{})
}

// awaitDefaultServiceAccount returns when pods can be created in the default namespace.
func awaitDefaultServiceAccount(ctx context.Context, client kubernetes.Interface) error {
	return awaitDefault(ctx, client, "serviceaccounts", "default", &corev1.ServiceAccount{})
}

// awaitDefault returns when an object of the default namespace exists.
func awaitDefault(ctx context.Context, client kubernetes.Interface, resource, name string, kind runtime.Object) error {
	lw := cache.NewListWatchFromClient(client.CoreV1().RESTClient(), resource, metav1.NamespaceDefault, fields.OneTermEqualSelector("metadata.name", name))
	_, err := watchtools.UntilWithSync(ctx, lw, kind, nil, func(e watch.Event) (bool, error) {
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
