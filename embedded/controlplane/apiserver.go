package controlplane

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"

	rbacrest "k8s.io/kubernetes/pkg/registry/rbac/rest"
	schedulingrest "k8s.io/kubernetes/pkg/registry/scheduling/rest"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/lifecycle"
)

// apiServer is kube-apiserver on 127.0.0.1, with the aggregation layer.
type apiServer struct {
	layout cluster.Layout
	files  files
	spec   cluster.Spec
	logger klog.Logger
}

var _ lifecycle.Component = (*apiServer)(nil)

func (a *apiServer) Name() cluster.ComponentName { return cluster.KubeAPIServer }

// drainTimeout is how long requests, watches too, may go on once the server is told to stop. Upstream gives them a
// minute, which is meant for a load balancer in front; kl's clients reconnect.
const drainTimeout = 2 * time.Second

// Run is what app.Run does, put together here for two reasons: the drain timeout, and a client that tells when the
// first request is answered. That is when the server counts as ready: /readyz waits for hooks of which some sleep for a
// second, and nothing but the policy (see roles) is needed before. Upstream leaves informers and the like behind when it returns, so it is never started twice in a process.
func (a *apiServer) Run(ctx context.Context, ready func()) error {
	ctx = klog.NewContext(ctx, a.logger)
	so := options.NewServerRunOptions()
	if err := a.args().with(a.spec, cluster.KubeAPIServer).parse(cluster.KubeAPIServer, so.Flags()); err != nil {
		return err
	}
	completed, err := so.Complete(ctx)
	if err != nil {
		return fmt.Errorf("complete options: %w", err)
	}
	if errs := completed.Validate(); len(errs) > 0 {
		return fmt.Errorf("validate options: %w", utilerrors.NewAggregate(errs))
	}
	config, err := app.NewConfig(completed)
	if err != nil {
		return fmt.Errorf("configure: %w", err)
	}
	config.KubeAPIs.ControlPlane.Generic.DisabledPostStartHooks.Insert(rbacrest.PostStartHookName, schedulingrest.PostStartHookName) // see roles
	c, err := config.Complete()
	if err != nil {
		return fmt.Errorf("configure: %w", err)
	}
	server, err := app.CreateServerChain(c)
	if err != nil {
		return fmt.Errorf("create server: %w", err)
	}
	server.GenericAPIServer.ShutdownTimeout = drainTimeout
	prepared, err := server.PrepareRun()
	if err != nil {
		return fmt.Errorf("prepare server: %w", err)
	}
	loopback := server.GenericAPIServer.LoopbackClientConfig
	waiting, stopWaiting := context.WithCancel(ctx)
	defer stopWaiting()
	go func() {
		if awaitAnswer(waiting, loopback, "/api/v1/namespaces?limit=1") == nil {
			ready()
		}
	}()
	if err := prepared.Run(ctx); err != nil {
		return err
	}
	return ctx.Err()
}

// awaitAnswer returns when a GET of a path, such as /readyz, succeeds.
func awaitAnswer(ctx context.Context, config *rest.Config, path string) error {
	client, err := kubernetes.NewForConfig(unlimited(config))
	if err != nil {
		return err
	}
	return poll(ctx, 20*time.Millisecond, func(ctx context.Context) error {
		_, err := client.RESTClient().Get().RequestURI(path).Timeout(5 * time.Second).DoRaw(ctx)
		return err
	})
}

func (a *apiServer) args() args {
	pki := func(file string) string { return absolute(a.layout.PKI(file)) }
	n := a.spec.Networking
	flags := args{
		"etcd-servers":      "unix://" + a.files.etcdSocket(),
		"bind-address":      "127.0.0.1",
		"secure-port":       strconv.Itoa(a.spec.Kubernetes.APIServerPort),
		"advertise-address": n.Gateway, // what pods are led to: each node answers on it

		"client-ca-file":       pki("ca.crt"),
		"tls-cert-file":        pki("apiserver.crt"),
		"tls-private-key-file": pki("apiserver.key"),

		"service-account-issuer":           "https://kubernetes.default.svc." + cluster.ClusterDomain,
		"service-account-key-file":         pki("sa.pub"),
		"service-account-signing-key-file": pki("sa.key"),
		"service-cluster-ip-range":         n.ServiceCIDR,

		"authorization-mode":          "Node,RBAC",
		"enable-admission-plugins":    "NodeRestriction",
		"enable-bootstrap-token-auth": "true",
		"allow-privileged":            "true",

		"kubelet-client-certificate":      pki("apiserver-kubelet-client.crt"),
		"kubelet-client-key":              pki("apiserver-kubelet-client.key"),
		"kubelet-certificate-authority":   pki("ca.crt"),
		"kubelet-preferred-address-types": "InternalIP,Hostname",

		"requestheader-client-ca-file":       pki("front-proxy-ca.crt"),
		"requestheader-allowed-names":        "front-proxy-client",
		"requestheader-username-headers":     "X-Remote-User",
		"requestheader-group-headers":        "X-Remote-Group",
		"requestheader-extra-headers-prefix": "X-Remote-Extra-",
		"proxy-client-cert-file":             pki("front-proxy-client.crt"),
		"proxy-client-key-file":              pki("front-proxy-client.key"),
		"enable-aggregator-routing":          "true", // Services resolve to endpoints, which the tunnel reaches
		"egress-selector-config-file":        a.files.egress(),

		"audit-policy-file":   a.files.audit(),
		"audit-log-path":      absolute(a.layout.AuditLog()),
		"audit-log-mode":      "batch", // off the request's path; a line is written within a second
		"audit-log-maxsize":   "20",    // MB
		"audit-log-maxbackup": "3",
	}
	flags["audit-log-batch-max-wait"] = "1s"
	if _, err := os.Stat(a.layout.EncryptionConfig()); err == nil {
		flags["encryption-provider-config"] = absolute(a.layout.EncryptionConfig())
		flags["encryption-provider-config-automatic-reload"] = "true"
	}
	var runtimeConfig []string
	for _, key := range slices.Sorted(maps.Keys(a.spec.Kubernetes.RuntimeConfig)) {
		runtimeConfig = append(runtimeConfig, key+"="+a.spec.Kubernetes.RuntimeConfig[key])
	}
	if len(runtimeConfig) > 0 {
		flags["runtime-config"] = strings.Join(runtimeConfig, ",")
	}
	return flags
}

// unlimited is a copy of a client configuration without client-side rate limits: the server is in this process.
func unlimited(config *rest.Config) *rest.Config {
	c := rest.CopyConfig(config)
	c.QPS, c.Burst = -1, 0
	return c
}

// poll calls try until it returns nil, every interval and at once. When ctx is done it returns the last error it saw.
func poll(ctx context.Context, every time.Duration, try func(context.Context) error) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}
