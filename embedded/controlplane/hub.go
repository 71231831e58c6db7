package controlplane

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sync/errgroup"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/lifecycle"
	"github.com/klkube/kl/embedded/tunnel"
)

// hub accepts the nodes' agents, each on the socket in its node's own directory. These directories come and go with nodes.
type hub struct {
	layout cluster.Layout
	hub    *tunnel.Hub
	logger *slog.Logger
}

var _ lifecycle.Component = (*hub)(nil)

func (h *hub) Name() cluster.ComponentName { return Tunnel }

// hubTLS reads the hub's certificate for each session: it may be renewed meanwhile.
func hubTLS(l cluster.Layout) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			cert, err := tls.LoadX509KeyPair(l.PKI("tunnel.crt"), l.PKI("tunnel.key"))
			return &cert, err
		},
	}
}

// Run is ready once it listens for the nodes that exist.
func (h *hub) Run(ctx context.Context, ready func()) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch for nodes: %w", err)
	}
	defer w.Close()
	if err := w.Add(h.layout.TunnelsDir()); err != nil {
		return fmt.Errorf("watch for nodes: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	failed := make(chan error, 1)
	serving := map[string]func(){}
	for {
		if err := h.sync(ctx, &wg, serving, failed); err != nil {
			return err
		}
		if ready != nil {
			ready()
			ready = nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-failed:
			return err
		case err := <-w.Errors:
			return fmt.Errorf("watch for nodes: %w", err)
		case e := <-w.Events:
			// It may be there again by now, with another node in it, so that looking for it does not tell.
			if stop := serving[filepath.Base(e.Name)]; stop != nil && (e.Has(fsnotify.Remove) || e.Has(fsnotify.Rename)) {
				stop()
				delete(serving, filepath.Base(e.Name))
			}
		}
	}
}

// sync listens for every node that has a directory, and no longer for those that have none. What it adds to serving ends the
// node's session and returns when the socket is gone, so that the next one may have its path.
func (h *hub) sync(ctx context.Context, wg *sync.WaitGroup, serving map[string]func(), failed chan<- error) error {
	entries, err := os.ReadDir(h.layout.TunnelsDir())
	if err != nil {
		return fmt.Errorf("look for nodes: %w", err)
	}
	there := map[string]bool{}
	for _, e := range entries {
		node := e.Name()
		there[node] = e.IsDir()
		if !e.IsDir() || serving[node] != nil {
			continue
		}
		l, err := listenUnix(ctx, h.layout.TunnelSocket(node))
		if err != nil { // of one node: the others are served all the same
			h.logger.ErrorContext(ctx, "listen for node", "node", node, "error", err)
			continue
		}
		ctx, cancel := context.WithCancel(ctx)
		done := make(chan struct{})
		serving[node] = func() {
			cancel()
			<-done
		}
		wg.Go(func() {
			defer close(done)
			h.serve(ctx, node, l, failed)
		})
	}
	for node, stop := range serving {
		if !there[node] {
			stop()
			delete(serving, node)
		}
	}
	return nil
}

func (h *hub) serve(ctx context.Context, node string, l net.Listener, failed chan<- error) {
	if err := h.hub.Serve(ctx, node, l); ctx.Err() == nil {
		select {
		case failed <- fmt.Errorf("serve node %s: %w", node, err):
		default: // one failure is enough to start again
		}
	}
}

// egress is the proxies through which the API server reaches nodes and pods, and servers that the user names.
type egress struct {
	files   files
	hub     *tunnel.Hub
	outward *serviceDialer // to what the user names: a Service, or a server elsewhere
}

var _ lifecycle.Component = (*egress)(nil)

func (e *egress) Name() cluster.ComponentName { return Egress }

func (e *egress) Run(ctx context.Context, ready func()) error {
	inward, err := listenUnix(ctx, e.files.egressSocket())
	if err != nil {
		return fmt.Errorf("listen for the API server: %w", err)
	}
	outward, err := listenUnix(ctx, e.files.outwardSocket())
	if err != nil {
		inward.Close()
		return fmt.Errorf("listen for the API server: %w", err)
	}
	ready()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return tunnel.ServeConnect(ctx, inward, e.hub.DialAddress) })
	group.Go(func() error { return tunnel.ServeConnect(ctx, outward, e.outward.dial) })
	return group.Wait()
}
