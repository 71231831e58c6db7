package clustertest_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/clustertest"
)

func ExampleFake() {
	ctx := context.Background()
	fake := clustertest.NewFake()
	fake.Hook = func(_ context.Context, op string, n cluster.Node) error {
		if op == "create" && n.Name == "n2" {
			return errors.New("no space left on device")
		}
		return nil
	}
	for _, name := range []string{"n1", "n2"} {
		if _, err := fake.Create(ctx, cluster.NodeSpec{Cluster: "demo", Name: name, Payload: cluster.Payload{SHA: "abc"}}); err != nil {
			fmt.Println(err)
		}
	}
	fmt.Print(fake.Dump())
	// Output:
	// create demo/n2: no space left on device
	// image abc
	// network kl-demo 172.30.0.0/24
	// node demo/n1 Running 172.30.0.2
}
