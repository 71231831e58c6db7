package cluster_test

import (
	"fmt"

	"github.com/klkube/kl/cluster"
)

func Example() {
	spec := cluster.DefaultSpec()
	spec.Nodes = []cluster.NodeGroup{{Count: 2}, {Count: 1, Names: []string{"db"}}}
	layout := cluster.Home("/home/me/.kl").Cluster(spec.Name)
	fmt.Println(spec.NodeNames(), layout.SpecFile())
	// Output: [n1 n2 db] /home/me/.kl/clusters/kl/cluster.yaml
}
