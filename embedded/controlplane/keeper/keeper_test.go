package keeper

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/clustertest"
	"github.com/klkube/kl/cluster/latest"
)

type bench struct {
	*Keeper
	fake      *clustertest.Fake
	fail      atomic.Bool  // starts fail
	tries     atomic.Int32 // starts that failed
	connected *latest.Value[[]string]
	node      cluster.Node
}

// run starts a keeper over one connected node n1 and calls f in a synctest bubble.
func run(t *testing.T, f func(t *testing.T, b *bench)) {
	layout := cluster.Home(t.TempDir()).Cluster("demo")
	if err := os.MkdirAll(layout.NodeDir("n1"), 0o700); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		b := &bench{fake: clustertest.NewFake(), connected: latest.New([]string{"n1"})}
		b.Keeper = &Keeper{
			Layout: layout, Connected: b.connected.Get, Logger: slog.New(slog.DiscardHandler),
			Open: func(context.Context) (cluster.Driver, error) { return b.fake, nil },
		}
		b.fake.Hook = func(_ context.Context, op string, _ cluster.Node) error {
			if op != "start" || !b.fail.Load() {
				return nil
			}
			b.tries.Add(1)
			return errors.New("no memory")
		}
		var err error
		b.node, err = b.fake.Create(t.Context(), cluster.NodeSpec{Cluster: "demo", Name: "n1", NodeDir: layout.NodeDir("n1")})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- b.Run(ctx, func() {}) }()
		synctest.Wait() // it has seen n1
		f(t, b)
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	})
}

func (b *bench) kill(t *testing.T) {
	t.Helper()
	if err := b.fake.Kill(t.Context(), b.node); err != nil {
		t.Fatal(err)
	}
	b.connected.Set(nil)
}

func (b *bench) state(t *testing.T) cluster.NodeState {
	t.Helper()
	nodes, err := b.fake.List(t.Context(), "demo")
	if err != nil || len(nodes) != 1 {
		t.Fatalf("list: %v, %v", nodes, err)
	}
	return nodes[0].State
}

func TestAKilledNodeIsStarted(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.kill(t)
		time.Sleep(grace + time.Second)
		if s := b.state(t); s != cluster.NodeRunning {
			t.Errorf("node is %s", s)
		}
	})
}

func TestANodeThatNeverConnectedIsStarted(t *testing.T) {
	layout := cluster.Home(t.TempDir()).Cluster("demo")
	if err := os.MkdirAll(layout.NodeDir("n1"), 0o700); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		b := &bench{fake: clustertest.NewFake(), connected: latest.New([]string(nil))}
		b.Keeper = &Keeper{
			Layout: layout, Connected: b.connected.Get, Logger: slog.New(slog.DiscardHandler),
			Open: func(context.Context) (cluster.Driver, error) { return b.fake, nil },
		}
		var err error
		if b.node, err = b.fake.Create(t.Context(), cluster.NodeSpec{Cluster: "demo", Name: "n1", NodeDir: layout.NodeDir("n1")}); err != nil {
			t.Fatal(err)
		}
		if err := b.fake.Kill(t.Context(), b.node); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- b.Run(ctx, func() {}) }()
		time.Sleep(firstCheck + time.Second)
		if s := b.state(t); s != cluster.NodeRunning {
			t.Errorf("node is %s %s after the start", s, firstCheck+time.Second)
		}
		cancel()
		<-done
	})
}

func TestANodeThatWasStoppedOnPurposeStaysOff(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		if err := os.WriteFile(b.Layout.NodeStoppedFile("n1"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		b.kill(t)
		time.Sleep(10 * interval)
		if s := b.state(t); s != cluster.NodeStopped {
			t.Errorf("node is %s", s)
		}
	})
}

func TestTheEngineIsNotAskedWhileAllNodesAreConnected(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.Open = func(context.Context) (cluster.Driver, error) {
			t.Error("the driver was opened")
			return b.fake, nil
		}
		time.Sleep(10 * interval)
	})
}

func TestAttemptsToStartANodeBackOff(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.fail.Store(true)
		b.kill(t)
		time.Sleep(5 * time.Minute)
		if starts := b.tries.Load(); starts < 8 || starts > 12 { // 1+2+4+8+16+32+60+60+60+… seconds
			t.Errorf("%d attempts in five minutes", starts)
		}
		b.fail.Store(false)
		time.Sleep(2 * maxBackOff)
		if s := b.state(t); s != cluster.NodeRunning {
			t.Errorf("node is %s", s)
		}
	})
}
