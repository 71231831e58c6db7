package controlplane

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/latest"
	"github.com/klkube/kl/embedded/controlplane/approver"
	"github.com/klkube/kl/embedded/controlplane/await"
	"github.com/klkube/kl/embedded/controlplane/nodewatch"
	"github.com/klkube/kl/embedded/lifecycle"
	_ "github.com/klkube/kl/embedded/queues" // an idle process wakes up half as often
	"github.com/klkube/kl/embedded/tunnel"
)

// Names of kl's own components; those of upstream are in package cluster.
const (
	Tunnel    cluster.ComponentName = "tunnel"    // accepts the nodes' agents
	Egress    cluster.ComponentName = "egress"    // the API server's way to nodes and pods
	Roles     cluster.ComponentName = "roles"     // RBAC policy: what needs it may be authorized once it serves
	Bootstrap cluster.ComponentName = "bootstrap" // the first objects
	NodeIPAM  cluster.ComponentName = "node-ipam" // nodes' ranges of pod addresses
	Observer  cluster.ComponentName = "observer"  // nodes and DNS, for the status
)

// shared is what the components of one run of a Plane have in common.
type shared struct {
	layout       cluster.Layout
	spec         cluster.Spec
	files        files
	logs         *logs
	logger       *slog.Logger
	status       planeStatus
	admin        *rest.Config // super administrator, who needs no object in etcd; without a rate limit
	client       kubernetes.Interface
	nodes        *nodewatch.Informer
	hub          *tunnel.Hub
	outward      *serviceDialer
	routes       *tunnel.Routes
	nodesAllowed *latest.Value[bool] // true once nodes may talk to the API
	store        etcdStore
	seeded       atomic.Bool // this process has written the first objects
}

func newShared(p *Plane, spec cluster.Spec, f files, l *logs, status planeStatus) (*shared, error) {
	gateway, err := netip.ParseAddr(spec.Networking.Gateway)
	if err != nil {
		return nil, fmt.Errorf("parse gateway: %w", err)
	}
	s := &shared{
		layout: p.Layout, spec: spec, files: f, logs: l, logger: p.Logger, status: status,
		routes: &tunnel.Routes{}, nodesAllowed: latest.New(false),
	}
	s.admin = &rest.Config{
		Host: "https://" + s.apiAddress(),
		TLSClientConfig: rest.TLSClientConfig{
			CAFile:   p.Layout.Trust("ca"),
			CertFile: p.Layout.PKI("super-admin.crt"), KeyFile: p.Layout.PKI("super-admin.key"),
		},
		QPS: -1, UserAgent: "kl",
		ContentConfig: rest.ContentConfig{ContentType: "application/vnd.kubernetes.protobuf", AcceptContentTypes: "application/vnd.kubernetes.protobuf,application/json"},
	}
	if s.client, err = kubernetes.NewForConfig(s.admin); err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	s.nodes = nodewatch.New(s.client)
	s.hub = &tunnel.Hub{
		TLS: hubTLS(p.Layout),
		Token: func(node string) (string, error) {
			id, err := cluster.ReadNodeIdentity(p.Layout, node)
			return id.Token, err
		},
		Join:     s.join,
		LocalAPI: s.dialAPI,
		Router:   s.routes,
		Gateway:  gateway,
		Logger:   s.log(Tunnel),
	}
	if s.outward, err = s.serviceDialer(); err != nil {
		return nil, err
	}
	s.outward.direct = (&net.Dialer{}).DialContext
	return s, nil
}

// log is the logger of one of kl's own components.
func (s *shared) log(component cluster.ComponentName) *slog.Logger {
	return s.logger.With("component", component)
}

// apiAddress is where the API server listens, as host:port.
func (s *shared) apiAddress() string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.spec.Kubernetes.APIServerPort))
}

// dialAPI connects a node to the API server. It blocks until the objects that nodes need exist: a kubelet that is refused
// backs off for seconds, one that waits goes on at once.
func (s *shared) dialAPI(ctx context.Context) (net.Conn, error) {
	if _, err := s.nodesAllowed.Wait(ctx, func(allowed bool) bool { return allowed }); err != nil {
		return nil, fmt.Errorf("wait for the API server: %w", err)
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", s.apiAddress())
}

// join makes a token for a node that has none of its own credentials yet. It blocks for as long as dialAPI does.
func (s *shared) join(ctx context.Context, node string) (string, error) {
	if _, err := s.nodesAllowed.Wait(ctx, func(allowed bool) bool { return allowed }); err != nil {
		return "", fmt.Errorf("wait for the API server: %w", err)
	}
	// Upstream's bootstrap looks at /healthz first, and again after two seconds only.
	if err := await.AnswerWithin(ctx, healthTimeout, s.admin, "/healthz"); err != nil {
		s.logger.InfoContext(ctx, "a node joins although the API server is not healthy", "node", node, "reason", err)
	}
	return approver.IssueToken(ctx, s.client, node)
}

// healthTimeout is how long a node that joins waits for the API server to be healthy.
const healthTimeout = 5 * time.Second

// assigned returns the address that the driver gave a node. Nodes of the API that no driver made have none.
func (s *shared) assigned(node string) (netip.Addr, error) {
	id, err := cluster.ReadNodeIdentity(s.layout, node)
	return id.Address, err
}

// serviceDialer returns the dialer of this process's HTTP clients.
func (s *shared) serviceDialer() (*serviceDialer, error) {
	services, err := netip.ParsePrefix(s.spec.Networking.ServiceCIDR)
	if err != nil {
		return nil, fmt.Errorf("parse service range: %w", err)
	}
	pods, err := netip.ParsePrefix(s.spec.Networking.PodCIDR)
	if err != nil {
		return nil, fmt.Errorf("parse pod range: %w", err)
	}
	return &serviceDialer{client: s.client, serviceCIDR: services, podCIDR: pods, tunnel: s.hub.DialAddress}, nil
}

// units lists the components with what each needs.
func (s *shared) units() []lifecycle.Unit {
	return append(s.upstreamUnits(), s.ownUnits()...)
}

// upstreamUnits are the components of Kubernetes. Three of them cannot run twice in a process and have no Again: if one
// fails, the plane fails with its error, and the plane's supervisor runs a new process over the data. etcd and the API
// server leave goroutines and registrations behind; the controller manager never releases its informers' name, so a
// second one would fail with "informer name is already registered" and hide why the first did.
func (s *shared) upstreamUnits() []lifecycle.Unit {
	needsRoles := []cluster.ComponentName{Roles}
	newScheduler := func() lifecycle.Component {
		return &scheduler{files: s.files, spec: s.spec, logger: s.logs.kubernetes(cluster.KubeScheduler)}
	}
	newIPAM := func() lifecycle.Component {
		return &nodeIPAM{spec: s.spec, client: s.client, nodes: s.nodes, logger: s.logs.kubernetes(cluster.KubeControllerManager)}
	}
	return []lifecycle.Unit{
		{
			Component:   &etcd{layout: s.layout, files: s.files, spec: s.spec, logger: s.logs.zap, store: &s.store, seeded: &s.seeded},
			StopTimeout: 3 * time.Second,
		},
		{
			Component: &apiServer{
				layout: s.layout, files: s.files, spec: s.spec, encryption: absolute(s.layout.EncryptionConfig()),
				logger: s.logs.kubernetes(cluster.KubeAPIServer),
			},
			Needs:       []cluster.ComponentName{cluster.Etcd},
			StopTimeout: drainTimeout + time.Second,
		},
		{
			Component: &controllers{
				layout: s.layout, files: s.files, spec: s.spec, client: s.client, admin: s.admin,
				logger: s.logs.kubernetes(cluster.KubeControllerManager),
			},
			Needs:       needsRoles,
			StopTimeout: controllerShutdown + stopSlack,
		},
		{Component: newIPAM(), Again: newIPAM, Needs: []cluster.ComponentName{Roles, nodewatch.Name}, StopTimeout: time.Second},
		{Component: newScheduler(), Again: newScheduler, Needs: needsRoles, StopTimeout: 2 * time.Second},
	}
}

// ownUnits are kl's own components. Those that write to the API are made again after every failure: what a user put there
// may be why they fail, and can be mended only while the API serves.
func (s *shared) ownUnits() []lifecycle.Unit {
	unit := func(make func() lifecycle.Component, needs ...cluster.ComponentName) lifecycle.Unit {
		return lifecycle.Unit{Component: make(), Again: make, Needs: needs, StopTimeout: time.Second}
	}
	forever := func(make func() lifecycle.Component, needs ...cluster.ComponentName) lifecycle.Unit {
		u := unit(make, needs...)
		u.Forever = true
		return u
	}
	return []lifecycle.Unit{
		unit(func() lifecycle.Component { return &hub{layout: s.layout, hub: s.hub, logger: s.log(Tunnel)} }),
		unit(func() lifecycle.Component { return &egress{files: s.files, hub: s.hub, outward: s.outward} }),
		{Component: s.nodes, Needs: []cluster.ComponentName{cluster.KubeAPIServer}, StopTimeout: time.Second}, // it does not fail
		forever(func() lifecycle.Component { return &roles{client: s.client, seeded: &s.seeded, logger: s.log(Roles)} }, cluster.KubeAPIServer),
		forever(func() lifecycle.Component { return &bootstrap{shared: s, logger: s.log(Bootstrap)} }, Roles, nodewatch.Name),
		forever(func() lifecycle.Component {
			return &approver.Approver{Client: s.client, Address: s.assigned, Logger: s.log(approver.Name)}
		}, Roles),
		forever(func() lifecycle.Component { return &observer{shared: s, logger: s.log(Observer)} }, Roles, nodewatch.Name),
	}
}
