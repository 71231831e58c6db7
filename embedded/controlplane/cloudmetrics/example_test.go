package cloudmetrics_test

import (
	"context"
	"fmt"

	"k8s.io/component-base/metrics"

	"github.com/klkube/kl/embedded/controlplane/cloudmetrics"
)

// controller is a part of kl that times its operations.
type controller struct{ requests *cloudmetrics.Requests }

func (c controller) CreateVolume(context.Context) (err error) {
	defer c.requests.Time("create_volume")(&err)
	return nil
}

func Example() {
	registry := metrics.NewKubeRegistry() // a program uses legacyregistry.Register
	requests, err := cloudmetrics.New(registry.Register)
	if err != nil {
		panic(err)
	}
	if err := (controller{requests}).CreateVolume(context.Background()); err != nil {
		panic(err)
	}
	families, err := registry.Gather()
	if err != nil {
		panic(err)
	}
	fmt.Println(families[0].GetName(), families[0].GetMetric()[0].GetHistogram().GetSampleCount())
	// Output: cloudprovider_kl_api_request_duration_seconds 1
}
