package controlplane

import (
	"context"
	"errors"
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
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		e := &etcd{layout: l, files: f, spec: spec, logger: zap.NewNop()}
		if c, err := e.config(); err != nil || c.QuotaBackendBytes != 123456789 || c.UnsafeNoFsync {
			t.Fatalf("config() = %+v, %v", c, err)
		}
		served := false
		err := e.Run(ctx, func() {
			served = true
			client, err := clientv3.New(clientv3.Config{Endpoints: []string{"unix://" + l.EtcdSocket()}, Logger: zap.NewNop()})
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
		if _, err := os.Stat(l.EtcdSocket()); err == nil {
			t.Error("the socket is still there")
		}
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

func TestEtcdRefusesUnknownFlags(t *testing.T) {
	spec := cluster.Spec{Kubernetes: cluster.Kubernetes{ExtraArgs: map[string]map[string]string{string(cluster.Etcd): {"nonsense": "1"}}}}
	err := (&etcd{spec: spec}).Run(t.Context(), func() { t.Error("ready") })
	if err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("Run() = %v", err)
	}
}
