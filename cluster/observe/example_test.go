package observe_test

import (
	"context"
	"fmt"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/klkube/kl/cluster/observe"
)

func Example() {
	ctx := context.Background()
	config, err := clientcmd.BuildConfigFromFlags("", clientcmd.RecommendedHomeFile)
	if err != nil {
		fmt.Println(err)
		return
	}
	source, err := observe.New(observe.Config{REST: config})
	if err != nil {
		fmt.Println(err)
		return
	}
	go func() { _ = source.Run(ctx) }() // returns when ctx is done
	for {
		snapshot, changed := source.Snapshot()
		for _, r := range observe.Rollouts(snapshot, time.Now()) {
			fmt.Println(r.Namespace, r.Name, r.State, r.Why)
		}
		select {
		case <-changed: // at most ten times a second
		case <-ctx.Done():
			return
		}
	}
}
