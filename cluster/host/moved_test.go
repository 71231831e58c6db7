package host_test

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/clustertest"
	"github.com/klkube/kl/cluster/host"
)

// movedBench is a bench whose fake driver works for the home it is opened for, and whose home can be moved.
func movedBench(t *testing.T) (b *bench, backend *clustertest.Fake, old cluster.Home) {
	t.Helper()
	b = newBench(t)
	backend, old = b.fake, b.Home
	b.fake = backend.As(old.Owner())
	b.fake.Changed = clustertest.Running(old)
	b.OpenDriver = func(context.Context, cluster.DriverName) (cluster.Driver, error) { return b.fake, nil }
	return b, backend, old
}

// move renames the home, as mv does, and goes on there.
func (b *bench) move(t *testing.T, backend *clustertest.Fake) {
	t.Helper()
	to := b.Home + "-moved"
	must(t, os.Rename(string(b.Home), string(to)))
	b.Home, b.fake = to, backend.As(to.Owner())
	b.fake.Changed = clustertest.Running(to)
}

func TestMovedHome(t *testing.T) {
	b, backend, old := movedBench(t)
	b.mustUp(t, request(2))
	b.move(t, backend)
	ctx := t.Context()
	for name, verb := range map[string]func() error{
		"up":          func() error { _, err := b.Up(ctx, request(-1), host.UpOptions{}); return err },
		"start":       func() error { _, err := b.Start(ctx, "demo", host.UpOptions{}); return err },
		"stop":        func() error { return b.Stop(ctx, "demo") },
		"node stop":   func() error { return b.StopNode(ctx, "demo", "n1") },
		"node remove": func() error { return b.RemoveNode(ctx, "demo", "n1", host.RemoveOptions{}) },
		"node shell":  func() error { _, _, err := b.Node(ctx, "demo", "n1"); return err },
	} {
		if text := describe(verb()); !strings.Contains(text, "was moved here") || !strings.Contains(text, string(old)) || !strings.Contains(text, "kl down --name demo") {
			t.Errorf("%s: %s", name, text)
		}
	}
	infos, err := b.List(ctx)
	if err != nil || len(infos) != 1 || infos[0].Phase != cluster.PhaseMoved || !strings.Contains(strings.Join(infos[0].Problems, ""), string(old)) {
		t.Errorf("list: %+v, %v", infos, err)
	}
	if nodes, err := backend.As(old.Owner()).List(ctx, "demo"); err != nil || len(nodes) != 2 {
		t.Errorf("nodes of the old place: %v, %v", nodes, err)
	}
	if existed, err := b.Down(ctx, "demo"); !existed || err != nil {
		t.Fatalf("down: %t, %s", existed, describe(err))
	}
	if nodes, err := backend.As(old.Owner()).List(ctx, ""); err != nil || len(nodes) != 0 {
		t.Errorf("nodes left: %v, %v", nodes, err)
	}
	if !old.Gone() {
		t.Errorf("%s is back", old)
	}
	b.mustUp(t, request(1))
}

// A home that exists again in the old place keeps what belongs to it.
func TestMovedHomeAndAnotherInItsPlace(t *testing.T) {
	b, backend, old := movedBench(t)
	b.mustUp(t, request(1))
	b.move(t, backend)
	must(t, os.Mkdir(string(old), 0o700))
	if text := describe(b.Stop(t.Context(), "demo")); !strings.Contains(text, "KL_HOME="+string(old)+" kl down --name demo") {
		t.Errorf("stop: %s", text)
	}
	if _, err := b.Down(t.Context(), "demo"); err != nil {
		t.Fatal(describe(err))
	}
	if nodes, err := backend.As(old.Owner()).List(t.Context(), ""); err != nil || len(nodes) != 1 {
		t.Errorf("nodes of %s: %v, %v", old, nodes, err)
	}
}

// A copy owns nothing of the original, and a cluster without real nodes can be moved while it is off.
func TestCopiedHomeAndMovedPlane(t *testing.T) {
	b, backend, old := movedBench(t)
	b.mustUp(t, request(1))
	l := b.Home.Cluster("demo")
	must(t, b.Stop(t.Context(), "demo"))
	must(t, os.CopyFS(string(old)+"-copy", os.DirFS(string(old))))
	if from := cluster.MovedFrom(cluster.Home(string(old) + "-copy").Cluster("demo")); from != "" {
		t.Errorf("a copy was moved from %s", from)
	}
	must(t, os.RemoveAll(string(old)+"-copy"))
	must(t, os.Remove(l.Dir()+"/origin.json")) // of an earlier kl
	b.mustUp(t, request(1))
	if _, err := os.Stat(l.Dir() + "/origin.json"); err != nil {
		t.Error(err)
	}
	_, err := b.Down(t.Context(), "demo")
	must(t, err)

	b.mustUp(t, request(0))
	b.move(t, backend)
	if err := b.Stop(t.Context(), "demo"); err == nil || !strings.Contains(err.Error(), "was moved here") {
		t.Errorf("stop of a control plane that runs: %v", err)
	}
	must(t, os.Rename(string(b.Home), string(old)))
	b.Home = old
	must(t, b.Stop(t.Context(), "demo"))
	b.move(t, backend)
	b.mustUp(t, request(0))
	if from := cluster.MovedFrom(b.Home.Cluster("demo")); from != "" {
		t.Errorf("after up it still belongs to %s", from)
	}
}

// What a home that was removed has left goes with down, which leaves no new home behind.
func TestDownOfAHomeThatIsGone(t *testing.T) {
	b, backend, old := movedBench(t)
	_, err := backend.As(old.Owner()).Create(t.Context(), cluster.NodeSpec{Cluster: "demo", Name: "n1", Payload: cluster.Payload{SHA: "abc"}})
	must(t, err)
	if existed, err := b.Down(t.Context(), "demo"); !existed || err != nil {
		t.Errorf("down: %t, %v", existed, err)
	}
	if !old.Gone() {
		t.Errorf("down made %s", old)
	}
}
