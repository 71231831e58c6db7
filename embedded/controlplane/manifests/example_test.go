package manifests_test

import (
	"fmt"

	"github.com/klkube/kl/embedded/controlplane/manifests"
)

// What Nodes returns is for Apply.
func Example() {
	objects, err := manifests.Nodes("abcdef", "0123456789abcdef") // what a node needs to join
	if err != nil {
		panic(err)
	}
	for _, o := range objects[:3] {
		fmt.Println(o.GetKind(), o.GetName())
	}
	// Output:
	// Secret bootstrap-token-abcdef
	// ClusterRoleBinding kl:node-bootstrapper
	// ClusterRoleBinding kl:node-autoapprove-bootstrap
}
