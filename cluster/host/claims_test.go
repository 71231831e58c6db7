package host_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/host"
)

// volumesOfTwoNodes is what kubectl prints: claims with data on n1 and n2, one that all nodes share, one of a pod, and a disk that
// nobody has claimed.
const volumesOfTwoNodes = `Warning: something is deprecated
{"items": [
  {"kind": "PersistentVolume", "metadata": {"name": "a"}, "spec": {"claimRef": {"namespace": "db", "name": "data-0"},
    "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["n2"]}]}]}}}},
  {"kind": "PersistentVolume", "metadata": {"name": "b"}, "spec": {"claimRef": {"namespace": "db", "name": "data-1"},
    "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["n1"]}]}]}}}},
  {"kind": "PersistentVolume", "metadata": {"name": "c"}, "spec": {"claimRef": {"namespace": "db", "name": "scratch"},
    "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["n2"]}]}]}}}},
  {"kind": "PersistentVolume", "metadata": {"name": "d"}, "spec": {"claimRef": {"namespace": "db", "name": "shared"}}},
  {"kind": "PersistentVolume", "metadata": {"name": "e"}, "spec": {
    "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["n2"]}]}]}}}},
  {"kind": "PersistentVolumeClaim", "metadata": {"namespace": "db", "name": "scratch", "ownerReferences": [{"kind": "Pod"}]}}
]}`

func TestRemoveNodeWithTheDataOfClaims(t *testing.T) {
	b := newBench(t)
	b.mustUp(t, request(3))
	b.volumes = volumesOfTwoNodes
	ctx := t.Context()
	err := b.RemoveNode(ctx, "demo", "n2", host.RemoveOptions{Force: true})
	if text := describe(err); !strings.Contains(text, "remove n2: claims have their data there: db/data-0\n") || !strings.Contains(text, "--delete-volumes") {
		t.Errorf("removing a node with data: %s", text)
	}
	var asked string
	answer := func(ok bool) func(context.Context, string) bool {
		return func(_ context.Context, question string) bool { asked = question; return ok }
	}
	if err := b.RemoveNode(ctx, "demo", "n2", host.RemoveOptions{Confirm: answer(false)}); err == nil || !strings.Contains(asked, "db/data-0 goes with n2") {
		t.Errorf("after a no to %q: %v", asked, err)
	}
	want := cluster.DefaultSpec()
	want.Name, want.Nodes = "demo", []cluster.NodeGroup{{Count: 1}}
	if _, err := b.Apply(ctx, want, host.UpOptions{}); err == nil || !strings.Contains(err.Error(), "db/data-0") {
		t.Errorf("a file with fewer nodes: %v", err)
	}
	b.expectStates(t, "n1 Running", "n2 Running", "n3 Running")
	if len(b.kubectl) > 0 {
		t.Errorf("kubectl was told %q", b.kubectl)
	}

	must(t, b.RemoveNode(ctx, "demo", "n3", host.RemoveOptions{})) // has no data
	must(t, b.RemoveNode(ctx, "demo", "n2", host.RemoveOptions{Confirm: answer(true)}))
	must(t, b.RemoveNode(ctx, "demo", "n1", host.RemoveOptions{DeleteVolumes: true}))
	b.expectStates(t)
}

func TestRemoveNodeWithTheDataOfSnapshots(t *testing.T) {
	b := newBench(t)
	b.mustUp(t, request(2))
	content := func(driver, handle, name string) string {
		return `{"spec": {"driver": "` + driver + `", "volumeSnapshotRef": {"namespace": "db", "name": "` + name + `"}}, "status": {"snapshotHandle": "` + handle + `"}}`
	}
	b.snapshots = `{"items": [` + strings.Join([]string{
		content("csi.kl.dev", "local/n2/snapshot-1", "before"), content("csi.kl.dev", "local/n1/snapshot-2", "elsewhere"),
		content("csi.kl.dev", "shared/snapshot-3", "everywhere"), content("csi.example.com", "local/n2/x", "foreign"), `{"spec": {"driver": "csi.kl.dev"}}`,
	}, ",") + `]}`
	err := b.RemoveNode(t.Context(), "demo", "n2", host.RemoveOptions{Force: true})
	if text := describe(err); !strings.Contains(text, "claims have their data there: VolumeSnapshot db/before\n") {
		t.Errorf("removing a node with a snapshot: %s", text)
	}
	b.snapshots = "Unable to connect to the server"
	if err := b.RemoveNode(t.Context(), "demo", "n2", host.RemoveOptions{Force: true}); err == nil {
		t.Error("a node was removed although nobody knows of its snapshots")
	}
	must(t, b.RemoveNode(t.Context(), "demo", "n2", host.RemoveOptions{Force: true, DeleteVolumes: true}))
}

func TestRemoveNodeIfTheAPIDoesNotAnswer(t *testing.T) {
	b := newBench(t)
	b.mustUp(t, request(2))
	b.volumes = "Unable to connect to the server"
	err := b.RemoveNode(t.Context(), "demo", "n2", host.RemoveOptions{Force: true})
	if text := describe(err); !strings.Contains(text, "look for claims with data on n2") || !strings.Contains(text, "--delete-volumes") {
		t.Errorf("removing a node: %s", text)
	}
	b.expectStates(t, "n1 Running", "n2 Running")
	must(t, b.RemoveNode(t.Context(), "demo", "n2", host.RemoveOptions{Force: true, DeleteVolumes: true}))
}

// A group that lost its last node stays in cluster.yaml: every verb goes on, and the file that made it makes the node again.
func TestEmptyGroup(t *testing.T) {
	b := newBench(t)
	want := cluster.DefaultSpec()
	want.Name, want.Nodes = "demo", []cluster.NodeGroup{{Count: 1}, {Count: 1, Labels: map[string]string{"tier": "db"}}}
	apply := func() *host.Result {
		t.Helper()
		r, err := b.Apply(t.Context(), want, host.UpOptions{})
		if err != nil {
			t.Fatal(describe(err))
		}
		return r
	}
	for _, emptied := range [][]string{{"n2"}, {"n1"}, {"n1", "n2"}} {
		apply()
		b.expectStates(t, "n1 Running", "n2 Running")
		var left []string
		for _, n := range []string{"n1", "n2"} {
			if slices.Contains(emptied, n) {
				must(t, b.RemoveNode(t.Context(), "demo", n, host.RemoveOptions{}))
			} else {
				left = append(left, n+" Running")
			}
		}
		b.mustUp(t, request(-1))
		must(t, b.Stop(t.Context(), "demo"))
		if _, err := b.Start(t.Context(), "demo", host.UpOptions{}); err != nil {
			t.Fatal(describe(err))
		}
		b.expectStates(t, left...)
		infos, err := b.List(t.Context())
		if err != nil || len(infos) != 1 || len(infos[0].Nodes) != len(left) || len(infos[0].Problems) > 0 {
			t.Errorf("list without %v: %+v, %v", emptied, infos, err)
		}
	}
	if r := apply(); r.Nodes != 2 {
		t.Errorf("the file made %d nodes", r.Nodes)
	}
	spec, err := cluster.ReadSpec(b.Home.Cluster("demo"))
	if err != nil || len(spec.Nodes) != 2 || spec.Nodes[1].Labels["tier"] != "db" || len(spec.Nodes[1].Names) != 1 {
		t.Errorf("cluster.yaml says %+v, %v", spec.Nodes, err)
	}
}
