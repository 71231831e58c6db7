package host

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/config"
)

// Whatever Plan lets a running cluster change reaches its cluster.yaml.
func TestWithSettings(t *testing.T) {
	old := cluster.DefaultSpec()
	old.Name, old.Driver, old.Kubernetes.APIServerPort = "t", cluster.DriverDocker, 20443
	want, err := config.Parse("kl.yaml", []byte(`apiVersion: kl.dev/v1alpha1
kind: Cluster
name: t
kubernetes: {featureGates: {A: true}, runtimeConfig: {api/all: "true"}, extraArgs: {etcd: {v: 2}}, schedulerConfig: "a\nb", kubeletPatch: {maxPods: 5}}
audit: {policy: "a\nb"}
containerd: {mirrors: {a.example: ["http://127.0.0.1:5000"]}}
disable: [metrics]
ephemeral: true
`), config.Machine{})
	if err != nil {
		t.Fatal(err)
	}
	got := withSettings(old, want)
	if changes, err := config.Plan(old, got); err != nil || len(changes) < 9 {
		t.Errorf("%d changes, %v", len(changes), err)
	}
	left, err := config.Plan(got, want)
	if diff := cmp.Diff([]config.Change(nil), left); diff != "" || err != nil {
		t.Errorf("lost: %v\n%s", err, diff)
	}
	if got.Kubernetes.APIServerPort != 20443 || got.Driver != cluster.DriverDocker {
		t.Errorf("port %d, driver %s", got.Kubernetes.APIServerPort, got.Driver)
	}
}
