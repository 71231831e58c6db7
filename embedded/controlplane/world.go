package controlplane

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/controlplane/approver"
	"github.com/klkube/kl/embedded/lifecycle"
	"github.com/klkube/kl/embedded/tunnel"
)

// world is everything the components of one plane share.
type world struct {
	plane  *Plane
	spec   cluster.Spec
	files  files
	logs   *logs
	board  *board
	admin  *rest.Config
	client kubernetes.Interface
	hub    *tunnel.Hub
	routes *tunnel.Routes
	joined *gate // opened when nodes may talk to the API
}

func newWorld(p *Plane, spec cluster.Spec, f files, l *logs, b *board) (*world, error) {
	gateway, err := netip.ParseAddr(spec.Networking.Gateway)
	if err != nil {
		return nil, fmt.Errorf("parse gateway: %w", err)
	}
	w := &world{plane: p, spec: spec, files: f, logs: l, board: b, routes: &tunnel.Routes{}, joined: newGate()}
	w.admin = &rest.Config{
		Host: "https://127.0.0.1:" + strconv.Itoa(spec.Kubernetes.APIServerPort),
		TLSClientConfig: rest.TLSClientConfig{
			CAFile:   p.Layout.PKI("ca.crt"),
			CertFile: p.Layout.PKI("admin.crt"), KeyFile: p.Layout.PKI("admin.key"),
		},
		QPS: -1, UserAgent: "kl",
		ContentConfig: rest.ContentConfig{ContentType: "application/vnd.kubernetes.protobuf", AcceptContentTypes: "application/vnd.kubernetes.protobuf,application/json"},
	}
	if w.client, err = kubernetes.NewForConfig(w.admin); err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	w.hub = &tunnel.Hub{
		Token:    tunnel.FileTokens(p.Layout.NodeDir("")),
		LocalAPI: w.dialAPI,
		Router:   w.routes,
		Gateway:  gateway,
		Logger:   p.Logger.With("component", Tunnel),
	}
	return w, nil
}

// dialAPI connects a node to the API server. It waits until the objects that nodes need are there: a kubelet that is
// refused backs off for seconds, one that waits goes on at once.
func (w *world) dialAPI(ctx context.Context) (net.Conn, error) {
	if err := w.joined.wait(ctx); err != nil {
		return nil, fmt.Errorf("wait for the API server: %w", err)
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(w.spec.Kubernetes.APIServerPort)))
}

// units lists the components and what they need. etcd and the API server cannot be started twice in a process, since
// upstream leaves parts of both behind: if one fails, the plane fails, and `kl up` starts a new process over the data.
func (w *world) units() []lifecycle.Unit {
	l, api := w.plane.Layout, []cluster.ComponentName{Roles} // who may do something once the policy is there
	newControllers := func() lifecycle.Component {
		return &controllers{layout: l, files: w.files, spec: w.spec, client: w.client, admin: w.admin, logger: w.logs.kubernetes(cluster.KubeControllerManager)}
	}
	newRoles := func() lifecycle.Component {
		return &roles{client: w.client, logger: w.plane.Logger.With("component", Roles)}
	}
	newIPAM := func() lifecycle.Component {
		return &nodeIPAM{spec: w.spec, client: w.client, logger: w.logs.kubernetes(cluster.KubeControllerManager)}
	}
	newScheduler := func() lifecycle.Component {
		return &scheduler{files: w.files, spec: w.spec, logger: w.logs.kubernetes(cluster.KubeScheduler)}
	}
	newTunnel := func() lifecycle.Component { return &hub{socket: l.TunnelSocket(), hub: w.hub} }
	newEgress := func() lifecycle.Component { return &egress{socket: w.files.egressSocket(), hub: w.hub} }
	newBootstrap := func() lifecycle.Component {
		return &bootstrap{world: w, logger: w.plane.Logger.With("component", Bootstrap)}
	}
	newApprover := func() lifecycle.Component {
		return &approver.Approver{Client: w.client, Logger: w.plane.Logger.With("component", (&approver.Approver{}).Name())}
	}
	newObserver := func() lifecycle.Component {
		return &observer{world: w, logger: w.plane.Logger.With("component", Observer)}
	}
	again := func(make func() lifecycle.Component, stop time.Duration, needs ...cluster.ComponentName) lifecycle.Unit {
		return lifecycle.Unit{Component: make(), Again: make, Needs: needs, StopTimeout: stop}
	}
	return []lifecycle.Unit{
		{
			Component:   &etcd{layout: l, files: w.files, spec: w.spec, logger: w.logs.zap},
			StopTimeout: 3 * time.Second,
		},
		{
			Component:   &apiServer{layout: l, files: w.files, spec: w.spec, logger: w.logs.kubernetes(cluster.KubeAPIServer)},
			Needs:       []cluster.ComponentName{cluster.Etcd},
			StopTimeout: drainTimeout + time.Second,
		},
		again(newRoles, time.Second, cluster.KubeAPIServer),
		again(newTunnel, time.Second),
		again(newEgress, time.Second),
		again(newBootstrap, time.Second, api...),
		again(newControllers, 2*time.Second+stopSlack, api...),
		again(newIPAM, time.Second, api...),
		again(newScheduler, 2*time.Second, api...),
		again(newApprover, time.Second, api...),
		again(newObserver, time.Second, api...),
	}
}
