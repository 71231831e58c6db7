// Package forward publishes TCP ports of nodes on the host, through the tunnel. So it works with every driver, and ports can
// change without a new node.
//
// A port of the host that another process has is reported and tried again, and the others are published.
package forward

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/lifecycle"
	"github.com/klkube/kl/embedded/tunnel"
)

// retryInterval is how often a host port that was taken is tried again. The file is read then too, in case it cannot be
// watched.
const retryInterval = 2 * time.Second

// Forwarder is a component of the control plane. Its fields are set before Run and not changed.
type Forwarder struct {
	Layout cluster.Layout
	// Dial connects to a TCP port of a node; see [NodeDialer].
	Dial   func(ctx context.Context, node string, port int) (net.Conn, error)
	Logger *slog.Logger

	report func(error)
	watch  func(path string) (fileWatch, error) // watchFile if nil
}

// route is the destination of a host address.
type route struct {
	node string
	port int
}

var (
	_ lifecycle.Component = (*Forwarder)(nil)
	_ lifecycle.Reporter  = (*Forwarder)(nil)
)

// Name implements lifecycle.Component.
func (f *Forwarder) Name() cluster.ComponentName { return "ports" }

// Report implements lifecycle.Reporter. report is called with the ports that are not published, and with nil once all are.
func (f *Forwarder) Report(report func(error)) { f.report = report }

// Run implements lifecycle.Component. Connections are closed when their port is removed from cluster.yaml.
func (f *Forwarder) Run(ctx context.Context, ready func()) error {
	if f.watch == nil {
		f.watch = watchFile
	}
	watch, err := f.watch(f.Layout.SpecFile())
	if err != nil {
		f.Logger.WarnContext(ctx, "cannot watch cluster.yaml, reading it regularly", "error", err, "interval", retryInterval)
	}
	defer watch.close()
	open := listeners{}
	defer open.closeAll()
	tick := time.NewTicker(retryInterval)
	defer tick.Stop()
	ready()
	reported := fmt.Sprint(error(nil))
	for {
		watch.arm()
		if err := f.apply(ctx, open); fmt.Sprint(err) != reported {
			reported = fmt.Sprint(err)
			f.setError(ctx, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-watch.changed:
		case err := <-watch.errors:
			f.Logger.WarnContext(ctx, "watch cluster.yaml", "error", err)
		case <-tick.C:
		}
	}
}

func (f *Forwarder) setError(ctx context.Context, err error) {
	if err != nil {
		f.Logger.WarnContext(ctx, "publish ports", "error", err)
	}
	if f.report != nil {
		f.report(err)
	}
}

// apply opens and closes listeners as cluster.yaml says. If the file cannot be read, they stay as they are.
func (f *Forwarder) apply(ctx context.Context, open listeners) error {
	spec, err := cluster.ReadSpec(f.Layout)
	if err != nil {
		return fmt.Errorf("read ports: %w", err)
	}
	want := routes(spec)
	for address, l := range open {
		if want[address] != l.route {
			l.close()
			delete(open, address)
		}
	}
	var problems []string
	for _, address := range slices.Sorted(maps.Keys(want)) {
		if open[address] != nil {
			continue
		}
		l, err := f.listen(ctx, address, want[address])
		if err != nil {
			problems = append(problems, fmt.Sprintf("port %d of node %s: %v", want[address].port, want[address].node, err))
			continue
		}
		open[address] = l
	}
	if len(problems) > 0 {
		return errors.New(strings.Join(problems, "; "))
	}
	return nil
}

// routes returns the TCP ports that the spec publishes, by host address.
func routes(spec cluster.Spec) map[string]route {
	spec.NameNodes()
	want := map[string]route{}
	for _, g := range spec.Nodes {
		for _, p := range g.Ports {
			if !p.Forwarded() || len(g.Names) == 0 {
				continue
			}
			want[p.HostAddress()] = route{g.Names[0], p.Node}
		}
	}
	return want
}

// listeners holds the open listeners by host address.
type listeners map[string]*listener

func (ls listeners) closeAll() {
	for _, l := range ls {
		l.close()
	}
}

// listener is one published port.
type listener struct {
	route
	close func() // closes connections too, and returns when their goroutines have ended
}

func (f *Forwarder) listen(ctx context.Context, address string, r route) (*listener, error) {
	ctx, cancel := context.WithCancel(ctx)
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		cancel()
		return nil, err
	}
	failed := func(err error) { f.Logger.WarnContext(ctx, "accept on published port", "host", address, "error", err) }
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cluster.Accept(ctx, ln, failed, func(ctx context.Context, client net.Conn) { f.serve(ctx, client, r) }) // until cancel
	}()
	f.Logger.InfoContext(ctx, "port published", "host", address, "node", r.node, "port", r.port)
	return &listener{r, func() { cancel(); <-ended }}, nil
}

// dialTimeout is how long a client waits for its node.
const dialTimeout = 10 * time.Second

// serve connects a client to a node until either closes the connection.
func (f *Forwarder) serve(ctx context.Context, client net.Conn, r route) {
	defer client.Close()
	dialCtx, cancel := context.WithTimeout(ctx, dialTimeout)
	server, err := f.Dial(dialCtx, r.node, r.port)
	cancel()
	if err != nil { // reset the connection, as if nothing listened
		f.Logger.DebugContext(ctx, "connect to published port", "node", r.node, "port", strconv.Itoa(r.port), "error", err)
		if tcp, ok := client.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		return
	}
	tunnel.Pipe(ctx, client, server)
}
