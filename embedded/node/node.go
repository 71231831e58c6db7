package node

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"time"

	"sigs.k8s.io/knftables"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"
	"github.com/klkube/kl/embedded/lifecycle"
	"github.com/klkube/kl/embedded/node/boot"
	"github.com/klkube/kl/embedded/node/containerd"
	"github.com/klkube/kl/embedded/node/images"
	_ "github.com/klkube/kl/embedded/queues" // an idle process wakes up less often
	"github.com/klkube/kl/embedded/tunnel"
)

// Options is what Run needs. All fields are required.
type Options struct {
	Config  cluster.NodeConfig
	Version string // of kl
	Logger  *slog.Logger
}

// Run is the node's program: it returns when ctx is done, or with an error when a component cannot be restarted.
func Run(ctx context.Context, o Options) error {
	started := time.Now()
	debug.SetGCPercent(startGCPercent)
	facts, err := boot.ReadFacts(boot.FactsFile)
	if err != nil {
		return fmt.Errorf("read facts: %w", err)
	}
	up, err := findUplink()
	if err != nil {
		return fmt.Errorf("find the node's address: %w", err)
	}
	token, err := statefile.Read(cluster.NodeTunnelToken)
	if err != nil {
		return fmt.Errorf("read tunnel token: %w", err)
	}
	store, err := images.Open(containerd.Socket)
	if err != nil {
		return err
	}
	defer store.Close()
	p := &partition{
		file: cluster.NodePartition, socket: cluster.NodeTunnelSocket, uplink: up.name,
		log: o.Logger.With("component", "partition"),
	}
	if p.nft, err = knftables.New(knftables.InetFamily, "kl-partition"); err != nil {
		return fmt.Errorf("find nft: %w", err)
	}
	hub, err := hubTLS()
	if err != nil {
		return err
	}
	mux := agentHandler(o.Config.Name, o.Version, store, o.Logger.With("component", "agent"))
	agent := &tunnel.Agent{
		Node: o.Config.Name, Token: strings.TrimSpace(string(token)), TLS: hub, Version: o.Version,
		Dial:    p.dial,
		Handler: mux,
		Logger:  o.Logger.With("component", "tunnel"),
	}
	units, err := o.units(facts, up, store, p, agent, mux)
	if err != nil {
		return err
	}
	parts := newParts(started)
	parts.serve(mux, o.Logger.With("component", "agent"))
	supervisor := &lifecycle.Supervisor{Units: units, Epoch: started, Logger: o.Logger}
	supervisor.Changed = func(s cluster.ComponentStatus) {
		parts.note(s)
		o.Logger.Info("component", "name", s.Name, "state", s.State, "began", s.Began, "ready", s.Ready, "err", s.Error)
	}
	return supervisor.Run(ctx)
}

// units returns the node's components, and adds their routes to the mux.
func (o Options) units(facts boot.Facts, up uplink, store *images.Store, p *partition, agent *tunnel.Agent, mux *http.ServeMux) ([]lifecycle.Unit, error) {
	log := func(component string) *slog.Logger { return o.Logger.With("component", component) }
	address, err := netip.ParseAddr(o.Config.Gateway)
	if err != nil {
		return nil, fmt.Errorf("parse gateway: %w", err)
	}
	pods, err := netip.ParsePrefix(o.Config.PodCIDR)
	if err != nil {
		return nil, fmt.Errorf("parse podCIDR: %w", err)
	}
	agent.Admit = limitToNode(pods, up.addr, log("tunnel")).take
	network := newNetwork(o.Config, up, log("network"))
	shared := newSharedLayers(o.Config, log("layers"))
	shared.serve(mux)
	puller := newPuller(agent, store, shared, log("images"))
	servePulls(mux, puller, log("images"))
	newGateway := func() lifecycle.Component {
		return &gateway{
			address: netip.AddrPortFrom(address, uint16(o.Config.APIPort)), dialAPI: agent.DialAPI,
			limit: limitFromPods(pods, log("gateway")), log: log("gateway"),
		}
	}
	units := []lifecycle.Unit{
		{Component: p},
		reusable(session{agent}, p.Name()),
		{Component: newGateway(), Again: newGateway},
		{Component: &credentials{config: o.Config, join: agent.Join, log: log("credentials")}, Needs: []cluster.ComponentName{"gateway"}},
		{Component: &containerRuntime{store: store, log: log("containerd")}},
		{Component: shared},
		{Component: newImageService(puller), Again: func() lifecycle.Component { return newImageService(puller) }},
		{Component: network, Needs: []cluster.ComponentName{"credentials"}},
		{
			Component: &kubelet{config: o.Config, ip: up.addr, ready: network.nodeReady, log: log("kubelet")},
			Needs:     []cluster.ComponentName{"credentials", "containerd", "image-service", "policy-gate"},
		},
		{Component: &proxy{config: o.Config, hasNode: network.hasNode}, Needs: []cluster.ComponentName{network.Name()}},
		{Component: &tuning{after: network.nodeReady}},
	}
	units = append(units, policyUnits(o.Config, address, mux, log("policy"))...)
	units = append(units, volumeUnits(o.Config, o.Version, mux, log("storage"))...)
	holder, err := holdAddresses(o.Config, up, p, mux, log("addresses"))
	if err != nil {
		return nil, err
	}
	if holder != nil {
		units = append(units, lifecycle.Unit{Component: holder})
	}
	if facts.DNSUpstream != "" {
		newRelay := func() lifecycle.Component {
			return &dnsRelay{listen: netip.AddrPortFrom(address, 53), upstream: facts.DNSUpstream + ":53", log: log("dns-relay")}
		}
		units = append(units, lifecycle.Unit{Component: newRelay(), Needs: []cluster.ComponentName{"gateway"}, Again: newRelay})
	}
	return units, nil
}

// run is one run of a component whose Run may be called again once it has returned.
type run struct{ lifecycle.Component }

// reusable returns the unit of a component that others refer to, so that it is the same after a restart. Its Run must allow
// to be called again once it has returned.
func reusable(c lifecycle.Component, needs ...cluster.ComponentName) lifecycle.Unit {
	again := func() lifecycle.Component { return &run{c} }
	return lifecycle.Unit{Component: again(), Needs: needs, Again: again}
}

// session keeps the agent's session with the control plane.
type session struct{ agent *tunnel.Agent }

func (session) Name() cluster.ComponentName { return "tunnel" }

// Run is ready at once: components that need the session wait for it when they dial.
func (s session) Run(ctx context.Context, ready func()) error {
	ready()
	return s.agent.Run(ctx)
}

// The start allocates much that is garbage soon after, and what counts is time; later it is memory.
const (
	startGCPercent = 400
	idleGCPercent  = 50
	memoryLimit    = 512 << 20       // bytes; beyond it the collector works harder, nothing fails
	tuningDelay    = 5 * time.Second // from the Node being ready to the end of the start
)

// tuning sets the garbage collector to use little memory once the start is over.
type tuning struct{ after <-chan struct{} }

func (*tuning) Name() cluster.ComponentName { return "tuning" }

// Run is ready at once.
func (t *tuning) Run(ctx context.Context, ready func()) error {
	ready()
	debug.SetMemoryLimit(memoryLimit)
	var started <-chan time.Time
	after := t.after
	for {
		select {
		case <-after:
			after, started = nil, time.After(tuningDelay)
		case <-started:
			debug.SetGCPercent(idleGCPercent)
			debug.FreeOSMemory()
			started = nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
