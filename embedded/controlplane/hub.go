package controlplane

import (
	"context"
	"fmt"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/lifecycle"
	"github.com/klkube/kl/embedded/tunnel"
)

// hub accepts the nodes' agents.
type hub struct {
	socket string
	hub    *tunnel.Hub
}

var _ lifecycle.Component = (*hub)(nil)

func (h *hub) Name() cluster.ComponentName { return Tunnel }

func (h *hub) Run(ctx context.Context, ready func()) error {
	l, err := listenUnix(ctx, h.socket)
	if err != nil {
		return fmt.Errorf("listen for nodes: %w", err)
	}
	ready()
	return h.hub.Serve(ctx, l)
}

// egress is the proxy through which the API server reaches nodes and pods.
type egress struct {
	socket string
	hub    *tunnel.Hub
}

var _ lifecycle.Component = (*egress)(nil)

func (e *egress) Name() cluster.ComponentName { return Egress }

func (e *egress) Run(ctx context.Context, ready func()) error {
	l, err := listenUnix(ctx, e.socket)
	if err != nil {
		return fmt.Errorf("listen for the API server: %w", err)
	}
	ready()
	return tunnel.ServeConnect(ctx, l, e.hub.DialAddress)
}
