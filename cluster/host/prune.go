package host

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/registry"

	"golang.org/x/sync/errgroup"
)

// PrunedImages is what PruneImages removed from one node.
type PrunedImages struct {
	Node    string          `json:"node"`
	Images  []cluster.Image `json:"images"`
	Skipped bool            `json:"skipped"` // the node does not run
}

// PruneImages removes the images that no container uses from every node that runs; with loaded also those that were loaded. The home's
// registry is rid of images that have lost their tag and, with loaded, of those that were pulled through it.
// It asks the nodes themselves, so that it works where a full disk has ended the control plane.
func (h *Host) PruneImages(ctx context.Context, name string, loaded bool) ([]PrunedImages, error) {
	d, nodes, err := h.backend(ctx, name)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	x, ok := d.(cluster.Execer)
	if !ok || len(nodes) == 0 {
		return nil, &cluster.Error{Op: "remove images", Err: errors.New("cluster " + name + " has no nodes with images")}
	}
	pruned := make([]PrunedImages, len(nodes))
	g, ctx := errgroup.WithContext(ctx)
	for i, n := range nodes {
		pruned[i] = PrunedImages{Node: n.Name, Images: []cluster.Image{}, Skipped: n.State != cluster.NodeRunning}
		if pruned[i].Skipped {
			continue
		}
		g.Go(func() error {
			if err := pruneNode(ctx, x, n, loaded, &pruned[i].Images); err != nil {
				return &cluster.Error{Op: "remove images", Node: n.Name, Err: err}
			}
			return nil
		})
	}
	return pruned, errors.Join(g.Wait(), pruneRegistry(ctx, h.Home, loaded))
}

// pruneRegistry removes from the home's registry what no tag stands for and, with pulled, what it keeps of other registries.
func pruneRegistry(ctx context.Context, home cluster.Home, pulled bool) error {
	store := registry.Open(home)
	defer store.Close()
	_, err := store.Prune(ctx, pulled)
	return err
}

func pruneNode(ctx context.Context, x cluster.Execer, n cluster.Node, loaded bool, removed *[]cluster.Image) error {
	cmd := []string{"kl-engine", "prune-images"}
	if loaded {
		cmd = append(cmd, "--all")
	}
	var out, problem bytes.Buffer
	code, err := x.Exec(ctx, n, cluster.ExecSpec{Cmd: cmd, Stdout: &out, Stderr: &problem})
	if err != nil {
		return err
	}
	if code != 0 {
		return errors.New(strings.TrimSpace(problem.String()))
	}
	if err := json.Unmarshal(out.Bytes(), removed); err != nil {
		return fmt.Errorf("read the node's answer: %w", err)
	}
	return nil
}
