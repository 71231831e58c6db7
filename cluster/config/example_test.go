package config_test

import (
	"fmt"

	"github.com/klkube/kl/cluster/config"
)

func Example() {
	const file = `apiVersion: kl.dev/v1alpha1
kind: Cluster
nodes:
- count: 1
  memory: 64Gi
networking:
  podCidr: 10.244.0.0/16
`
	_, err := config.Parse("kl.yaml", []byte(file), config.Machine{CPUs: 4, Memory: 16 << 30})
	fmt.Println(err)
	// Output:
	// kl.yaml:5:11: nodes[0].memory: 64Gi is more than this machine has (16.0Gi)
	// kl.yaml:7:3: unknown field "podCidr" in networking; did you mean "podCIDR"?
}
