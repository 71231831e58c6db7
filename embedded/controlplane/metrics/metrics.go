// Package metrics is metrics-server as one component of the control plane: what `kubectl top` and the autoscaler read.
//
//	c := &metrics.Server{Layout: layout, Gateway: "10.245.0.1", Admin: config, Hub: hub, Logger: log}
//	err := c.Run(ctx, ready)
//
// It serves metrics.k8s.io on 127.0.0.1, where the API server finds it by way of a Service, whose endpoint is the gateway
// address, and the tunnel, which leads that port here. Kubelets are asked through the tunnel as well. Its user may read
// nodes, pods and nodes/metrics and nothing else.
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
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/metrics-server/pkg/scraper/client"
	"sigs.k8s.io/metrics-server/pkg/server"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/controlplane/identity"
	"github.com/klkube/kl/embedded/controlplane/manifests"
	"github.com/klkube/kl/embedded/lifecycle"
	"github.com/klkube/kl/embedded/tunnel"
)

const (
	// user is who the server is to the API server and to kubelets.
	user = "system:metrics-server"
	// serviceName is what the API server expects of the serving certificate.
	serviceName = "metrics-server.kube-system.svc"
	// resolution is how often kubelets are asked; 10 s is the least that upstream allows, and what cAdvisor measures by.
	resolution = 10 * time.Second
	// scrapeTimeout must be below resolution.
	scrapeTimeout = 8 * time.Second
	// drainTimeout is how long requests may go on once the server is told to stop.
	drainTimeout = time.Second
	// retryAfter is how long the server stays away after a failure.
	retryAfter = 10 * time.Second
)

// Server is the component. Its fields are set before Run and not changed.
type Server struct {
	Layout  cluster.Layout
	Gateway string       // address by which the API server reaches what this process publishes
	Admin   *rest.Config // administrator, without a rate limit
	Hub     *tunnel.Hub
	Logger  *slog.Logger

	report func(error) // nil if nobody asked
}

var (
	_ lifecycle.Component = (*Server)(nil)
	_ lifecycle.Reporter  = (*Server)(nil)
)

// Name implements the component contract.
func (s *Server) Name() cluster.ComponentName { return "metrics-server" }

// Report implements lifecycle.Reporter.
func (s *Server) Report(report func(error)) { s.report = report }

// Run implements the component contract. It is ready at once, since nothing in a cluster waits for metrics, and goes on
// after a failure, since no cluster should end for want of them.
func (s *Server) Run(ctx context.Context, ready func()) error {
	ready()
	for {
		err := s.once(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		s.Logger.WarnContext(ctx, "metrics are not served", "error", err, "again", retryAfter)
		s.tell(err)
		select {
		case <-time.After(retryAfter):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Server) tell(err error) {
	if s.report != nil {
		s.report(err)
	}
}

// once serves until something fails, from when there is something to measure. When it returns, it has withdrawn its API:
// one that nobody serves breaks discovery and the deletion of namespaces. What a killed process left behind, the next
// one begins with.
func (s *Server) once(ctx context.Context) error {
	admin, err := kubernetes.NewForConfig(s.Admin)
	if err != nil {
		return fmt.Errorf("make client: %w", err)
	}
	own, err := identity.Config(s.Admin, s.Layout.PKI("ca.crt"), s.Layout.PKI("ca.key"), identity.Request{User: user, Service: serviceName})
	if err != nil {
		return err
	}
	a, err := newAnnouncer(s.Admin)
	if err != nil {
		return err
	}
	if !a.announced(ctx) {
		if err := awaitReadyNode(ctx, admin); err != nil {
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
	if err := awaitRights(ctx, own); err != nil {
		return err
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
		if err := awaitServing(ctx, generic.LoopbackClientConfig); err != nil {
			return err
		}
		if err := announce(ctx); err != nil {
			return err
		}
		s.tell(nil)
		s.Logger.InfoContext(ctx, "serving metrics of nodes and pods", "address", l.Addr().String())
		return nil
	})
	return group.Wait()
}
