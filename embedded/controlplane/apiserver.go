package controlplane

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
	rbacrest "k8s.io/kubernetes/pkg/registry/rbac/rest"
	schedulingrest "k8s.io/kubernetes/pkg/registry/scheduling/rest"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/controlplane/await"
	"github.com/klkube/kl/embedded/lifecycle"
)

// apiServer is kube-apiserver on 127.0.0.1, with the aggregation layer.
type apiServer struct {
	layout     cluster.Layout
	files      files
	spec       cluster.Spec
	encryption string // path of the configuration
	logger     klog.Logger
}

var _ lifecycle.Component = (*apiServer)(nil)

func (a *apiServer) Name() cluster.ComponentName { return cluster.KubeAPIServer }

// serviceAccountIssuer is who issues the tokens of ServiceAccounts, and for whom they are without another audience.
const serviceAccountIssuer = "https://kubernetes.default.svc." + cluster.ClusterDomain

// drainTimeout is how long requests, watches included, may go on once the server is told to stop. Upstream's minute is
// meant for load balancers in front of the server; kl's clients reconnect.
const drainTimeout = 2 * time.Second

// Run is upstream's app.Run, put together here for the drain timeout and for an earlier ready: the server counts as ready
// when it answers a first request. /readyz waits for hooks that sleep for a second, and of what they do only the policy is
// needed, which the component roles creates. Upstream leaves informers and goroutines behind, so Run works once a process.
func (a *apiServer) Run(ctx context.Context, ready func()) error {
	ctx = klog.NewContext(ctx, a.logger)
	defer shareEtcd(ctx)()
	config, err := a.config(ctx)
	if err != nil {
		return err
	}
	config.KubeAPIs.ControlPlane.Generic.DisabledPostStartHooks.Insert(rbacrest.PostStartHookName, schedulingrest.PostStartHookName) // see roles
	kube := config.KubeAPIs.ControlPlane.Generic
	kube.SkipOpenAPIInstallation = true // see lazyOpenAPI
	c, err := config.Complete()
	if err != nil {
		return fmt.Errorf("configure: %w", err)
	}
	server, err := app.CreateServerChain(c)
	if err != nil {
		return fmt.Errorf("create server: %w", err)
	}
	if err := serveOpenAPI(server.GenericAPIServer.NextDelegate(), kube.OpenAPIConfig, kube.OpenAPIV3Config); err != nil { //nolint:contextcheck // documents are made when somebody asks
		return err
	}
	server.GenericAPIServer.ShutdownTimeout = drainTimeout
	prepared, err := server.PrepareRun()
	if err != nil {
		return fmt.Errorf("prepare server: %w", err)
	}
	loopback := server.GenericAPIServer.LoopbackClientConfig
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := await.Answer(ctx, loopback, "/api/v1/namespaces?limit=1"); err != nil {
			return fmt.Errorf("wait for the first answer: %w", err)
		}
		ready()
		return nil
	})
	group.Go(func() error {
		if err := prepared.Run(ctx); err != nil {
			return err
		}
		return errReturned(ctx)
	})
	return group.Wait()
}

// errReturned is the error of upstream code that returns nil: ctx's if it was told to stop.
func errReturned(ctx context.Context) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errors.New("returned without being asked to")
}

// options are upstream's options from the flags.
func (a *apiServer) options(ctx context.Context) (options.CompletedOptions, error) {
	o := options.NewServerRunOptions()
	if err := authentication(a.args().with(a.spec, cluster.KubeAPIServer), a.files).parse(cluster.KubeAPIServer, o.Flags()); err != nil {
		return options.CompletedOptions{}, err
	}
	completed, err := o.Complete(ctx)
	if err != nil {
		return completed, fmt.Errorf("complete options: %w", err)
	}
	if errs := completed.Validate(); len(errs) > 0 {
		return completed, fmt.Errorf("validate options: %w", utilerrors.NewAggregate(errs))
	}
	return completed, nil
}

// config is upstream's configuration from the flags.
func (a *apiServer) config(ctx context.Context) (*app.Config, error) {
	completed, err := a.options(ctx)
	if err != nil {
		return nil, err
	}
	config, err := app.NewConfig(completed)
	if err != nil {
		return nil, fmt.Errorf("configure: %w", err)
	}
	return config, nil
}

func (a *apiServer) args() args {
	pki := func(file string) string { return absolute(a.layout.PKI(file)) }
	n := a.spec.Networking
	flags := args{
		"etcd-servers":      "unix://" + absolute(a.layout.EtcdSocket()),
		"bind-address":      "127.0.0.1",
		"secure-port":       strconv.Itoa(a.spec.Kubernetes.APIServerPort),
		"advertise-address": n.Gateway, // endpoint of Service kubernetes: each node's agent listens there

		"client-ca-file":       absolute(a.layout.Trust("ca")),
		"tls-cert-file":        pki("apiserver.crt"),
		"tls-private-key-file": pki("apiserver.key"),
		"tls-min-version":      "VersionTLS12",
		"tls-cipher-suites":    strings.Join(cluster.CipherSuiteNames(), ","),
		"profiling":            "false",

		"service-account-issuer":           serviceAccountIssuer,
		"service-account-key-file":         absolute(a.layout.TokenKeys()),
		"service-account-signing-key-file": pki("sa.key"),
		// Pods' tokens are valid for an hour and renewed by the kubelet, those of 'kubectl create token' for a day at most.
		// Upstream accepts the former for a year, for clients that never read them again.
		"service-account-extend-token-expiration": "false",
		"service-account-max-token-expiration":    "24h",

		"service-cluster-ip-range": n.ServiceCIDR,

		"authorization-mode":          "Node,RBAC",
		"enable-admission-plugins":    "NodeRestriction,DenyServiceExternalIPs",
		"enable-bootstrap-token-auth": "true",
		"allow-privileged":            "true",

		"kubelet-client-certificate":      pki("apiserver-kubelet-client.crt"),
		"kubelet-client-key":              pki("apiserver-kubelet-client.key"),
		"kubelet-certificate-authority":   absolute(a.layout.Trust("ca")),
		"kubelet-preferred-address-types": "InternalIP,Hostname",

		"requestheader-client-ca-file":       absolute(a.layout.Trust("front-proxy-ca")),
		"requestheader-allowed-names":        "front-proxy-client",
		"requestheader-username-headers":     "X-Remote-User",
		"requestheader-group-headers":        "X-Remote-Group",
		"requestheader-extra-headers-prefix": "X-Remote-Extra-",
		"proxy-client-cert-file":             pki("front-proxy-client.crt"),
		"proxy-client-key-file":              pki("front-proxy-client.key"),
		"enable-aggregator-routing":          "true", // Services resolve to endpoints, which the tunnel reaches
		"egress-selector-config-file":        a.files.egress(),

		"encryption-provider-config":                  a.encryption,
		"encryption-provider-config-automatic-reload": "true",

		"watch-cache-sizes": withoutWatchCache(),
	}
	a.auditArgs(flags)
	var runtimeConfig []string
	for _, key := range slices.Sorted(maps.Keys(a.spec.Kubernetes.RuntimeConfig)) {
		runtimeConfig = append(runtimeConfig, key+"="+a.spec.Kubernetes.RuntimeConfig[key])
	}
	if len(runtimeConfig) > 0 {
		flags["runtime-config"] = strings.Join(runtimeConfig, ",")
	}
	return flags
}

// authentication adds how requests without credentials are treated. Flags of the user about authentication exclude the
// configuration file; then such requests are refused everywhere, unless the flags say otherwise.
func authentication(flags args, f files) args {
	own := false
	for name := range flags {
		own = own || name == "anonymous-auth" || name == "authentication-config" || strings.HasPrefix(name, "oidc-")
	}
	flags = maps.Clone(flags)
	_, anonymous := flags["anonymous-auth"]
	_, file := flags["authentication-config"]
	switch {
	case !own:
		flags["authentication-config"] = f.authentication()
	case !anonymous && !file:
		flags["anonymous-auth"] = "false"
	}
	return flags
}
