package nodewatch_test

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"

	"github.com/klkube/kl/embedded/controlplane/nodewatch"
)

// A component sees the nodes for as long as it keeps its view open.
func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	nodes := nodewatch.New(fake.NewClientset(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}))
	stopped := make(chan error)
	go func() { stopped <- nodes.Run(ctx, func() {}) }() // the plane's supervisor does that

	view := nodes.View(nodewatch.Real)
	names := make(chan string)
	_, err := view.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) { names <- obj.(*corev1.Node).Name },
	})
	fmt.Println(<-names, err)
	view.Close()

	cancel()
	fmt.Println(<-stopped)
	// Output:
	// n1 <nil>
	// context canceled
}
