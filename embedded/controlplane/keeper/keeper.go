// Package keeper restarts nodes that stopped by themselves: after a crash, a `docker kill`, an out-of-memory kill. An engine
// restarts containers that exit, but not those that are killed.
//
// A node that was stopped on purpose has the file cluster.Layout.NodeStoppedFile and stays off.
package keeper

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/lifecycle"
)

const (
	// grace is left to the engine, which may restart a node by itself.
	grace = 500 * time.Millisecond
	// How often nodes are checked although no connection was lost: one may have stopped before it had any. The first check comes
	// when nodes that run have had the time to connect; the pause doubles from there.
	firstCheck = 2 * time.Second
	interval   = 30 * time.Second
	// The pause between attempts to start a node. It doubles until the node connects.
	firstBackOff = time.Second
	maxBackOff   = time.Minute
)

// Keeper is a component of the control plane. Its fields are set before Run and not changed.
type Keeper struct {
	Layout cluster.Layout
	// Open connects to the driver that created the nodes. The Keeper closes it after every use.
	Open func(ctx context.Context) (cluster.Driver, error)
	// Connected returns the connected nodes and a channel that is closed when they change.
	Connected func() ([]string, <-chan struct{})
	Logger    *slog.Logger
}

// attempt is when to start a node again that has not connected since the last start.
type attempt struct {
	next    time.Time // not before
	backOff wait.Backoff
}

var _ lifecycle.Component = (*Keeper)(nil)

// Name implements lifecycle.Component.
func (k *Keeper) Name() cluster.ComponentName { return "keeper" }

// Run implements lifecycle.Component. If the engine does not answer, Run logs that and asks again later.
func (k *Keeper) Run(ctx context.Context, ready func()) error {
	ready()
	attempts := map[string]*attempt{}
	var before []string // the nodes that were connected at the last check
	pause := firstCheck
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		connected, changed := k.Connected()
		for _, node := range connected {
			delete(attempts, node)
		}
		lost := slices.ContainsFunc(before, func(node string) bool { return !slices.Contains(connected, node) })
		before = connected
		if lost { // before Connected was called, so that the channel does not tell
			changed = closed()
		}
		timer.Reset(untilNext(attempts, pause))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			pause = min(2*pause, interval)
		case <-changed:
			timer.Reset(grace)
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-timer.C:
			}
		}
		if err := k.check(ctx, attempts); err != nil && ctx.Err() == nil {
			k.Logger.WarnContext(ctx, "check nodes", "error", err)
		}
	}
}

// closed returns a closed channel.
func closed() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// untilNext returns the time until the next attempt, or check after a pause.
func untilNext(attempts map[string]*attempt, pause time.Duration) time.Duration {
	d := pause
	for _, a := range attempts {
		d = min(d, max(time.Until(a.next), 0)+time.Millisecond)
	}
	return d
}

// check starts every node that is off and should be on.
func (k *Keeper) check(ctx context.Context, attempts map[string]*attempt) (err error) {
	if missing, err := k.missing(); !missing {
		return err
	}
	d, err := k.Open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
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

// start starts a node unless the last attempt was too recent.
func (k *Keeper) start(ctx context.Context, d cluster.Starter, n cluster.Node, attempts map[string]*attempt) error {
	a := attempts[n.Name]
	if a == nil {
		a = &attempt{backOff: wait.Backoff{Duration: firstBackOff, Factor: 2, Cap: maxBackOff, Steps: math.MaxInt}}
		attempts[n.Name] = a
	}
	if time.Now().Before(a.next) {
		return nil
	}
	a.next = time.Now().Add(a.backOff.Step())
	k.Logger.InfoContext(ctx, "starting a node that stopped", "node", n.Name)
	return d.Start(ctx, n)
}

// missing reports whether a node that should be on is not connected. Otherwise the engine need not be asked.
func (k *Keeper) missing() (bool, error) {
	entries, err := os.ReadDir(k.Layout.NodeDir(""))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // a cluster without nodes
	}
	if err != nil {
		return false, fmt.Errorf("list nodes: %w", err)
	}
	connected, _ := k.Connected()
	on := make(map[string]bool, len(connected))
	for _, node := range connected {
		on[node] = true
	}
	for _, e := range entries {
		if e.IsDir() && !on[e.Name()] && k.wanted(e.Name()) {
			return true, nil
		}
	}
	return false, nil
}

// wanted reports whether a node of this cluster should be on.
func (k *Keeper) wanted(node string) bool {
	if _, err := os.Stat(k.Layout.NodeDir(node)); err != nil {
		return false // being removed
	}
	_, err := os.Stat(k.Layout.NodeStoppedFile(node))
	return errors.Is(err, fs.ErrNotExist)
}
