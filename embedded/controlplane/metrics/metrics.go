// Package metrics is metrics-server as one component of the control plane: what `kubectl top` and the autoscaler read.
//
// It serves metrics.k8s.io on 127.0.0.1. The API server reaches it through a Service whose endpoint is the gateway address, and
// the tunnel, which publishes the port there. It reaches kubelets through the tunnel as well. Its user may read nodes, pods and
// nodes/metrics and nothing else.
package metrics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/metrics-server/pkg/scraper/client"
	"sigs.k8s.io/metrics-server/pkg/server"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/controlplane/await"
	"github.com/klkube/kl/embedded/controlplane/identity"
	"github.com/klkube/kl/embedded/controlplane/manifests"
	"github.com/klkube/kl/embedded/controlplane/nodewatch"
	"github.com/klkube/kl/embedded/lifecycle"
	"github.com/klkube/kl/embedded/tunnel"
)

const (
	// user is the server's user at the API server and at kubelets.
	user = "system:metrics-server"
	// serviceName is the name in the serving certificate, which the API server checks.
	serviceName = "metrics-server.kube-system.svc"
	// resolution is how often kubelets are scraped. 10 s is upstream's minimum, and cAdvisor's own interval.
	resolution = 10 * time.Second
	// scrapeTimeout must be below resolution.
	scrapeTimeout = 8 * time.Second
	// drainTimeout is how long requests may go on once the server is told to stop.
	drainTimeout = time.Second
	// retryAfter is the pause after a failure.
	retryAfter = 10 * time.Second
)

// Server is the component. Its fields are set before Run and not changed.
type Server struct {
	Layout  cluster.Layout
	Gateway string       // address at which the tunnel publishes ports of this process
	Admin   *rest.Config // administrator, without a rate limit
	Hub     *tunnel.Hub
	Nodes   *nodewatch.Informer
	Logger  *slog.Logger

	report func(error) // nil without a supervisor
}

var (
	_ lifecycle.Component = (*Server)(nil)
	_ lifecycle.Reporter  = (*Server)(nil)
)

// Name implements lifecycle.Component.
func (s *Server) Name() cluster.ComponentName { return "metrics-server" }

// Report implements lifecycle.Reporter.
func (s *Server) Report(report func(error)) { s.report = report }

// Run implements lifecycle.Component. It is ready at once, because nothing in a cluster waits for metrics, and tries again
// after a failure, because a cluster works without them.
func (s *Server) Run(ctx context.Context, ready func()) error {
	ready()
	last := ""
	for {
		err := s.runOnce(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if text := fmt.Sprint(err); text != last { // what a user has installed may stay for ever
			s.Logger.WarnContext(ctx, "serve metrics", "error", err, "retry", retryAfter)
			last = text
		}
		s.setError(err)
		select {
		case <-time.After(retryAfter):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// setError sets the error in the component's status; nil clears it.
func (s *Server) setError(err error) {
	if s.report != nil {
		s.report(err)
	}
}

// runOnce waits for a node and then serves until something fails. Before it returns it withdraws the API, because one that
// is announced and not served breaks discovery and the deletion of namespaces. For the same reason it does not wait for a
// node if the API is announced already, by a process that was killed.
func (s *Server) runOnce(ctx context.Context) error {
	own, err := identity.Config(s.Admin, s.Layout.PKI("ca.crt"), s.Layout.PKI("ca.key"), identity.Request{User: user, Service: serviceName})
	if err != nil {
		return err
	}
	a, err := newAnnouncer(s.Admin)
	if err != nil {
		return err
	}
	if err := a.foreign(ctx); err != nil {
		return err
	}
	announced, err := a.announced(ctx)
	if err != nil {
		return err
	}
	if !announced {
		if err := s.Nodes.Await(ctx, func(n *corev1.Node) bool { return nodewatch.Real(n) && await.Ready(n) }); err != nil {
			return err
		}
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	defer listener.Close()
	address := listener.Addr().(*net.TCPAddr)
	withdraw := s.Hub.Publish(address.AddrPort().Port(), func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", address.String())
	})
	defer withdraw()

	where := manifests.MetricsServer{User: user, Gateway: s.Gateway, Port: address.AddrPort().Port(), CA: string(own.CAData)}
	if err := a.grant(ctx, where); err != nil {
		return err
	}
	if err := await.AnswerWithin(ctx, announceTimeout, own, "/api/v1/nodes?limit=1"); err != nil {
		return fmt.Errorf("wait for rights: %w", err)
	}
	defer a.withdraw(context.WithoutCancel(ctx), where, s.Logger)
	return s.serve(ctx, listener, own, func(ctx context.Context) error { return a.announce(ctx, where) })
}

// serve runs upstream's server, and calls announce when it answers.
func (s *Server) serve(ctx context.Context, l net.Listener, own *rest.Config, announce func(context.Context) error) error {
	generic, err := s.genericConfig(l, own)
	if err != nil {
		return err
	}
	kubelet := rest.CopyConfig(own)
	kubelet.Dial = s.Hub.DialAddress
	srv, err := server.Config{
		Apiserver: generic, Rest: own,
		Kubelet: &client.KubeletClientConfig{
			Client: *kubelet, Scheme: "https", DefaultPort: 10250, UseNodeStatusPort: true,
			AddressTypePriority: []corev1.NodeAddressType{corev1.NodeInternalIP},
		},
		MetricResolution: resolution, ScrapeTimeout: scrapeTimeout, NodeSelector: cluster.RealNodes,
	}.Complete()
	if err != nil {
		return fmt.Errorf("make server: %w", err)
	}
	srv.ShutdownTimeout = drainTimeout
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		err := srv.RunUntil(ctx.Done())
		if err == nil && ctx.Err() == nil {
			err = errors.New("server returned")
		}
		if err != nil {
			return fmt.Errorf("serve: %w", err)
		}
		return ctx.Err()
	})
	group.Go(func() error {
		if err := await.AnswerWithin(ctx, announceTimeout, generic.LoopbackClientConfig, "/apis/metrics.k8s.io/v1beta1"); err != nil {
			return fmt.Errorf("wait for the server: %w", err)
		}
		if err := announce(ctx); err != nil {
			return err
		}
		s.setError(nil)
		s.Logger.InfoContext(ctx, "serving metrics of nodes and pods", "address", l.Addr().String())
		return nil
	})
	return group.Wait()
}
