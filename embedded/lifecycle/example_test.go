package lifecycle_test

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/lifecycle"
)

// component is ready at once and stops when it is asked to.
type component struct{ name cluster.ComponentName }

func (c component) Name() cluster.ComponentName { return c.name }

func (c component) Run(ctx context.Context, ready func()) error {
	fmt.Println("start", c.name)
	ready()
	<-ctx.Done()
	fmt.Println("stop", c.name)
	return ctx.Err()
}

func Example() {
	newAPI := func() lifecycle.Component { return component{cluster.KubeAPIServer} }
	ctx, cancel := context.WithCancel(context.Background())
	s := &lifecycle.Supervisor{
		Logger: slog.New(slog.DiscardHandler),
		Units: []lifecycle.Unit{
			{Component: newAPI(), Needs: []cluster.ComponentName{cluster.Etcd}, Again: newAPI},
			{Component: component{cluster.Etcd}},
		},
		Changed: func(s cluster.ComponentStatus) {
			if s.Name == cluster.KubeAPIServer && s.State == cluster.ComponentServing {
				cancel() // a real program runs until it is told to stop
			}
		},
	}
	fmt.Println(s.Run(ctx))
	// Output:
	// start etcd
	// start kube-apiserver
	// stop kube-apiserver
	// stop etcd
	// <nil>
}
