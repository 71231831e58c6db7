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
	name, err := kubeconfig.Merge(context.Background(), cluster.Home("/home/me/.kl").Cluster("demo"), target, true)
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("kubectl --context %s get nodes", name)
}
