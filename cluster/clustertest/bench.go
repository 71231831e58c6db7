package clustertest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klkube/kl/cluster"
)

// bench is the cluster of one subtest.
type bench struct {
	Subject
	cluster string
	driver  cluster.Driver
	dir     string
}

func newBench(t *testing.T, s Subject, name string) *bench {
	b := &bench{Subject: s, cluster: name, driver: s.Connect(t), dir: t.TempDir()}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
		defer cancel()
		b.tearDown(ctx, t)
	})
	return b
}

// beside returns a bench with another cluster on the same backend.
func (b *bench) beside(t *testing.T) *bench {
	side := *b
	side.cluster += "x"
	side.driver = b.Connect(t)
	t.Cleanup(func() { side.tearDown(context.WithoutCancel(t.Context()), t) })
	return &side
}

// tearDown deletes all nodes and checks that the backend holds nothing of the cluster.
func (b *bench) tearDown(ctx context.Context, t *testing.T) {
	d := b.Connect(t)
	nodes, err := d.List(ctx, b.cluster)
	if err != nil {
		t.Errorf("list: %v", err)
	}
	for _, n := range nodes {
		if err := d.Delete(ctx, n); err != nil {
			t.Errorf("delete %s: %v", n.Name, err)
		}
	}
	if c, ok := d.(cluster.Cleaner); ok {
		if err := c.DeleteCluster(ctx, b.cluster); err != nil {
			t.Errorf("delete cluster: %v", err)
		}
	}
	if left := b.Residue(t, b.cluster); left != "" {
		t.Errorf("the backend still holds:\n%s", left)
	}
	for _, d := range []cluster.Driver{d, b.driver} {
		if err := d.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
}

func (b *bench) spec(t *testing.T, name string) cluster.NodeSpec {
	t.Helper()
	spec := cluster.NodeSpec{
		Cluster: b.cluster, Name: name, Payload: b.Payload,
		TunnelDir: filepath.Join(b.dir, "run"), NodeDir: filepath.Join(b.dir, "nodes", name), SharedDir: filepath.Join(b.dir, "shared"),
	}
	for _, dir := range []string{spec.TunnelDir, spec.SharedDir, filepath.Join(spec.NodeDir, "logs")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return spec
}

func (b *bench) create(t *testing.T, name string) cluster.Node {
	t.Helper()
	n, err := b.driver.Create(t.Context(), b.spec(t, name))
	if err != nil {
		t.Fatalf("create %s: %v", name, err)
	}
	return n
}

func (b *bench) list(t *testing.T) []cluster.Node {
	t.Helper()
	nodes, err := b.driver.List(t.Context(), b.cluster)
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	return nodes
}

// expect lists the cluster and compares names, addresses and states ("n1 10.0.0.2 Running").
func (b *bench) expect(t *testing.T, want ...string) {
	t.Helper()
	var have []string
	for _, n := range b.list(t) {
		have = append(have, line(n))
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
}

func line(n cluster.Node) string { return fmt.Sprintf("%s %s %s", n.Name, n.IP, n.State) }

func in(n cluster.Node, s cluster.NodeState) string {
	n.State = s
	return line(n)
}

// run executes a command in a node and returns what it wrote.
func (b *bench) run(t *testing.T, n cluster.Node, stdin string, args ...string) (string, int) {
	t.Helper()
	var out bytes.Buffer
	code, err := b.driver.(cluster.Execer).Exec(t.Context(), n, cluster.ExecSpec{Cmd: args, Stdin: strings.NewReader(stdin), Stdout: &out})
	if err != nil {
		t.Fatalf("exec %q: %v", args, err)
	}
	return out.String(), code
}
