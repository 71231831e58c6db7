package ui

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/klkube/kl/cluster"
)

// Failed components are always shown, slow ones before fast ones.
func TestVisibleComponents(t *testing.T) {
	serving := func(name cluster.ComponentName, took float64) cluster.ComponentStatus {
		return cluster.ComponentStatus{Name: name, State: cluster.ComponentServing, Ready: took}
	}
	all := []cluster.ComponentStatus{serving("etcd", 0.2), serving("kube-apiserver", 5), serving("egress", 0), {Name: "dns", State: cluster.ComponentFailed}, serving("ipam", 0.1)}
	for _, tt := range []struct {
		room   int
		shown  []string
		hidden int
	}{
		{9, []string{"etcd", "kube-apiserver", "egress", "dns", "ipam"}, 0},
		{5, []string{"etcd", "kube-apiserver", "egress", "dns", "ipam"}, 0},
		{4, []string{"etcd", "kube-apiserver", "dns"}, 2},
		{3, []string{"kube-apiserver", "dns"}, 3},
		{2, []string{"dns"}, 4},
		{0, []string{"dns"}, 4},
	} {
		shown, hidden := visibleComponents(all, tt.room)
		var names []string
		for _, c := range shown {
			names = append(names, string(c.Name))
		}
		if diff := cmp.Diff(tt.shown, names); diff != "" || hidden != tt.hidden {
			t.Errorf("room for %d: %d hidden, want %d; %s", tt.room, hidden, tt.hidden, diff)
		}
	}
}
