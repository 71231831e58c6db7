//go:build linux

package native

import (
	"context"
	"errors"
	"os"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"
)

var _ cluster.Upgrader = (*Driver)(nil)

// Upgrade makes a stopped node of another payload. What the node wrote outside of /var lay over the files of the old one, and is
// removed.
func (d *Driver) Upgrade(ctx context.Context, n cluster.Node, p cluster.Payload) (cluster.Node, error) {
	var upgraded cluster.Node
	err := d.with(ctx, "upgrade", n, func(b bundle) error {
		r, c, err := b.inspect()
		if err != nil {
			return err
		}
		if c.PID != 0 {
			return errors.New("it runs")
		}
		if r.Spec.Payload.SHA != p.SHA {
			if err := b.renew(&r, p); err != nil {
				return err
			}
		}
		upgraded = r.node(b.id(), cluster.NodeStopped)
		return nil
	})
	return upgraded, err
}

// renew empties the upper layer, and then replaces the record: if it is interrupted, the node is still of the old payload.
func (b bundle) renew(r *record, p cluster.Payload) error {
	spec := r.Spec
	spec.Payload = p
	if err := checkPaths(spec); err != nil {
		return err
	}
	for _, dir := range []string{b.upper(), b.work()} {
		if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o755)); err != nil {
			return err
		}
	}
	r.Spec = spec
	data, err := b.encode(b.dir, *r)
	if err != nil {
		return err
	}
	return statefile.Write(b.config(), data, 0o600)
}
