// Package forward publishes TCP ports of nodes on the host, through the tunnel: whatever made the nodes, and without
// making them anew when ports change.
//
//	f := &forward.Forwarder{Spec: layout.SpecFile(), Dial: dial, Logger: log}
//	err := f.Run(ctx, ready) // blocks; cluster.yaml says which ports, at any time
//
// A port of the host that somebody else has is reported and tried again: it stops nothing else.
package forward

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/tunnel"
)

// retryInterval is how often a host port that was taken is tried again, and the file is read even if nothing told of a
// change.
const retryInterval = 2 * time.Second

// Forwarder is a component of the control plane. Its fields are set before Run and not changed.
type Forwarder struct {
	Spec string // path of cluster.yaml
	// Dial connects to a TCP port of a node; see [NodeDialer].
	Dial   func(ctx context.Context, node string, port int) (net.Conn, error)
	Logger *slog.Logger

	report func(error)
	watch  func(path string) (fileWatch, error) // watchFile if nil
}

// route is what a host address leads to.
type route struct {
	node string
	port int
}

// Name implements the component contract.
func (f *Forwarder) Name() cluster.ComponentName { return "ports" }

// Report is called before Run; report is then told what is amiss while the forwarder serves, nil once nothing is.
func (f *Forwarder) Report(report func(error)) { f.report = report }

// Run implements the component contract. Connections that are open when their port is withdrawn are closed.
func (f *Forwarder) Run(ctx context.Context, ready func()) error {
	if f.watch == nil {
		f.watch = watchFile
	}
	watch, err := f.watch(f.Spec)
	if err != nil { // then the ticks have to do
		f.Logger.WarnContext(ctx, "changes of ports are seen late", "error", err)
	}
	defer watch.close()
	open := listeners{}
	defer open.closeAll()
	tick := time.NewTicker(retryInterval)
	defer tick.Stop()
	ready()
	said := fmt.Sprint(error(nil))
	for {
		watch.arm()
		if err := f.apply(ctx, open); fmt.Sprint(err) != said {
			said = fmt.Sprint(err)
			f.tell(ctx, err)
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

func (f *Forwarder) tell(ctx context.Context, err error) {
	if err != nil {
		f.Logger.WarnContext(ctx, "some ports are not published", "error", err)
	}
	if f.report != nil {
		f.report(err)
	}
}

// apply brings the open listeners to what cluster.yaml says now. Of a file that cannot be read everything stays.
func (f *Forwarder) apply(ctx context.Context, open listeners) error {
	data, err := os.ReadFile(f.Spec)
	if err != nil {
		return fmt.Errorf("read ports: %w", err)
	}
	var spec cluster.Spec
	if err := yaml.Unmarshal(data, &spec); err != nil {
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

// routes are the host addresses that the spec publishes by TCP, with what each leads to.
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

// listeners are the ones that are open, by host address.
type listeners map[string]*listener

func (ls listeners) closeAll() {
	for _, l := range ls {
		l.close()
	}
}

// listener is one published port.
type listener struct {
	route
	close func() // returns once nothing of it is left
}

func (f *Forwarder) listen(ctx context.Context, address string, r route) (*listener, error) {
	ctx, cancel := context.WithCancel(ctx)
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		cancel()
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			client, err := ln.Accept()
			switch {
			case errors.Is(err, net.ErrClosed):
				return
			case err != nil: // out of descriptors, or the client has gone: others may do better
				select {
				case <-ctx.Done():
					return
				case <-time.After(10 * time.Millisecond):
				}
			default:
				wg.Go(func() { f.serve(ctx, client, r) })
			}
		}
	})
	f.Logger.InfoContext(ctx, "port published", "host", address, "node", r.node, "port", r.port)
	return &listener{r, func() { cancel(); stop(); _ = ln.Close(); wg.Wait() }}, nil
}

// dialTimeout is how long a client waits for its node.
const dialTimeout = 10 * time.Second

// serve is one connection from accept to its end.
func (f *Forwarder) serve(ctx context.Context, client net.Conn, r route) {
	defer client.Close()
	dialCtx, cancel := context.WithTimeout(ctx, dialTimeout)
	server, err := f.Dial(dialCtx, r.node, r.port)
	cancel()
	if err != nil { // the client sees its connection reset, as if nothing listened
		f.Logger.DebugContext(ctx, "connect to published port", "node", r.node, "port", strconv.Itoa(r.port), "error", err)
		if tcp, ok := client.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		return
	}
	tunnel.Pipe(ctx, client, server)
}
