package host_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/clustertest"
	"github.com/klkube/kl/cluster/host"
)

// beside returns a bench on the same backend with a home of its own.
func (b *bench) beside(t *testing.T) *bench {
	t.Helper()
	other := newBench(t)
	other.fake = b.fake.As(string(other.Home))
	other.fake.Changed = clustertest.Running(other.Home)
	return other
}

// TestTwoHomesHaveAClusterOfOneName checks that no verb of one home touches the cluster of that name in the other.
func TestTwoHomesHaveAClusterOfOneName(t *testing.T) {
	a := newBench(t)
	b := a.beside(t)
	a.mustUp(t, request(2))
	before := a.fake.Dump()
	unchanged := func(after string) {
		t.Helper()
		if now := a.fake.Dump(); now != before {
			t.Errorf("after %s the other home has\n%s, not\n%s", after, now, before)
		}
	}
	if existed, err := b.Down(t.Context(), "demo"); err != nil || existed {
		t.Errorf("down of what another home has: %v, %v", existed, err)
	}
	unchanged("down")
	b.fake.Hook = func(_ context.Context, op string, _ cluster.Node) error {
		if op == "create" {
			return errors.New("no space left on device")
		}
		return nil
	}
	if _, err := b.Up(t.Context(), request(1), host.UpOptions{Timeout: time.Minute}); err == nil {
		t.Error("an up that cannot make its node succeeded")
	}
	unchanged("a failed up")
	b.fake.Hook = nil
	b.mustUp(t, request(1))
	if info, err := b.Inspect(t.Context(), "demo"); err != nil || len(info.Nodes) != 1 {
		t.Errorf("the second home lists %v, %v", info.Nodes, err)
	}
	if err := b.Stop(t.Context(), "demo"); err != nil {
		t.Error(err)
	}
	unchanged("stop")
	if _, err := b.Down(t.Context(), "demo"); err != nil {
		t.Error(err)
	}
	if err := b.Purge(t.Context(), b.Drivers); err != nil {
		t.Error(err)
	}
	unchanged("down --all")
	b.checkGone(t)
}
