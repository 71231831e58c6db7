package native_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/native"
)

func ExampleNew() {
	ctx := context.Background()
	d, err := native.New(ctx, native.Options{Home: "/root/.kl"})
	if errors.Is(err, cluster.ErrNoEngine) {
		fmt.Println("this is not Linux, or the user is not root")
		return
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	defer d.Close()
	n, err := d.Create(ctx, cluster.NodeSpec{
		Cluster: "kl", Name: "n1", TunnelDir: "/root/.kl/clusters/kl/run/tunnel", NodeDir: "/root/.kl/clusters/kl/nodes/n1",
		Payload: cluster.Payload{SHA: "…", Rootfs: "/root/.kl/payload/…/rootfs", Runc: "/root/.kl/payload/…/rootfs/usr/local/bin/runc"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(n.Name, n.IP, n.State)
}
