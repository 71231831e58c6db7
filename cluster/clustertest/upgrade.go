package clustertest

import (
	"strings"
	"testing"

	"github.com/klkube/kl/cluster"
)

// next is the payload of the bench as another version of kl would have it: the same files under another hash.
func (b *bench) next() cluster.Payload {
	p := b.Payload
	p.SHA += "-next"
	return p
}

func (b *bench) upgrades(t *testing.T) {
	d, s := b.driver.(cluster.Upgrader), b.driver.(cluster.Starter)
	n := b.create(t, "n1")
	if _, err := d.Upgrade(t.Context(), n, b.next()); err == nil {
		t.Error("a node that runs was upgraded")
	}
	b.run(t, n, "kept", "tee", "/var/kept")
	if err := s.Stop(t.Context(), n); err != nil {
		t.Fatalf("stop: %v", err)
	}
	upgraded, err := d.Upgrade(t.Context(), n, b.next())
	if err != nil {
		t.Fatalf("upgrade: %v", err)
	}
	want := n
	want.ID, want.Created, want.State, want.PayloadSHA = upgraded.ID, upgraded.Created, cluster.NodeStopped, b.next().SHA
	if got := b.list(t); len(got) != 1 || !same(got[0], want) || !same(upgraded, want) {
		t.Errorf("upgrade returned %+v, and List %+v, want %+v", upgraded, got, want)
	}
	if err := s.Start(t.Context(), upgraded); err != nil {
		t.Fatalf("start: %v", err)
	}
	b.expect(t, in(upgraded, cluster.NodeRunning))
	if out, code := b.run(t, upgraded, "", "cat", "/var/kept"); out != "kept" || code != 0 {
		t.Errorf("file on /var: %q, exit code %d", out, code)
	}
	if out, _ := b.run(t, upgraded, "", "hostname"); strings.TrimSpace(out) != "n1" {
		t.Errorf("host name %q", out)
	}
}

func (b *bench) upgradesTwice(t *testing.T) {
	d, s := b.driver.(cluster.Upgrader), b.driver.(cluster.Starter)
	n := b.create(t, "n1")
	if err := s.Stop(t.Context(), n); err != nil {
		t.Fatalf("stop: %v", err)
	}
	for range 2 {
		upgraded, err := d.Upgrade(t.Context(), n, b.next())
		if err != nil {
			t.Fatalf("upgrade: %v", err)
		}
		n = upgraded
	}
	b.expect(t, in(n, cluster.NodeStopped))
}

// same reports whether two nodes are equal in what an upgrade keeps or sets.
func same(a, b cluster.Node) bool {
	return a.Cluster == b.Cluster && a.Name == b.Name && a.IP == b.IP && a.State == b.State && a.PayloadSHA == b.PayloadSHA && a.ID == b.ID
}
