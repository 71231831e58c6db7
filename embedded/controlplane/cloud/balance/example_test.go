package balance_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/latest"
	"github.com/klkube/kl/embedded/controlplane/cloud/balance"
	"github.com/klkube/kl/embedded/tunnel"
)

func Example() {
	factory := informers.NewSharedInformerFactory(fake.NewClientset(), 0)
	nodes, services := factory.Core().V1().Nodes(), factory.Core().V1().Services()
	changed := latest.New(struct{}{})
	addresses := balance.NewAddresses(nodes.Lister(), services.Lister(), func() { changed.Set(struct{}{}) })

	b := balance.New(balance.Options{
		Layout: cluster.Home("/home/me/.kl").Cluster("dev"), Hub: &tunnel.Hub{}, Addresses: addresses, Changed: changed,
		Nodes: nodes.Lister(), Services: services.Lister(), Slices: factory.Discovery().V1().EndpointSlices().Lister(),
		Logger: slog.Default(),
	})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	fmt.Println(b.Run(ctx)) // assigns the addresses to nodes until ctx is done

	_, err := addresses.Assign(&corev1.Service{}, netip.Addr{})
	fmt.Println(err)
	// Output:
	// context canceled
	// the cluster has no nodes, and addresses are of the nodes' network
}
