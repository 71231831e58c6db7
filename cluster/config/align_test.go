package config

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/klkube/kl/cluster"
)

func TestAlign(t *testing.T) {
	plain := func(n int, names ...string) cluster.NodeGroup { return cluster.NodeGroup{Count: n, Names: names} }
	small := func(n int, names ...string) cluster.NodeGroup {
		return cluster.NodeGroup{Count: n, CPUs: "1", Memory: "1Gi", Names: names}
	}
	sims := cluster.NodeGroup{Count: 5, Simulated: true}
	type groups = []cluster.NodeGroup
	tests := []struct {
		name             string
		have, want, then groups
	}{
		{"the same", groups{plain(1, "n1"), small(1, "n2")}, groups{plain(1), small(1)}, groups{plain(1, "n1"), small(1, "n2")}},
		{"removed and added", groups{plain(1, "n1"), plain(0), small(1, "n2")}, groups{plain(1), small(1)}, groups{plain(1, "n1"), small(1, "n2")}},
		{"the first is gone", groups{small(1, "n2")}, groups{plain(1), small(1)}, groups{plain(0), small(1, "n2")}},
		{"one too many", groups{plain(1, "n1"), sims, small(1, "n2")}, groups{plain(1), small(1)}, groups{plain(1, "n1"), small(1, "n2"), sims}},
		{"changed size", groups{plain(1, "n1"), sims}, groups{small(1), sims}, groups{plain(1, "n1"), sims}},
		{"changed size, and one fewer", groups{plain(1, "n1"), sims}, groups{small(1)}, groups{plain(1, "n1"), sims}},
		{"no nodes", groups{plain(2, "n1", "n2")}, groups{}, groups{plain(2, "n1", "n2")}},
		{"first nodes", nil, groups{plain(2)}, groups{plain(0)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.then, Align(tt.have, tt.want)); diff != "" {
				t.Errorf("groups (-want +got):\n%s", diff)
			}
		})
	}
	spec := cluster.DefaultSpec()
	spec.Nodes = Align(groups{plain(1, "n1"), plain(0), small(1, "n2")}, groups{plain(1), small(1)})
	want := spec
	want.Nodes = groups{plain(1), small(1)}
	if changes, err := Plan(spec, want); err != nil || len(changes) != 0 {
		t.Errorf("a file that says what there is: %v, %v", changes, err)
	}
}
