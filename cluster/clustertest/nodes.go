package clustertest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klkube/kl/cluster"
)

func (b *bench) named(t *testing.T) {
	switch name := b.driver.Name(); name {
	case cluster.DriverDocker, cluster.DriverEmbedded, cluster.DriverSimulated:
	default:
		t.Errorf("name is %q", name)
	}
}

func (b *bench) creates(t *testing.T) {
	began := time.Now().Add(-time.Second)
	n := b.create(t, "n1")
	if _, err := netip.ParseAddr(n.IP); err != nil {
		t.Errorf("address: %v", err)
	}
	if n.ID == "" {
		t.Error("no ID")
	}
	if n.Created.Before(began) || n.Created.After(time.Now().Add(time.Second)) {
		t.Errorf("created %v, now is %v", n.Created, time.Now())
	}
	want := cluster.Node{
		Cluster: b.cluster, Name: "n1", Driver: b.driver.Name(), ID: n.ID, IP: n.IP, State: cluster.NodeRunning,
		Created: n.Created, PayloadSHA: b.Payload.SHA, Labels: n.Labels, Ports: n.Ports,
	}
	if diff := cmp.Diff(want, n); diff != "" {
		t.Errorf("node (-want +got):\n%s", diff)
	}
	b.expect(t, in(n, cluster.NodeRunning))
}

func (b *bench) clashes(t *testing.T) {
	n := b.create(t, "n1")
	if _, err := b.driver.Create(t.Context(), b.spec(t, "n1")); !errors.Is(err, cluster.ErrNodeExists) {
		t.Errorf("second create: %v, want ErrNodeExists", err)
	}
	b.expect(t, in(n, cluster.NodeRunning))
	var wg sync.WaitGroup
	errs := make([]error, 3)
	for i := range errs {
		wg.Go(func() { _, errs[i] = b.driver.Create(t.Context(), b.spec(t, "n2")) })
	}
	wg.Wait()
	made := 0
	for _, err := range errs {
		if err == nil {
			made++
		} else if !errors.Is(err, cluster.ErrNodeExists) {
			t.Errorf("create at once: %v, want ErrNodeExists", err)
		}
	}
	if made != 1 || len(b.list(t)) != 2 {
		t.Errorf("%d of %d creates at once succeeded; nodes: %v", made, len(errs), b.list(t))
	}
}

func (b *bench) failsCleanly(t *testing.T) {
	spec := b.spec(t, "n1")
	spec.Mounts = []cluster.Mount{{Host: filepath.Join(b.dir, "missing"), Node: "/data"}}
	if _, err := b.driver.Create(t.Context(), spec); err == nil {
		t.Error("create with a mount that does not exist succeeded")
	}
	if left := b.Residue(t, b.cluster); left != "" {
		t.Errorf("the backend still holds:\n%s", left)
	}
	n := b.create(t, "n1") // the name is free
	b.expect(t, in(n, cluster.NodeRunning))
}

// cancelsCleanly cancels Create later and later until one succeeds, so that every part of the work is interrupted.
func (b *bench) cancelsCleanly(t *testing.T) {
	for after := time.Duration(0); ; after = after*3/2 + time.Millisecond {
		if after > time.Minute {
			t.Fatal("create takes longer than a minute")
		}
		ctx, cancel := context.WithTimeout(t.Context(), after)
		n, err := b.driver.Create(ctx, b.spec(t, "n1"))
		cancel()
		if err == nil {
			b.expect(t, in(n, cluster.NodeRunning))
			return
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("create for %v: %v, want the error of ctx", after, err)
		}
		if left := b.Residue(t, b.cluster); left != "" {
			t.Fatalf("create for %v left behind:\n%s", after, left)
		}
	}
}

func (b *bench) createsSideBySide(t *testing.T) {
	var wg sync.WaitGroup
	nodes, errs := make([]cluster.Node, 4), make([]error, 4)
	other := b.Connect(t) // another process
	t.Cleanup(func() { _ = other.Close() })
	for i := range nodes {
		d := []cluster.Driver{b.driver, other}[i%2]
		spec := b.spec(t, fmt.Sprintf("n%d", i+1))
		wg.Go(func() { nodes[i], errs[i] = d.Create(t.Context(), spec) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatalf("create side by side: %v", err)
	}
	var want []string
	seen := map[string]string{}
	for _, n := range nodes {
		want = append(want, in(n, cluster.NodeRunning))
		if twin, taken := seen[n.IP]; taken {
			t.Errorf("%s and %s both have %s", twin, n.Name, n.IP)
		}
		seen[n.IP] = n.Name
	}
	b.expect(t, want...)
}

func (b *bench) lists(t *testing.T) {
	b.expect(t) // nothing yet, and that is no error
	spec := b.spec(t, "n10")
	spec.MilliCPUs, spec.MemoryBytes = 1500, 256<<20
	spec.Labels = map[string]string{"zone": "a", "kl.dev/pool": "big"}
	spec.Ports = []cluster.Port{{Host: freePort(t, "tcp"), Node: 80, Protocol: "tcp", Address: "127.0.0.1"}}
	big, err := b.driver.Create(t.Context(), spec)
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	small := b.create(t, "n2")
	if diff := cmp.Diff([]cluster.Node{small, big}, b.list(t), sameInstant()); diff != "" {
		t.Errorf("list differs from create (-create +list):\n%s", diff)
	}
	want := cluster.Node{MilliCPUs: 1500, MemoryBytes: 256 << 20, Labels: spec.Labels, Ports: spec.Ports}
	have := cluster.Node{MilliCPUs: big.MilliCPUs, MemoryBytes: big.MemoryBytes, Labels: big.Labels, Ports: big.Ports}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("node (-spec +got):\n%s", diff)
	}
}

// sameInstant compares times without their location.
func sameInstant() cmp.Option { return cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) }) }

func (b *bench) listsAll(t *testing.T) {
	mine := b.create(t, "n1")
	side := b.beside(t)
	theirs := side.create(t, "n1")
	if mine.IP == theirs.IP {
		t.Errorf("two clusters share the address %s", mine.IP)
	}
	b.expect(t, in(mine, cluster.NodeRunning))
	side.expect(t, in(theirs, cluster.NodeRunning))
	all, err := b.driver.List(t.Context(), "")
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	var have []string
	for _, n := range all {
		if strings.HasPrefix(n.Cluster, b.cluster) {
			have = append(have, n.Cluster+" "+line(n))
		}
	}
	want := []string{b.cluster + " " + line(mine), side.cluster + " " + line(theirs)}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("all nodes (-want +got):\n%s", diff)
	}
}

func (b *bench) deletes(t *testing.T) {
	n := b.create(t, "n1")
	keep := b.create(t, "n2")
	var wg sync.WaitGroup
	errs := make([]error, 2)
	for i := range errs {
		wg.Go(func() { errs[i] = b.driver.Delete(t.Context(), n) }) // at once: both succeed
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Errorf("delete at once: %v", err)
	}
	if err := b.driver.Delete(t.Context(), n); err != nil {
		t.Errorf("delete of a node that is gone: %v", err)
	}
	b.expect(t, in(keep, cluster.NodeRunning))
	b.create(t, "n1") // its name and address are free again
}

func (b *bench) closes(t *testing.T) {
	d := b.Connect(t)
	n, err := d.Create(t.Context(), b.spec(t, "n1"))
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	b.expect(t, in(n, cluster.NodeRunning))
}

func (b *bench) deletesCluster(t *testing.T) {
	c := b.driver.(cluster.Cleaner)
	if err := c.DeleteCluster(t.Context(), b.cluster); err != nil {
		t.Errorf("before any node: %v", err)
	}
	n := b.create(t, "n1")
	if err := b.driver.Delete(t.Context(), n); err != nil {
		t.Fatalf("delete: %v", err)
	}
	for range 2 {
		if err := c.DeleteCluster(t.Context(), b.cluster); err != nil {
			t.Errorf("delete cluster: %v", err)
		}
		if left := b.Residue(t, b.cluster); left != "" {
			t.Errorf("the backend still holds:\n%s", left)
		}
	}
}
