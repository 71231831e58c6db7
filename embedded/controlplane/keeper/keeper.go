// Package keeper turns nodes on again that went off by themselves: after a crash, a `docker kill`, an out-of-memory kill.
// Engines restart what exits but not what is killed, and nodes without an engine have nobody else to look after them.
//
//	k := &keeper.Keeper{Layout: l, Open: openDriver, Connected: hub.Watch, Logger: log}
//	err := k.Run(ctx, ready)
//
// A node that is off on purpose has a mark (cluster.Layout.NodeStoppedFile) and is left alone.
package keeper

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/klkube/kl/cluster"
)

const (
	// grace is left to the engine: where it restarts a node by itself, it has done so by then.
	grace = 500 * time.Millisecond
	// interval is how often nodes are looked at although no connection was lost: for one that died before it had any.
	interval = 30 * time.Second
	// firstBackOff doubles with every start that was not followed by a connection, up to maxBackOff.
	firstBackOff = time.Second
	maxBackOff   = time.Minute
)

// Keeper is a component of the control plane. Its fields are set before Run and not changed.
type Keeper struct {
	Layout cluster.Layout
	// Open connects to the driver that made the nodes; it is closed after every look.
	Open func(ctx context.Context) (cluster.Driver, error)
	// Connected tells which nodes are connected, and closes the channel when that changes.
	Connected func() ([]string, <-chan struct{})
	Logger    *slog.Logger
}

// attempt is what was done about a node that has not come back yet.
type attempt struct {
	next    time.Time // not before
	backOff time.Duration
}

// Name implements the component contract.
func (k *Keeper) Name() cluster.ComponentName { return "keeper" }

// Run implements the component contract. An engine that does not answer is asked again later: it may be on its way too.
func (k *Keeper) Run(ctx context.Context, ready func()) error {
	ready()
	attempts := map[string]*attempt{}
	var before []string // nodes connected at the last look
	timer := time.NewTimer(interval)
	defer timer.Stop()
	for {
		connected, changed := k.Connected()
		for _, node := range connected {
			delete(attempts, node)
		}
		lost := slices.ContainsFunc(before, func(node string) bool { return !slices.Contains(connected, node) })
		before = connected
		if lost { // between two looks, so that nothing will announce it
			changed = closed()
		}
		timer.Reset(k.wait(attempts))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		case <-changed:
			timer.Reset(grace)
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-timer.C:
			}
		}
		if err := k.look(ctx, attempts); err != nil && ctx.Err() == nil {
			k.Logger.Warn("cannot look after nodes", "error", err)
		}
	}
}

func closed() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// wait is the time until something is due.
func (k *Keeper) wait(attempts map[string]*attempt) time.Duration {
	d := interval
	for _, a := range attempts {
		d = min(d, max(time.Until(a.next), 0)+time.Millisecond)
	}
	return d
}

// look starts every node that is off and should not be.
func (k *Keeper) look(ctx context.Context, attempts map[string]*attempt) error {
	if !k.missing() {
		return nil
	}
	d, err := k.Open(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	starter, ok := d.(cluster.Starter)
	if !ok {
		return nil
	}
	nodes, err := d.List(ctx, k.Layout.Name)
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range nodes {
		if n.State != cluster.NodeStopped || !k.wanted(n.Name) {
			delete(attempts, n.Name)
			continue
		}
		errs = append(errs, k.start(ctx, starter, n, attempts))
	}
	return errors.Join(errs...)
}

// start turns a node on unless it was tried too recently.
func (k *Keeper) start(ctx context.Context, d cluster.Starter, n cluster.Node, attempts map[string]*attempt) error {
	a := attempts[n.Name]
	if a == nil {
		a = &attempt{backOff: firstBackOff}
		attempts[n.Name] = a
	}
	if time.Now().Before(a.next) {
		return nil
	}
	a.next, a.backOff = time.Now().Add(a.backOff), min(2*a.backOff, maxBackOff)
	k.Logger.Info("starting a node that went off", "node", n.Name)
	return d.Start(ctx, n)
}

// missing tells whether any node that should be on is not connected: only then is the engine worth a question.
func (k *Keeper) missing() bool {
	entries, err := os.ReadDir(k.Layout.NodeDir(""))
	if err != nil {
		return false // no nodes
	}
	connected, _ := k.Connected()
	on := make(map[string]bool, len(connected))
	for _, node := range connected {
		on[node] = true
	}
	for _, e := range entries {
		if e.IsDir() && !on[e.Name()] && k.wanted(e.Name()) {
			return true
		}
	}
	return false
}

// wanted tells whether a node of this cluster should be on.
func (k *Keeper) wanted(node string) bool {
	if _, err := os.Stat(k.Layout.NodeDir(node)); err != nil {
		return false // being removed
	}
	_, err := os.Stat(k.Layout.NodeStoppedFile(node))
	return errors.Is(err, fs.ErrNotExist)
}
