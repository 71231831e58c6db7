package clustertest

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

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
	want.ID, want.State, want.PayloadSHA = upgraded.ID, cluster.NodeStopped, b.next().SHA
	listed := append(b.list(t), upgraded)
	for i := range listed {
		listed[i].Created = want.Created
	}
	if diff := cmp.Diff([]cluster.Node{want, want}, listed); diff != "" {
		t.Errorf("List and Upgrade (-want +got):\n%s", diff)
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
