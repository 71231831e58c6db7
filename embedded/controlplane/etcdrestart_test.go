package controlplane

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/klkube/kl/cluster"
)

// TestEtcdRestarts starts etcd over a log that it has to apply again. An election in the middle of that made raft panic.
func TestEtcdRestarts(t *testing.T) {
	if testing.Short() {
		t.Skip("starts etcd")
	}
	l, spec := newCluster(t, shortDir(t), func(*cluster.Spec) {})
	f, err := writeFiles(l, spec)
	if err != nil {
		t.Fatal(err)
	}
	run := func(use func(*clientv3.Client)) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		e := &etcd{layout: l, files: f, spec: spec, logger: zap.NewNop()}
		err := e.Run(ctx, func() {
			client, err := clientv3.New(clientv3.Config{Endpoints: []string{"unix://" + l.EtcdSocket()}, Logger: zap.NewNop()})
			if err != nil {
				t.Error(err)
			} else {
				use(client)
				client.Close()
			}
			cancel()
		})
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("Run() = %v, want a clean stop", err)
		}
	}
	const keys = 400 // etcd compacts its log every hundred entries
	run(func(c *clientv3.Client) {
		for i := range keys {
			if _, err := c.Put(t.Context(), fmt.Sprint(i), "v"); err != nil {
				t.Fatal(err)
			}
		}
	})
	for range 100 {
		run(func(c *clientv3.Client) {
			if got, err := c.Get(t.Context(), "0", clientv3.WithFromKey(), clientv3.WithCountOnly()); err != nil || got.Count != keys {
				t.Errorf("%d keys, %v, want %d", got.Count, err, keys)
			}
		})
	}
}
