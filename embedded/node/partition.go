package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/fsnotify/fsnotify"
	"sigs.k8s.io/knftables"

	"github.com/klkube/kl/cluster"
)

// errPartitioned is why the agent has no session while its node is cut off.
var errPartitioned = errors.New("the node is partitioned: 'kl node heal' reconnects it")

// partition cuts the node off while a file exists: its tunnel is closed, and all traffic over its uplink is dropped. Pods of
// the node still reach each other. The file is on the host, so that a partition lasts over restarts of the node.
type partition struct {
	file   string
	socket string // the hub's
	uplink string // the interface to the other nodes
	nft    knftables.Interface
	log    *slog.Logger
	// isolate is called when the node is cut off or reconnected; nil is ignored.
	isolate func(cut bool)

	mu   sync.Mutex
	cut  bool
	conn net.Conn // the tunnel's connection; nil if none was made yet
}

func (p *partition) Name() cluster.ComponentName { return "partition" }

// Run is ready once the node's state matches the file.
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

// sync makes the node's state match the file. The first time it does so even if nothing seems to have changed, because an
// earlier process may have left the table.
func (p *partition) sync(ctx context.Context, first bool) error {
	_, err := os.Stat(p.file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look for a partition: %w", err)
	}
	cut := err == nil
	if !p.set(cut) && !first {
		return nil
	}
	p.log.Info("partition", "active", cut)
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

// drop adds chains that drop all packets on the uplink before any other rule of the node.
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

// set stores the state, closes the tunnel's connection if the node is cut off, and reports whether the state has changed.
func (p *partition) set(cut bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut == cut {
		return false
	}
	p.cut = cut
	if cut && p.conn != nil {
		_ = p.conn.Close() // fails only if it is closed already
	}
	return true
}

// dial is tunnel.Agent.Dial: it refuses while the node is cut off, and keeps the connection so that set can close it.
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
