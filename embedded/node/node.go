package node

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/lifecycle"
	"github.com/klkube/kl/embedded/node/boot"
	"github.com/klkube/kl/embedded/node/containerd"
	"github.com/klkube/kl/embedded/node/images"
	"github.com/klkube/kl/embedded/tunnel"
	"sigs.k8s.io/knftables"
)

// Options is what Run needs. All fields are required.
type Options struct {
	Config  cluster.NodeConfig
	Version string // of kl
	Logger  *slog.Logger
}

// Run is the node's program: it returns when ctx is done, or with an error when a part of it failed for good.
func Run(ctx context.Context, o Options) error {
	debug.SetGCPercent(startGCPercent)
	facts, err := boot.ReadFacts(boot.FactsFile)
	if err != nil {
		return fmt.Errorf("read facts: %w", err)
	}
	up, err := findUplink()
	if err != nil {
		return fmt.Errorf("find the node's address: %w", err)
	}
	token, err := os.ReadFile(cluster.NodeTunnelToken)
	if err != nil {
		return fmt.Errorf("read tunnel token: %w", err)
	}
	address, err := netip.ParseAddr(o.Config.Gateway)
	if err != nil {
		return fmt.Errorf("parse gateway: %w", err)
	}
	store, err := images.Open(containerd.Socket)
	if err != nil {
		return err
	}
	defer store.Close()

	cable := &partition{
		file: cluster.NodePartition, socket: cluster.NodeTunnelSocket, uplink: up.name,
		log: o.Logger.With("component", "partition"),
	}
	if cable.nft, err = knftables.New(knftables.InetFamily, "kl-partition"); err != nil {
		return fmt.Errorf("find nft: %w", err)
	}
	handler := agentHandler(o.Config.Name, o.Version, store, o.Logger.With("component", "agent"))
	agent := &tunnel.Agent{
		Node: o.Config.Name, Token: strings.TrimSpace(string(token)), Version: o.Version,
		Dial:    cable.dial,
		Handler: handler,
		Logger:  o.Logger.With("component", "tunnel"),
	}
	holder, err := balance(o.Config, up, cable, handler, o.Logger.With("component", "addresses"))
	if err != nil {
		return err
	}
	network := newNetwork(o.Config, up.mtu, o.Logger.With("component", "network"))
	gate := &gateway{
		address: netip.AddrPortFrom(address, uint16(o.Config.APIPort)),
		dialAPI: agent.DialAPI, log: o.Logger.With("component", "gateway"),
	}
	units := []lifecycle.Unit{
		{Component: cable},
		{Component: session{agent}, Needs: []cluster.ComponentName{"partition"}, Again: func() lifecycle.Component { return session{agent} }},
		{Component: gate, Again: func() lifecycle.Component { return gate }},
		{Component: &credentials{node: o.Config.Name, log: o.Logger.With("component", "credentials")}, Needs: []cluster.ComponentName{"gateway"}},
		{Component: &containerRuntime{store: store, log: o.Logger}},
		{Component: network, Needs: []cluster.ComponentName{"credentials"}},
		{
			Component: &kubelet{config: o.Config, ip: up.addr, ready: network.nodeReady, log: o.Logger.With("component", "kubelet")},
			Needs:     []cluster.ComponentName{"credentials", "containerd", "policy-gate"},
		},
		{Component: &proxy{config: o.Config, hasNode: network.hasNode}, Needs: []cluster.ComponentName{"network"}},
		{Component: &tuning{after: network.nodeReady}},
	}
	units = append(units, policyUnits(o.Config, address, handler, o.Logger.With("component", "policy"))...)
	units = append(units, volumeUnits(o.Config, o.Version, handler, o.Logger.With("component", "storage"))...)
	if holder != nil {
		units = append(units, lifecycle.Unit{Component: holder})
	}
	if facts.DNSUpstream != "" {
		relay := &dnsRelay{listen: netip.AddrPortFrom(address, 53), upstream: facts.DNSUpstream + ":53"}
		units = append(units, lifecycle.Unit{
			Component: relay, Needs: []cluster.ComponentName{"gateway"}, Again: func() lifecycle.Component { return relay },
		})
	}
	supervisor := &lifecycle.Supervisor{Units: units, Logger: o.Logger}
	supervisor.Changed = func(s cluster.ComponentStatus) {
		o.Logger.Info("component", "name", s.Name, "state", s.State, "began", s.Began, "ready", s.Ready, "err", s.Error)
	}
	return supervisor.Run(ctx)
}

// session keeps the agent's session with the control plane.
type session struct{ agent *tunnel.Agent }

func (session) Name() cluster.ComponentName { return "tunnel" }

// Run is a lifecycle.Component: ready at once, since whoever needs the session waits for it by dialling.
func (s session) Run(ctx context.Context, ready func()) error {
	ready()
	return s.agent.Run(ctx)
}

// A start allocates much that is garbage soon after, and what counts then is time; later, memory does.
const (
	startGCPercent = 400
	idleGCPercent  = 50
	memoryLimit    = 512 << 20 // bytes; beyond it the collector works harder, nothing fails
	settle         = 5 * time.Second
)

// tuning makes the process small once the node is up.
type tuning struct{ after <-chan struct{} }

func (*tuning) Name() cluster.ComponentName { return "tuning" }

// Run is a lifecycle.Component.
func (t *tuning) Run(ctx context.Context, ready func()) error {
	ready()
	debug.SetMemoryLimit(memoryLimit)
	var settled <-chan time.Time
	after := t.after
	for {
		select {
		case <-after:
			after, settled = nil, time.After(settle)
		case <-settled:
			debug.SetGCPercent(idleGCPercent)
			debug.FreeOSMemory()
			settled = nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
