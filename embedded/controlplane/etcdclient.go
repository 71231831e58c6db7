package controlplane

import (
	"context"
	"sync"
	"time"
	_ "unsafe" // for go:linkname

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"google.golang.org/grpc"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/feature"
	"k8s.io/apiserver/pkg/storage/storagebackend"
)

// newETCD3Client is how the API server makes clients of etcd: one for each resource, and each with a connection of its own. That was seventy
// gRPC connections from this process to itself, with buffers, a dozen goroutines and a ping every half a minute each. Upstream has no other
// way to replace it. It is nil, and nothing can be replaced, if upstream has renamed it: TestPlane finds out.
//
//go:linkname newETCD3Client k8s.io/apiserver/pkg/storage/storagebackend/factory.newETCD3Client
var newETCD3Client func(storagebackend.TransportConfig) (*kubernetes.Client, error) //nolint:gochecknoglobals // it is upstream's

// shareEtcd has the clients that the API server makes of the cluster's etcd share one connection, until stop is called. Each resource has a client of
// its own still: what it asks for on its stream of watches does not disturb another's.
//
// They could call the server in this process, without a connection, as etcd's package v3client does. Then its watches bring events faster
// than the API server passes them on when a thousand nodes start, and it ends the watches of its clients, who begin again.
func shareEtcd(ctx context.Context) (stop func()) {
	if newETCD3Client == nil {
		return func() {}
	}
	dial := newETCD3Client
	var mu sync.Mutex
	var shared *kubernetes.Client // nil until the first is made
	newETCD3Client = func(c storagebackend.TransportConfig) (*kubernetes.Client, error) {
		mu.Lock()
		defer mu.Unlock()
		if shared == nil {
			made, err := dial(c)
			if err != nil {
				return nil, err
			}
			shared = made
			// Upstream asks every address of a client, once, and a client without a connection of its own has none.
			feature.DefaultFeatureSupportChecker.CheckClient(ctx, shared.Client, storage.RequestWatchProgress)
		}
		return etcdClient(ctx, shared.ActiveConnection()), nil
	}
	return func() {
		mu.Lock()
		defer mu.Unlock()
		newETCD3Client = dial
		if shared != nil {
			_ = shared.Close() // the process ends next
		}
	}
}

// etcdClient makes a client that uses a connection. Closing it leaves the connection open, and it outlives ctx, as the requests do that the
// API server still answers when it is told to stop.
func etcdClient(ctx context.Context, conn *grpc.ClientConn) *kubernetes.Client {
	c := clientv3.NewCtxClient(context.WithoutCancel(ctx))
	c.KV = clientv3.NewKVFromKVClient(etcdserverpb.NewKVClient(conn), c)
	c.Lease = clientv3.NewLeaseFromLeaseClient(etcdserverpb.NewLeaseClient(conn), c, time.Second)
	c.Watcher = clientv3.NewWatchFromWatchClient(etcdserverpb.NewWatchClient(conn), c)
	c.Maintenance = clientv3.NewMaintenanceFromMaintenanceClient(etcdserverpb.NewMaintenanceClient(conn), c)
	k := &kubernetes.Client{Client: c}
	k.Kubernetes = k
	return k
}
