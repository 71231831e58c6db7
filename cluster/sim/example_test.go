package sim_test

import (
	"context"
	"fmt"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/klkube/kl/cluster/sim"
)

func ExampleDriver_Scale() {
	ctx := context.Background()
	api := fake.NewClientset()
	d := sim.New(sim.Options{
		Connect:  func(context.Context, string) (kubernetes.Interface, error) { return api, nil },
		Clusters: func(context.Context) ([]string, error) { return []string{"lab"}, nil },
	})
	zones := func(i int) sim.Shape {
		return sim.Shape{MilliCPUs: 8000, Labels: map[string]string{"zone": fmt.Sprint(i % 2)}}
	}
	if err := d.Scale(ctx, "lab", 3, zones, nil); err != nil {
		fmt.Println(err)
		return
	}
	nodes, err := d.List(ctx, "lab")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, n := range nodes {
		fmt.Println(n.Name, n.State, n.MilliCPUs, n.Labels)
	}
	// Output:
	// sim-1 Running 8000 map[zone:1]
	// sim-2 Running 8000 map[zone:0]
	// sim-3 Running 8000 map[zone:1]
}
