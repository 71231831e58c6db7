package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/pki"
)

// TestCheck judges the configuration of a cluster that has never run, without an etcd: quickly, and by what is in it.
func TestCheck(t *testing.T) {
	home := t.TempDir()
	l := cluster.Home(home).Cluster("t")
	spec := cluster.DefaultSpec()
	spec.Name, spec.Kubernetes.APIServerPort = "t", 6443
	if err := os.MkdirAll(l.RunDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := pki.Ensure(l, spec.Networking, time.Now()); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		edit func(*cluster.Kubernetes)
		want string // the error; empty if it is right
	}{
		"right": {func(k *cluster.Kubernetes) {
			k.ExtraArgs = map[string]map[string]string{"kube-controller-manager": {"horizontal-pod-autoscaler-sync-period": "3s"}}
		}, ""},
		"gate": {func(k *cluster.Kubernetes) { k.FeatureGates = map[string]bool{"NoSuchGate": true} }, "NoSuchGate"},
		"flag": {func(k *cluster.Kubernetes) {
			k.ExtraArgs = map[string]map[string]string{"kube-scheduler": {"no-such-flag": "1"}}
		}, "no-such-flag"},
	} {
		t.Run(name, func(t *testing.T) {
			s := spec
			tt.edit(&s.Kubernetes)
			data, err := yaml.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			cmd := engine(t, "check", "control-plane", l.Dir())
			var out, log bytes.Buffer
			cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(data), &out, &log
			err = cmd.Run()
			if tt.want == "" && err != nil || !strings.Contains(out.String(), tt.want) || tt.want != "" && err == nil {
				t.Errorf("%v, output %q, want %q in it; log:\n%s", err, &out, tt.want, &log)
			}
			if took := time.Since(began); took > 15*time.Second { // a connection to an etcd that is not there takes 20
				t.Errorf("it took %v", took)
			}
		})
	}
}
