package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/fsnotify/fsnotify"
	"sigs.k8s.io/knftables"

	"github.com/klkube/kl/cluster"
)

// errPartitioned is why an agent has no session while its node is cut off.
var errPartitioned = errors.New("the node is partitioned: kl node heal ends that")

// partition cuts the node off while a file exists: its tunnel is closed, and all that comes or goes over its uplink is
// dropped. Pods of the node still reach each other. The file is on the host, so the state outlives the node's restart.
type partition struct {
	file   string
	socket string // the hub's
	uplink string // interface to the peers
	nft    knftables.Interface
	log    *slog.Logger
	// isolate is told when the node is cut off and when no longer; nil if nobody asks.
	isolate func(cut bool)

	mu   sync.Mutex
	cut  bool
	conn net.Conn // the tunnel's connection, if there is one
}

func (p *partition) Name() cluster.ComponentName { return "partition" }

// Run is a lifecycle.Component. It is ready once the node is as the file says.
func (p *partition) Run(ctx context.Context, ready func()) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch for partitions: %w", err)
	}
	defer w.Close()
	if err := w.Add(filepath.Dir(p.file)); err != nil {
		return fmt.Errorf("watch for partitions: %w", err)
	}
	if err := p.sync(ctx, true); err != nil {
		return err
	}
	ready()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-w.Errors:
			return fmt.Errorf("watch for partitions: %w", err)
		case e := <-w.Events:
			if filepath.Base(e.Name) != filepath.Base(p.file) {
				continue
			}
			if err := p.sync(ctx, false); err != nil {
				return err
			}
		}
	}
}

// sync makes the node what the file says. The first time it does so whatever it knows: the table may be an earlier
// process's.
func (p *partition) sync(ctx context.Context, first bool) error {
	_, err := os.Stat(p.file)
	cut := err == nil
	if !p.set(cut) && !first {
		return nil
	}
	p.log.Info("partition", "cut", cut)
	if p.isolate != nil {
		p.isolate(cut)
	}
	tx := p.nft.NewTransaction()
	tx.Add(&knftables.Table{Comment: knftables.PtrTo("kl: this node is cut off")})
	if cut {
		p.drop(tx)
	} else {
		tx.Delete(&knftables.Table{})
	}
	if err := p.nft.Run(ctx, tx); err != nil {
		return fmt.Errorf("write partition: %w", err)
	}
	return nil
}

// drop adds chains that see a packet before any other of the node's rules.
func (p *partition) drop(tx *knftables.Transaction) {
	for _, c := range []struct {
		hook knftables.BaseChainHook
		key  string
	}{{knftables.InputHook, "iifname"}, {knftables.OutputHook, "oifname"}, {knftables.ForwardHook, "iifname"}} {
		chain := string(c.hook)
		tx.Add(&knftables.Chain{
			Name: chain, Type: knftables.PtrTo(knftables.FilterType), Hook: knftables.PtrTo(c.hook),
			Priority: knftables.PtrTo(knftables.RawPriority),
		})
		tx.Flush(&knftables.Chain{Name: chain})
		tx.Add(&knftables.Rule{Chain: chain, Rule: knftables.Concat(c.key, p.uplink, "drop")})
	}
	tx.Add(&knftables.Rule{Chain: "forward", Rule: knftables.Concat("oifname", p.uplink, "drop")})
}

// set notes the state and closes the tunnel if it is to be cut; it tells whether anything is new.
func (p *partition) set(cut bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut == cut {
		return false
	}
	p.cut = cut
	if cut && p.conn != nil {
		_ = p.conn.Close() // it may be gone already
	}
	return true
}

// dial is tunnel.Agent.Dial: it refuses while the node is cut off, and keeps the connection so that it can be cut.
func (p *partition) dial(ctx context.Context) (net.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut {
		return nil, errPartitioned
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", p.socket)
	if err == nil {
		p.conn = conn
	}
	return conn, err
}
