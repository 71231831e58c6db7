package policy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/knftables"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/policy"
)

// Config is what an agent is told. Node is required.
type Config struct {
	Node         string              // name of the Node object
	Gateway      netip.Addr          // address of the API on every node; the zero value: none
	PodInterface string              // pattern of the node's ends of pod links; empty: veth*, as the ptp plugin names them
	LogGroup     uint16              // nflog group; 0: 6453
	Denials      int                 // remembered; 0: 1000
	Socket       string              // unix socket for the CNI plugin: cni.Socket; empty: none
	NFT          knftables.Interface // for tests; nil: the nft program
	Logger       *slog.Logger        // nil: discarded
}

func (c Config) withDefaults() Config {
	if c.PodInterface == "" {
		c.PodInterface = "veth*"
	}
	if c.LogGroup == 0 {
		c.LogGroup = 6453
	}
	if c.Denials == 0 {
		c.Denials = 1000
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Agent enforces the policies of a cluster on one node.
//
//	New ─► Prepare (optional, before pods can start) ─► Run ─► returns when ctx is done; the rules stay in force
//
// Run may be called again after it returned.
type Agent struct {
	cfg     Config
	connect func() (kubernetes.Interface, error)
	claims  claims
	journal *journal
	dirty   chan struct{} // capacity 1

	tableMu sync.Mutex // Table is used by the loop and by readers of counters
	table   *Table

	mu      sync.Mutex
	since   time.Time // of the oldest change that is not enforced; zero: none
	model   *policy.Model
	applied chan struct{} // closed and replaced whenever model was enforced
	stats   policy.TableStats
	logs    bool // nflog works
}

// New returns an agent that has done nothing yet. connect is called by Run: a node has no credentials before it joined, but
// must be closed by then.
func New(connect func() (kubernetes.Interface, error), cfg Config) *Agent {
	cfg = cfg.withDefaults()
	return &Agent{
		cfg: cfg, connect: connect, claims: newClaims(), journal: newJournal(cfg.Node, cfg.Denials, time.Now),
		dirty: make(chan struct{}, 1), applied: make(chan struct{}),
	}
}

// Name makes Agent a component.
func (a *Agent) Name() cluster.ComponentName { return "policy" }

// Prepare closes the node for pods that are not known yet, unless the rules of an earlier agent are still there. Call it
// before anything can start pods; Run does it otherwise.
func (a *Agent) Prepare(ctx context.Context) error {
	a.tableMu.Lock()
	defer a.tableMu.Unlock()
	if a.table != nil {
		return nil
	}
	nft := a.cfg.NFT
	if nft == nil {
		var err error
		if nft, err = knftables.New(knftables.InetFamily, TableName); err != nil {
			return fmt.Errorf("find nft: %w", err)
		}
	}
	table := NewTable(nft)
	if !table.Exists(ctx) {
		if err := table.Apply(ctx, compile(nil, a.cfg)); err != nil {
			return err
		}
	}
	a.table = table
	return nil
}

// Run watches and enforces until ctx is done. It calls ready when all policies that exist are enforced.
func (a *Agent) Run(ctx context.Context, ready func()) error {
	if err := a.Prepare(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer cancel(nil)
	tasks.Go(func() { a.readLog(ctx) })
	if a.cfg.Socket != "" {
		tasks.Go(func() {
			if err := a.serveClaims(ctx); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("serve %s: %w", a.cfg.Socket, err))
			}
		})
	}
	client, err := a.connect()
	if err != nil {
		return fmt.Errorf("connect to the API: %w", err)
	}
	w, err := newWatcher(client, a.cfg.Node, a.touch, a.cfg.Logger)
	if err != nil {
		return err
	}
	defer w.stop()
	if err := w.start(ctx); err != nil {
		return fmt.Errorf("watch policies and pods: %w", context.Cause(ctx))
	}
	a.touch()
	return a.loop(ctx, w, ready)
}

// touch asks for a new round.
func (a *Agent) touch() {
	a.mu.Lock()
	if a.since.IsZero() {
		a.since = time.Now()
	}
	a.mu.Unlock()
	select {
	case a.dirty <- struct{}{}:
	default: // one is due anyway
	}
}

// maxRest bounds the pause between rounds.
const maxRest = 50 * time.Millisecond

// loop does one round after another: all changes that come in during a round, and the rest after it, are the next one. It
// rests as long as it worked, so that a cluster in which much happens does not spend all its time on rules; the first change
// after a quiet time is enforced at once.
func (a *Agent) loop(ctx context.Context, w *watcher, ready func()) error {
	const checkEvery = 30 * time.Second
	check := time.NewTicker(checkEvery)
	defer check.Stop()
	retry := newRetry()
	defer retry.stop()
	rested := time.After(0)
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-check.C:
			if !a.verify(ctx) {
				a.cfg.Logger.Warn("table is gone, programming it again", "table", TableName)
				a.touch()
			}
			continue
		case <-retry.C():
		case <-a.dirty:
		}
		select {
		case <-rested:
		case <-ctx.Done():
			continue
		}
		began := time.Now()
		err := a.round(ctx, w)
		rested = time.After(min(time.Since(began), maxRest))
		if err != nil {
			if ctx.Err() != nil {
				continue
			}
			a.cfg.Logger.Error("cannot program policies, the last rules stay in force", "err", err)
			retry.later()
			continue
		}
		retry.done()
		if ready != nil {
			ready()
			ready = nil
		}
	}
}

// verify makes the next round replace the table if somebody else deleted it.
func (a *Agent) verify(ctx context.Context) bool {
	a.tableMu.Lock()
	defer a.tableMu.Unlock()
	if a.table.Exists(ctx) || ctx.Err() != nil {
		return true
	}
	a.table.current = nil
	return false
}

// round compiles what is known now and enforces it.
func (a *Agent) round(ctx context.Context, w *watcher) error {
	a.mu.Lock()
	since := a.since
	a.since = time.Time{}
	a.mu.Unlock()
	start := time.Now()
	objects, err := w.objects()
	if err != nil {
		return err
	}
	objects.Pods = a.claims.overlay(objects.Pods)
	model := policy.Compile(objects, policy.Options{Gateway: a.cfg.Gateway})
	rules := compile(model, a.cfg)
	compiled := time.Since(start)
	a.journal.setModel(model) // before packets are logged under its names
	a.tableMu.Lock()
	err = a.table.Apply(ctx, rules)
	stats := a.table.stats
	a.tableMu.Unlock()

	a.mu.Lock()
	defer a.mu.Unlock()
	stats.LastCompile = compiled.Seconds()
	stats.LastLatency = a.stats.LastLatency
	if err != nil {
		if a.since.IsZero() {
			a.since = since
		}
		a.stats.LastError = err.Error()
		return err
	}
	if !since.IsZero() {
		stats.LastLatency = time.Since(since).Seconds()
	}
	a.stats, a.model = stats, model
	close(a.applied)
	a.applied = make(chan struct{})
	return nil
}

// enforced returns the model in force, nil if there is none yet, and a channel that is closed with the next round.
func (a *Agent) enforced() (*policy.Model, <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.model, a.applied
}

// readLog feeds the journal. Without nflog, counters still count.
func (a *Agent) readLog(ctx context.Context) {
	retry := newRetry()
	defer retry.stop()
	for {
		conn, err := listenLog(a.cfg.LogGroup)
		if err == nil {
			a.setLogs(true)
			err = readLog(ctx, conn, a.journal.add, a.journal.addLost)
			a.setLogs(false)
		}
		if ctx.Err() != nil {
			return
		}
		if !errors.Is(err, context.Canceled) {
			a.cfg.Logger.Warn("denials cannot be shown, only counted", "err", err)
		}
		retry.later()
		select {
		case <-ctx.Done():
			return
		case <-retry.C():
		}
	}
}
