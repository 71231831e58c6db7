package host_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/clustertest"
	"github.com/klkube/kl/cluster/host"
)

func Example() {
	dir, err := os.MkdirTemp("", "kl")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	home, driver := cluster.Home(filepath.Join(dir, "home")), clustertest.NewFake()
	driver.Changed = clustertest.Running(home)
	h := &host.Host{
		Home: home, Drivers: []cluster.DriverName{cluster.DriverDocker}, Payload: clustertest.PlanePayload,
		OpenDriver: func(context.Context, cluster.DriverName) (cluster.Driver, error) { return driver, nil },
	}
	ctx := context.Background()
	result, err := h.Up(ctx, cluster.Spec{Name: "demo"}, host.UpOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.Cluster, result.Driver, result.Nodes)
	existed, err := h.Down(ctx, "demo")
	fmt.Println(existed, err)
	// Output:
	// demo docker 1
	// true <nil>
}
