package manifests_test

import (
	"fmt"

	"github.com/klkube/kl/embedded/controlplane/manifests"
)

// What Nodes returns is for Apply.
func Example() {
	objects, err := manifests.Nodes("system:bootstrappers:example") // what a node needs to join
	if err != nil {
		panic(err)
	}
	for _, o := range objects[:2] {
		fmt.Println(o.GetKind(), o.GetName())
	}
	// Output:
	// ClusterRoleBinding kl:node-bootstrapper
	// ClusterRoleBinding kl:node-autoapprove-renewal
}
