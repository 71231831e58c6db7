package controlplane

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/klkube/kl/cluster"
)

// spaceEtcd is an etcd that does not sync, with a quota in bytes; 0 means etcd's own. What it reports is in reports.
func spaceEtcd(t *testing.T, quota int) (e *etcd, reports func() []string) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts etcd")
	}
	l, spec := newCluster(t, shortDir(t), func(s *cluster.Spec) {
		s.Ephemeral = true
		s.Kubernetes.ExtraArgs = map[string]map[string]string{string(cluster.Etcd): {"quota-backend-bytes": fmt.Sprint(quota)}}
	})
	f, err := writeFiles(l, spec)
	if err != nil {
		t.Fatal(err)
	}
	e = &etcd{layout: l, files: f, spec: spec, logger: zap.NewNop()}
	var mu sync.Mutex
	var all []string
	e.Report(func(err error) {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, fmt.Sprint(err))
	})
	return e, func() []string { mu.Lock(); defer mu.Unlock(); return append([]string(nil), all...) }
}

// soon fails the test unless done returns true soon.
func soon(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(30 * time.Second); !done(); {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("%s: not within 30 s", what)
		}
	}
}

// fillQuota writes until etcd has no room, to as many keys.
func fillQuota(ctx context.Context, t *testing.T, c *clientv3.Client, keys int) {
	t.Helper()
	value := strings.Repeat("v", 256<<10)
	for i := range 1000 {
		_, err := c.Put(ctx, fmt.Sprintf("k%d", i%keys), value)
		if errors.Is(err, rpctypes.ErrNoSpace) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("etcd took more than its quota")
}

// Old versions of objects use up the quota: etcd accepts writes again by itself, and nothing current is lost.
func TestEtcdRecoversFromHistory(t *testing.T) {
	e, _ := spaceEtcd(t, 16<<20)
	runEtcd(t, e, func(c *clientv3.Client) {
		if _, err := c.Put(t.Context(), "precious", "kept"); err != nil {
			t.Fatal(err)
		}
		fillQuota(t.Context(), t, c, 4)
		soon(t, "writes are accepted", func() bool { _, err := c.Put(t.Context(), "new", "1"); return err == nil })
		got, err := c.Get(t.Context(), "precious")
		if err != nil || len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "kept" {
			t.Errorf("precious is %v, %v", got, err)
		}
		if all, err := c.Get(t.Context(), "k", clientv3.WithPrefix(), clientv3.WithCountOnly()); err != nil || all.Count != 4 {
			t.Errorf("%v (%v), want 4 keys", all, err)
		}
		status, err := c.Status(t.Context(), c.Endpoints()[0])
		if err != nil || status.DbSize > 8<<20 || len(status.Errors) > 0 {
			t.Errorf("the database has %d bytes, %q, %v; want a small one without an alarm", status.DbSize, status.Errors, err)
		}
	})
}

// The objects themselves use up the quota: that is said, and etcd accepts writes once enough is deleted, which it allows.
func TestEtcdRecoversFromDeletion(t *testing.T) {
	e, reports := spaceEtcd(t, 16<<20)
	runEtcd(t, e, func(c *clientv3.Client) {
		fillQuota(t.Context(), t, c, 1000)
		i := 0
		soon(t, "the problem is reported", func() bool {
			i++ // etcd may have found some room, by defragmenting
			if _, err := c.Put(t.Context(), fmt.Sprintf("kmore%d", i), strings.Repeat("v", 256<<10)); err != nil && !errors.Is(err, rpctypes.ErrNoSpace) {
				t.Fatal(err)
			}
			return strings.Contains(strings.Join(reports(), "\n"), "MB of at most 16; delete some")
		})
		if _, err := c.Put(t.Context(), "new", "1"); !errors.Is(err, rpctypes.ErrNoSpace) {
			t.Errorf("put while there is no room: %v, want ErrNoSpace", err)
		}
		if _, err := c.Delete(t.Context(), "k", clientv3.WithPrefix()); err != nil {
			t.Fatal(err)
		}
		soon(t, "writes are accepted", func() bool { _, err := c.Put(t.Context(), "new", "1"); return err == nil })
		soon(t, "the problem is over", func() bool { all := reports(); return all[len(all)-1] == "<nil>" })
	})
}

// A database of which most was deleted shrinks while it serves.
func TestEtcdShrinks(t *testing.T) {
	e, _ := spaceEtcd(t, 0)
	runEtcd(t, e, func(c *clientv3.Client) {
		value := string(bytes.Repeat([]byte("v"), 1<<20))
		for i := range minDefragSize>>20 + 2 {
			if _, err := c.Put(t.Context(), fmt.Sprintf("k%d", i), value); err != nil {
				t.Fatal(err)
			}
		}
		size := func() int64 {
			status, err := c.Status(t.Context(), c.Endpoints()[0])
			if err != nil {
				t.Fatal(err)
			}
			return status.DbSize
		}
		soon(t, "all of it is in the database", func() bool { return size() >= minDefragSize })
		gone, err := c.Delete(t.Context(), "k1", clientv3.WithFromKey())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Compact(t.Context(), gone.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
			t.Fatal(err)
		}
		soon(t, "the database is small", func() bool {
			if _, err := c.Put(t.Context(), "j", "1"); err != nil { // a cluster always writes something: see count
				t.Fatal(err)
			}
			return size() < 8<<20
		})
		if all, err := c.Get(t.Context(), "k0"); err != nil || all.Count != 1 {
			t.Errorf("%v (%v), want one key", all, err)
		}
	})
}

// A database that is large with old versions of objects shrinks when etcd starts: nothing else may ever compact it.
func TestEtcdForgetsHistoryAtStart(t *testing.T) {
	e, _ := spaceEtcd(t, 0)
	size := func(c *clientv3.Client) int64 {
		status, err := c.Status(t.Context(), c.Endpoints()[0])
		if err != nil {
			t.Fatal(err)
		}
		return status.DbSize
	}
	value := strings.Repeat("v", 1<<20)
	runEtcd(t, e, func(c *clientv3.Client) {
		for i := range minDefragSize>>20 + 2 {
			if _, err := c.Put(t.Context(), "k", fmt.Sprint(i)+value); err != nil {
				t.Fatal(err)
			}
		}
		soon(t, "all of it is in the database", func() bool { return size(c) >= minDefragSize })
	})
	runEtcd(t, e, func(c *clientv3.Client) {
		soon(t, "the database is small", func() bool { return size(c) < 8<<20 })
		got, err := c.Get(t.Context(), "k")
		if err != nil || len(got.Kvs) != 1 || string(got.Kvs[0].Value) != fmt.Sprint(minDefragSize>>20+1)+value {
			t.Errorf("the last version is lost: %d keys, %v", len(got.Kvs), err)
		}
	})
}
