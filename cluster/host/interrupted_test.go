package host_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/clustertest"
	"github.com/klkube/kl/cluster/host"
	"github.com/klkube/kl/cluster/statefile"
)

// A command that was killed half-way, given again, does the rest.

func TestNodeRemoveAfterAnInterruptedOne(t *testing.T) {
	b := newBench(t)
	b.mustUp(t, request(2))
	run := b.Kubectl
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	b.Kubectl = func(_ context.Context, l cluster.Layout, out io.Writer, args ...string) error {
		if args[0] == "delete" {
			cancel()
			return errors.New("interrupted")
		}
		return run(ctx, l, out, args...)
	}
	if err := b.RemoveNode(ctx, "demo", "n2", host.RemoveOptions{}); err == nil {
		t.Fatal("an interrupted removal succeeds")
	}
	b.Kubectl, b.kubectl = run, nil
	must(t, b.RemoveNode(t.Context(), "demo", "n2", host.RemoveOptions{}))
	if want := []string{"delete node n2 --ignore-not-found"}; !slices.Equal(b.kubectl, want) {
		t.Errorf("kubectl ran %q, want %q: nothing can be drained any more", b.kubectl, want)
	}
	spec, err := cluster.ReadSpec(b.Home.Cluster("demo"))
	if err != nil || !slices.Equal(spec.NodeNames(), []string{"n1"}) {
		t.Errorf("cluster.yaml has %v, %v", spec.NodeNames(), err)
	}
	b.mustUp(t, request(-1))
	b.expectStates(t, "n1 Running")
	var e *cluster.Error
	if err := b.RemoveNode(t.Context(), "demo", "n2", host.RemoveOptions{}); !errors.As(err, &e) || e.Node != "n2" {
		t.Errorf("removing it once more: %v", err)
	}
}

func TestNodeAddAfterAnInterruptedOne(t *testing.T) {
	b := newBench(t)
	b.mustUp(t, request(1))
	l := b.Home.Cluster("demo")
	spec, err := cluster.ReadSpec(l)
	must(t, err)
	spec.Nodes = append(spec.Nodes, cluster.NodeGroup{Count: 2, Names: []string{"big", "small"}})
	must(t, cluster.WriteSpec(l, spec)) // all that an add has done by then
	group := cluster.NodeGroup{Count: 1, Names: []string{"big"}, CPUs: "1"}
	names, err := b.AddNodes(t.Context(), "demo", group, host.UpOptions{Timeout: time.Minute})
	if err != nil || !slices.Equal(names, []string{"big"}) {
		t.Fatalf("added %v, %s", names, describe(err))
	}
	b.expectStates(t, "n1 Running", "big Running", "small Running")
	nodes, err := b.fake.List(t.Context(), "demo")
	must(t, err)
	if nodes[1].MilliCPUs != 1000 {
		t.Errorf("big is %+v, want what the second command asked for", nodes[1])
	}
}

// A kl up that was killed while it wrote the first file of a cluster is no obstacle to the next one.
func TestUpAfterAnInterruptedOne(t *testing.T) {
	b := newBench(t)
	l := b.Home.Cluster("demo")
	must(t, os.MkdirAll(l.Dir(), 0o700))
	temp := filepath.Join(l.Dir(), ".cluster.yaml-"+strings.Repeat("A", 26))
	must(t, os.WriteFile(temp, []byte("kind: Clu"), 0o600))
	if !statefile.Temporary(filepath.Base(temp)) {
		t.Fatalf("%s is not the name of a temporary file", temp)
	}
	b.mustUp(t, request(1))
	if _, err := os.Stat(temp); err == nil {
		t.Errorf("%s is left", temp)
	}
}

// A kl stop that was killed once the control plane had been told to end: kl start does not wait for what is ending.
func TestStartAfterAnInterruptedStop(t *testing.T) {
	b := newBench(t)
	b.mustUp(t, request(1))
	l := b.Home.Cluster("demo")
	pid := planePID(t, b)
	must(t, syscall.Kill(pid, syscall.SIGSTOP)) // it takes long to end
	supervision, _, err := cluster.ReadSupervision(l)
	must(t, err)
	must(t, syscall.Kill(supervision.PID, syscall.SIGTERM))
	for supervision.State != cluster.SupervisionStopping {
		if supervision, _, err = cluster.ReadSupervision(l); err != nil || t.Context().Err() != nil {
			t.Fatal(supervision, err)
		}
	}
	_, err = b.Start(t.Context(), "demo", host.UpOptions{Timeout: time.Minute})
	must(t, err)
	if now := planePID(t, b); now == pid || now == 0 {
		t.Errorf("the control plane is process %d, and was %d", now, pid)
	}
}

// A node whose stop was interrupted may be about to end: it is stopped after all before it is started.
func TestNodeStartAfterAnInterruptedStop(t *testing.T) {
	for name, start := range map[string]func(b *bench) error{
		"kl start": func(b *bench) error {
			return second(b.Start(t.Context(), "demo", host.UpOptions{Timeout: time.Minute}))
		},
		"kl node start": func(b *bench) error { return b.StartNode(t.Context(), "demo", "n1") },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.mustUp(t, request(2))
			must(t, os.WriteFile(b.Home.Cluster("demo").NodeStoppedFile("n1"), nil, 0o600)) // the stop has come this far
			before := len(b.fake.History())
			must(t, start(b))
			if did := b.fake.History()[before:]; !slices.Equal(did, []string{"stop demo/n1", "start demo/n1"}) {
				t.Errorf("the driver did %q", did)
			}
			b.expectStates(t, "n1 Running", "n2 Running")
		})
	}
}

// slowEngine makes a node that somebody else has asked for, and whose name is taken then.
type slowEngine struct{ *clustertest.Fake }

func (e slowEngine) Create(ctx context.Context, spec cluster.NodeSpec) (cluster.Node, error) {
	n, err := e.Fake.Create(ctx, spec)
	if err != nil {
		return n, err
	}
	return cluster.Node{}, errors.Join(cluster.ErrNodeExists, e.Kill(ctx, n)) // made, and not started yet
}

// An engine goes on with what a kl up that was killed asked for: the node comes into being while the next one makes it.
func TestUpWhileAnEngineMakesTheNode(t *testing.T) {
	b := newBench(t)
	b.OpenDriver = func(context.Context, cluster.DriverName) (cluster.Driver, error) { return slowEngine{b.fake}, nil }
	l := b.Home.Cluster("demo")
	b.mustUp(t, request(2))
	b.expectStates(t, "n1 Running", "n2 Running")
	nodes, err := b.fake.List(t.Context(), "demo")
	must(t, err)
	for _, n := range nodes {
		if id, err := cluster.ReadNodeIdentity(l, n.Name); err != nil || id.Address.String() != n.IP {
			t.Errorf("the cluster knows %s by %+v, %v; want address %s", n.Name, id, err, n.IP)
		}
	}
}

// A node that an engine makes for a command that was killed has read the token of that command.
func TestIdentityOutlivesAnInterruptedUp(t *testing.T) {
	b := newBench(t)
	l := b.Home.Cluster("demo")
	b.mustUp(t, request(1))
	must(t, cluster.WriteNodeIdentity(l, "n2", cluster.NodeIdentity{Token: "of the command that was killed"}))
	b.mustUp(t, request(2))
	if id, err := cluster.ReadNodeIdentity(l, "n2"); err != nil || id.Token != "of the command that was killed" || !id.Address.IsValid() {
		t.Errorf("n2 is known by %+v, %v", id, err)
	}
}

func second(_ *host.Result, err error) error { return err }
