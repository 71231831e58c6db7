package kubeconfig_test

import (
	"context"
	"log"
	"os"
	"path/filepath"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/kubeconfig"
)

func Example() {
	target := kubeconfig.Target(filepath.SplitList(os.Getenv("KUBECONFIG")))
	if err := kubeconfig.Merge(context.Background(), cluster.Home("/home/me/.kl").Cluster("demo"), target); err != nil {
		log.Fatal(err)
	}
}
