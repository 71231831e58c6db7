package controlplane

import (
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/quorum"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
	"go.uber.org/zap"

	"github.com/klkube/kl/cluster"
)

// TestElectable has a member stand for election only once nothing of its log is left to be applied.
func TestElectable(t *testing.T) {
	voters := func(ids ...uint64) tracker.Config {
		m := quorum.MajorityConfig{}
		for _, id := range ids {
			m[id] = struct{}{}
		}
		return tracker.Config{Voters: quorum.JointConfig{m}}
	}
	for name, tt := range map[string]struct {
		config          tracker.Config
		applied, commit uint64
		want            bool
	}{
		"first start":                   {voters(1), 1, 1, true},
		"log is applied":                {voters(1), 400, 400, true},
		"log is not applied":            {voters(1), 0, 400, false},
		"last entry is not applied":     {voters(1), 399, 400, false},
		"nothing known":                 {voters(1), 0, 0, false},
		"member is not in the log yet":  {voters(), 1, 1, false},
		"data of several members":       {voters(1, 2), 400, 400, false},
		"data of another single member": {voters(2), 400, 400, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := raft.Status{Config: tt.config}
			s.ID, s.Applied, s.HardState = 1, tt.applied, &raftpb.HardState{Commit: &tt.commit}
			if got := electable(s); got != tt.want {
				t.Errorf("electable() = %t, want %t", got, tt.want)
			}
		})
	}
}

// TestEtcdLeadsAtOnce starts etcd on new data and on its own: it serves long before an election timeout has passed, and its ticks, which
// wake the process for as long as it runs, are rarer than upstream's.
func TestEtcdLeadsAtOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("starts etcd")
	}
	l, spec := newCluster(t, shortDir(t), func(*cluster.Spec) {})
	f, err := writeFiles(l, spec)
	if err != nil {
		t.Fatal(err)
	}
	e := &etcd{layout: l, files: f, spec: spec, logger: zap.NewNop()}
	c, err := e.config()
	if err != nil {
		t.Fatal(err)
	}
	if c.TickMs <= embed.NewConfig().TickMs {
		t.Errorf("a tick every %d ms", c.TickMs)
	}
	fastest := time.Hour // of several, since a busy machine delays one
	for range 5 {
		began := time.Now()
		runEtcd(t, e, func(*clientv3.Client) { fastest = min(fastest, time.Since(began)) })
	}
	if fastest > time.Second {
		t.Errorf("the fastest start took %v, an election timeout is %d ms", fastest, c.ElectionMs)
	}
}
