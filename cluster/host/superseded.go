package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/klkube/kl/cluster"
)

// pruneSuperseded removes unpacked payloads of other versions of kl that no cluster is made of. It removes nothing if it
// cannot find out what the clusters are made of, and that is no failure of the verb: the next one tries again.
func (h *Host) pruneSuperseded(ctx context.Context) error {
	if h.Prune == nil {
		return nil
	}
	parent := filepath.Dir(h.Home.PayloadDir("x"))
	if info, err := os.Lstat(parent); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		return nil // of another home, which alone knows what its clusters are made of
	}
	dirs, err := os.ReadDir(parent)
	if err != nil || len(dirs) <= 2 { // one payload, and the lock
		return nil //nolint:nilerr // no directory: nothing to remove
	}
	used, err := h.usedPayloads(ctx)
	if err != nil {
		return fmt.Errorf("look for payloads in use: %w", err)
	}
	return h.Prune(ctx, used)
}

// usedPayloads lists the hashes of the payloads that nodes and running control planes of this home are made of.
func (h *Host) usedPayloads(ctx context.Context) ([]string, error) {
	names, err := h.Home.Names()
	if err != nil {
		return nil, err
	}
	var used []string
	for _, name := range names {
		l := h.Home.Cluster(name)
		spec, err := cluster.ReadSpec(l)
		if err != nil {
			return nil, err
		}
		nodes, err := h.nodesOf(ctx, spec)
		if err != nil {
			return nil, err
		}
		for _, n := range nodes {
			used = append(used, n.PayloadSHA)
		}
		sha, err := h.planePayload(l)
		if err != nil {
			return nil, err
		}
		used = append(used, sha)
	}
	return used, nil
}

func (h *Host) nodesOf(ctx context.Context, spec cluster.Spec) ([]cluster.Node, error) {
	d, err := h.driverFor(ctx, spec)
	if err != nil {
		return nil, err
	}
	nodes, err := d.List(ctx, spec.Name)
	return nodes, errors.Join(err, d.Close())
}

// planePayload returns the payload that a cluster's control plane runs from, empty if none runs. While a supervisor is about
// to start it again, nobody can tell.
func (h *Host) planePayload(l cluster.Layout) (string, error) {
	pid, err := ControlPlanePID(l)
	if err != nil {
		return "", err
	}
	if pid == 0 {
		if _, alive, err := cluster.ReadSupervision(l); err != nil || alive {
			return "", errors.Join(err, fmt.Errorf("the control plane of cluster %s is about to start", l.Name))
		}
		return "", nil
	}
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return "", err
	}
	parent, err := filepath.Abs(filepath.Dir(h.Home.PayloadDir("x")))
	if err != nil {
		return "", err
	}
	if parent, err = filepath.EvalSymlinks(parent); err != nil {
		return "", err
	}
	rest, ok := strings.CutPrefix(exe, parent+string(filepath.Separator))
	if !ok {
		return "", nil // an engine beside kl, as developers have it
	}
	sha, _, _ := strings.Cut(rest, string(filepath.Separator))
	return sha, nil
}
