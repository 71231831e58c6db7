package controlplane

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/klkube/kl/cluster"
)

// TestEtcd starts etcd twice over one directory: it serves on its socket, keeps what was written, and has let go of
// everything when Run has returned.
func TestEtcd(t *testing.T) {
	if testing.Short() {
		t.Skip("starts etcd")
	}
	home := shortDir(t)
	l, spec := newCluster(t, home, func(s *cluster.Spec) {
		s.Kubernetes.ExtraArgs = map[string]map[string]string{string(cluster.Etcd): {"quota-backend-bytes": "123456789"}}
	})
	f, err := writeFiles(l, spec)
	if err != nil {
		t.Fatal(err)
	}
	run := func(use func(*clientv3.Client)) {
		e := &etcd{layout: l, files: f, spec: spec, logger: zap.NewNop()}
		if c, err := e.config(); err != nil || c.QuotaBackendBytes != 123456789 || c.UnsafeNoFsync {
			t.Fatalf("config() = %+v, %v", c, err)
		}
		runEtcd(t, e, use)
	}
	run(func(c *clientv3.Client) {
		if _, err := c.Put(t.Context(), "a", "b"); err != nil {
			t.Error(err)
		}
	})
	run(func(c *clientv3.Client) {
		if got, err := c.Get(t.Context(), "a"); err != nil || len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "b" {
			t.Errorf("get = %v, %v", got, err)
		}
	})
}

// runEtcd starts etcd, hands over a client, and checks that etcd ends cleanly when it is told to.
func runEtcd(t *testing.T, e *etcd, use func(*clientv3.Client)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	served := false
	err := e.Run(ctx, func() {
		served = true
		client, err := clientv3.New(clientv3.Config{Endpoints: []string{"unix://" + e.layout.EtcdSocket()}, Logger: zap.NewNop()})
		if err != nil {
			t.Error(err)
		} else {
			use(client)
			client.Close()
		}
		cancel()
	})
	if !served || !errors.Is(err, context.Canceled) {
		t.Fatalf("Run() = %v, served %t; want a clean stop", err, served)
	}
	if _, err := os.Stat(e.layout.EtcdSocket()); err == nil {
		t.Error("the socket is still there")
	}
}

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
		runEtcd(t, &etcd{layout: l, files: f, spec: spec, logger: zap.NewNop()}, use)
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

func TestEtcdRefusesUnknownFlags(t *testing.T) {
	spec := cluster.Spec{Kubernetes: cluster.Kubernetes{ExtraArgs: map[string]map[string]string{string(cluster.Etcd): {"nonsense": "1"}}}}
	err := (&etcd{spec: spec}).Run(t.Context(), func() { t.Error("ready") })
	if err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("Run() = %v", err)
	}
}
