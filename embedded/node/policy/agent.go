package policy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/knftables"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/latest"
	"github.com/klkube/kl/cluster/policy"
)

// Config is the configuration of an Agent. Node is required.
type Config struct {
	Node         string              // name of the Node object
	Gateway      netip.Addr          // address of the API server on every node; the zero value: none
	PodInterface string              // pattern of the node's ends of the pods' links; empty: veth*, as the ptp plugin names them
	LogGroup     uint16              // nflog group; 0: 6453
	Denials      int                 // how many are kept; 0: 1000
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
	arp     *arpGuard

	enforced latest.Value[*policy.Model] // set after each round; nil before the first

	mu    sync.Mutex
	since time.Time // of the oldest change that is not enforced; zero: none
	stats policy.TableStats
	logs  bool // nflog works
}

// New returns an agent that has not been started. connect is called by Run, and not earlier, since a node has no credentials
// when Prepare is called.
func New(connect func() (kubernetes.Interface, error), cfg Config) *Agent {
	cfg = cfg.withDefaults()
	return &Agent{
		cfg: cfg, connect: connect, claims: newClaims(), journal: newJournal(cfg.Node, cfg.Denials, time.Now, senderAt(cfg.PodInterface)),
		dirty: make(chan struct{}, 1), arp: newARPGuard(cfg),
	}
}

// Name implements lifecycle.Component.
func (a *Agent) Name() cluster.ComponentName { return "policy" }

// Prepare programs rules that drop the traffic of every pod, unless the rules of an earlier agent are still there. It is
// called before pods can start; otherwise Run does it.
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
	forgetARP(ctx)
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

// touch requests a new round.
func (a *Agent) touch() {
	a.mu.Lock()
	if a.since.IsZero() {
		a.since = time.Now()
	}
	a.mu.Unlock()
	select {
	case a.dirty <- struct{}{}:
	default: // one is pending already
	}
}

// maxPause bounds the pause between rounds.
const maxPause = 50 * time.Millisecond

// loop runs one round after another: each covers all changes that came in during the one before and the pause after it. The
// pause is as long as the round took, so that a busy cluster does not spend all its time on rules; the first change after a
// quiet time is enforced at once.
func (a *Agent) loop(ctx context.Context, w *watcher, ready func()) error {
	const checkEvery = 30 * time.Second
	check := time.NewTicker(checkEvery)
	defer check.Stop()
	var retry <-chan time.Time
	backoff := retryBackoff()
	paused := time.After(0)
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-check.C:
			if !a.verify(ctx) {
				a.cfg.Logger.Warn("table has been deleted, programming it again", "table", TableName)
				a.touch()
			}
			continue
		case <-retry:
		case <-a.dirty:
		}
		select {
		case <-paused:
		case <-ctx.Done():
			continue
		}
		began := time.Now()
		err := a.round(ctx, w)
		paused = time.After(min(time.Since(began), maxPause))
		if err != nil {
			if ctx.Err() != nil {
				continue
			}
			a.cfg.Logger.Error("cannot program policies, the previous rules stay in force", "err", err)
			retry = time.After(backoff.Step())
			continue
		}
		retry, backoff = nil, retryBackoff()
		if ready != nil {
			ready()
			ready = nil
		}
	}
}

// retryBackoff is the pauses between attempts after failures.
func retryBackoff() wait.Backoff {
	return wait.Backoff{Duration: 100 * time.Millisecond, Factor: 2, Cap: 30 * time.Second, Steps: math.MaxInt}
}

// verify reports whether the table still exists. If not, the next round programs all of it.
func (a *Agent) verify(ctx context.Context) bool {
	a.tableMu.Lock()
	defer a.tableMu.Unlock()
	if a.table.Exists(ctx) || ctx.Err() != nil {
		return true
	}
	a.table.current = nil
	return false
}

// round compiles the current objects and programs the result.
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
	a.journal.setModel(model) // before packets are logged with its names
	a.tableMu.Lock()
	err = a.table.Apply(ctx, rules)
	stats := a.table.stats
	if err == nil {
		a.guardARP(ctx)
	}
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
	a.stats = stats
	a.enforced.Set(model)
	return nil
}

// guardARP is best effort: each pod has a link of its own, so that a lie over ARP concerns nobody else.
func (a *Agent) guardARP(ctx context.Context) {
	err := a.arp.apply(ctx)
	if err == nil || ctx.Err() != nil {
		return
	}
	a.cfg.Logger.Warn("pods' ARP packets are not checked", "err", err)
	if !a.arp.written {
		a.arp.nft = nil // the kernel has no arp family
	}
}

// readLog feeds the journal. Counters work without nflog, too.
func (a *Agent) readLog(ctx context.Context) {
	backoff := retryBackoff()
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
			a.cfg.Logger.Warn("cannot read denied packets, they are only counted", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(backoff.Step()):
		}
	}
}
