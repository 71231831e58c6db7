package clustertest

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klkube/kl/cluster"
)

// Promises about two owners on one backend.

// stranger is a bench of another owner with a cluster of the same name. Its Residue is that of b, so the caller looks at
// what is listed.
func (b *bench) stranger(t *testing.T) *bench {
	s := &bench{Subject: b.Subject, cluster: b.cluster, driver: b.Stranger(t), dir: t.TempDir()}
	t.Cleanup(func() { // before b is torn down
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
		defer cancel()
		nodes, err := s.driver.List(ctx, s.cluster)
		if err != nil {
			t.Errorf("list: %v", err)
		}
		for _, n := range nodes {
			if err := s.driver.Delete(ctx, n); err != nil {
				t.Errorf("delete %s: %v", n.Name, err)
			}
		}
		if c, ok := s.driver.(cluster.Cleaner); ok {
			if err := c.DeleteCluster(ctx, s.cluster); err != nil {
				t.Errorf("delete cluster: %v", err)
			}
		}
		if err := s.driver.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func (b *bench) listsOwn(t *testing.T) {
	b.create(t, "n1")
	s := b.stranger(t)
	s.expect(t)
	all, err := s.driver.List(t.Context(), "")
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	for _, n := range all {
		if n.Cluster == b.cluster {
			t.Errorf("the list of all clusters has another owner's node %s/%s", n.Cluster, n.Name)
		}
	}
}

func (b *bench) createsBesideStranger(t *testing.T) {
	s := b.stranger(t)
	theirs := s.create(t, "n1")
	mine := b.create(t, "n1")
	second := b.create(t, "n2")
	if mine.IP == theirs.IP && b.Network != nil {
		t.Errorf("both nodes have %s", mine.IP)
	}
	s.expect(t, in(theirs, cluster.NodeRunning))
	b.expect(t, in(mine, cluster.NodeRunning), in(second, cluster.NodeRunning))
	if _, ok := b.driver.(cluster.Execer); ok {
		for _, n := range []cluster.Node{mine, second} {
			if out, _ := b.run(t, n, "", "hostname"); strings.TrimSpace(out) != n.Name {
				t.Errorf("host name of %s is %q", n.Name, out)
			}
		}
	}
	if d, ok := b.driver.(cluster.Starter); ok {
		for _, f := range []func(context.Context, cluster.Node) error{d.Stop, d.Start} {
			if err := f(t.Context(), mine); err != nil {
				t.Errorf("stop and start: %v", err)
			}
		}
		b.expect(t, in(mine, cluster.NodeRunning), in(second, cluster.NodeRunning))
	}
}

func (b *bench) failsBesideStranger(t *testing.T) {
	n := b.create(t, "n1")
	s := b.stranger(t)
	spec := s.spec(t, "n1")
	spec.Mounts = []cluster.Mount{{Host: filepath.Join(s.dir, "missing"), Node: "/data"}}
	if _, err := s.driver.Create(t.Context(), spec); err == nil {
		t.Error("create with a mount that does not exist succeeded")
	}
	b.expect(t, in(n, cluster.NodeRunning))
	b.create(t, "n2") // the network is still there
}

func (b *bench) deletesOwn(t *testing.T) {
	n := b.create(t, "n1")
	s := b.stranger(t)
	unknown := n
	unknown.ID = ""
	for _, n := range []cluster.Node{n, unknown} {
		if err := s.driver.Delete(t.Context(), n); err != nil {
			t.Errorf("delete of a node that is another owner's: %v, want nil as if it were gone", err)
		}
	}
	own := s.create(t, "n1")
	if err := s.driver.Delete(t.Context(), own); err != nil {
		t.Errorf("delete: %v", err)
	}
	if c, ok := s.driver.(cluster.Cleaner); ok {
		if err := c.DeleteCluster(t.Context(), s.cluster); err != nil {
			t.Errorf("delete cluster: %v", err)
		}
	}
	s.expect(t)
	b.expect(t, in(n, cluster.NodeRunning))
	b.create(t, "n2") // the network is still there
}

func (b *bench) refusesStranger(t *testing.T) {
	n := b.create(t, "n1")
	s := b.stranger(t)
	start, pause := s.driver.(cluster.Starter), s.driver.(cluster.Pauser)
	for verb, f := range map[string]func(context.Context, cluster.Node) error{
		"stop": start.Stop, "start": start.Start, "kill": start.Kill, "pause": pause.Pause, "resume": pause.Resume,
		"exec": func(ctx context.Context, n cluster.Node) error {
			_, err := s.driver.(cluster.Execer).Exec(ctx, n, cluster.ExecSpec{Cmd: []string{"true"}})
			return err
		},
	} {
		if err := f(t.Context(), n); err == nil {
			t.Errorf("%s of a node that is another owner's succeeded", verb)
		}
	}
	b.expect(t, in(n, cluster.NodeRunning))
}

func (b *bench) purgesOwn(t *testing.T) {
	shared := b.payload("-shared")
	s := b.stranger(t)
	for _, side := range []*bench{b, s} {
		if err := side.driver.(cluster.Preparer).Prepare(t.Context(), side.cluster, shared); err != nil {
			t.Fatalf("prepare: %v", err)
		}
	}
	s.purge(t, shared)
	if !b.imported(t, "n1", shared) {
		t.Error("purge has removed what another owner has prepared")
	}
}
