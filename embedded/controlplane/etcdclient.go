package controlplane

import (
	"context"
	"errors"
	_ "unsafe" // for go:linkname

	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/feature"
	"k8s.io/apiserver/pkg/storage/storagebackend"
)

// newETCD3Client is how the API server makes clients of etcd: one for each resource, and each with a connection of its own. That was seventy
// gRPC connections from this process to itself, with a dozen goroutines and a ping every half a minute each. Upstream has no other way to
// replace it. It is nil, and nothing can be replaced, if upstream has renamed it: TestEtcdInProcess finds out.
//
//go:linkname newETCD3Client k8s.io/apiserver/pkg/storage/storagebackend/factory.newETCD3Client
var newETCD3Client func(storagebackend.TransportConfig) (*kubernetes.Client, error)

// errNoEtcd is what the API server gets before etcd serves and after it has ended.
var errNoEtcd = errors.New("etcd does not serve")

// callEtcd has the API servers of this process call the etcd server that store has, instead of connecting to a socket. Each resource has a
// client of its own still, as upstream: what it asks for on its stream of watches does not disturb another's.
func callEtcd(ctx context.Context, store *etcdStore) {
	if newETCD3Client == nil {
		return
	}
	newETCD3Client = func(storagebackend.TransportConfig) (*kubernetes.Client, error) {
		server := store.Load()
		if server == nil {
			return nil, errNoEtcd
		}
		return etcdClient(server), nil
	}
	if server := store.Load(); server != nil {
		// Upstream asks every address of a client, once, and a client without a connection has none.
		feature.DefaultFeatureSupportChecker.CheckClient(ctx, addressed{etcdClient(server)}, storage.RequestWatchProgress)
	}
}

// etcdClient makes a client that calls a server in this process. Closing it does nothing to the server.
func etcdClient(server *etcdserver.EtcdServer) *kubernetes.Client {
	c := &kubernetes.Client{Client: v3client.New(server)}
	c.Kubernetes = c
	return c
}

// addressed is a client with an address.
type addressed struct{ *kubernetes.Client }

func (addressed) Endpoints() []string { return []string{"in this process"} }
