package cloud

import cloudprovider "k8s.io/cloud-provider"

// providerName is the scheme of provider IDs.
const providerName = "kl"

// provider is the cloud provider that upstream's controllers use.
type provider struct {
	instances *instances
	balancers *balancers // nil if load balancers are disabled
}

var _ cloudprovider.Interface = (*provider)(nil)

func (*provider) Initialize(cloudprovider.ControllerClientBuilder, <-chan struct{}) {}
func (*provider) ProviderName() string                                              { return providerName }
func (*provider) HasClusterID() bool                                                { return true }
func (*provider) Instances() (cloudprovider.Instances, bool)                        { return nil, false }
func (*provider) Zones() (cloudprovider.Zones, bool)                                { return nil, false }
func (*provider) Clusters() (cloudprovider.Clusters, bool)                          { return nil, false }
func (*provider) Routes() (cloudprovider.Routes, bool)                              { return nil, false } // the nodes' agents program them
func (p *provider) InstancesV2() (cloudprovider.InstancesV2, bool)                  { return p.instances, true }

func (p *provider) LoadBalancer() (cloudprovider.LoadBalancer, bool) {
	if p.balancers == nil {
		return nil, false
	}
	return p.balancers, true
}
