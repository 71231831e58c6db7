package docker_test

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/google/go-cmp/cmp"

	"github.com/klkube/kl/cluster"
)

// node is a container of node n1 of cluster c, as kl made it before there were owners: a mount shows whose it is.
func node(dir string) *created {
	return &created{
		Config:  container.Config{Labels: map[string]string{"dev.kl.cluster": "c", "dev.kl.node": "n1", "dev.kl.ip": "10.9.0.2"}},
		started: true,
		mounts:  []container.MountPoint{{Source: dir, Destination: cluster.NodeMountDir}},
	}
}

func TestNodesWithoutOwnerBelongToTheHomeOfTheirDirectory(t *testing.T) {
	for _, c := range []struct {
		name, dir string
		want      int
	}{
		{"ours", home().Cluster("c").NodeDir("n1"), 1},
		{"another home's", (home() + "2").Cluster("c").NodeDir("n1"), 0},
		{"elsewhere", "/n1", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &fakeEngine{version: "1.41", info: full("1")}
			d, err := f.serve(t)
			if err != nil {
				t.Fatal(err)
			}
			f.containers["c-n1"] = node(c.dir)
			f.networks = []network.Inspect{{
				Name: "kl-c", ID: "kl-c", Labels: map[string]string{"dev.kl.cluster": "c"}, IPAM: network.IPAM{Config: []network.IPAMConfig{{Subnet: "10.9.0.0/24"}}},
			}}
			nodes, err := d.List(t.Context(), "c")
			if err != nil || len(nodes) != c.want {
				t.Fatalf("nodes %v, %v; want %d", nodes, err, c.want)
			}
			if err := d.Delete(t.Context(), cluster.Node{Cluster: "c", Name: "n1", ID: "c-n1"}); err != nil {
				t.Fatal(err)
			}
			if err := d.DeleteCluster(t.Context(), "c"); err != nil {
				t.Fatal(err)
			}
			if left := 1 - c.want; len(f.containers) != left || len(f.networks) != left {
				t.Errorf("%d containers and %d networks are left, want %d", len(f.containers), len(f.networks), left)
			}
		})
	}
}

// TestNamesThatAreTaken makes a node where the engine has a container and a network of its names already, which are not kl's.
func TestNamesThatAreTaken(t *testing.T) {
	f := &fakeEngine{version: "1.41", info: full("1")}
	d, err := f.serve(t)
	if err != nil {
		t.Fatal(err)
	}
	f.containers["c-n1"] = &created{started: true}
	f.networks = []network.Inspect{{Name: "kl-c", ID: "1", IPAM: network.IPAM{Config: []network.IPAMConfig{{Subnet: "10.9.0.0/24"}}}}}
	n, err := d.Create(t.Context(), spec(t))
	if err != nil {
		t.Fatal(err)
	}
	suffix := "-" + home().Owner()
	if diff := cmp.Diff([]string{"c-n1", "c-n1" + suffix}, slices.Sorted(maps.Keys(f.containers))); diff != "" {
		t.Fatalf("containers (-want +got):\n%s", diff)
	}
	c := f.containers["c-n1"+suffix]
	if c.Hostname != "n1" || n.Name != "n1" || string(c.HostConfig.NetworkMode) != "kl-c"+suffix {
		t.Errorf("host name %q, node %q, network %q", c.Hostname, n.Name, c.HostConfig.NetworkMode)
	}
	if c.Labels["dev.kl.home"] != string(home()) || c.HostConfig.Mounts[0].VolumeOptions.Labels["dev.kl.owner"] != home().Owner() {
		t.Errorf("labels %v, of the volume %v", c.Labels, c.HostConfig.Mounts[0].VolumeOptions.Labels)
	}
	delete(f.containers, "c-n1") // a second n1 must not take the name that is free now
	if _, err := d.Create(t.Context(), spec(t)); err == nil {
		t.Error("a second node n1 was made")
	}
}

func TestOrphans(t *testing.T) {
	f := &fakeEngine{version: "1.41", info: full("1")}
	d, err := f.serve(t)
	if err != nil {
		t.Fatal(err)
	}
	here := cluster.Home(t.TempDir())
	if err := os.MkdirAll(here.Cluster("c").Dir(), 0o700); err != nil {
		t.Fatal(err)
	}
	for id, home := range map[string]cluster.Home{"there": here, "gone": here + "/gone", "unknown": ""} {
		c := node("/x")
		c.Labels["dev.kl.owner"], c.Labels["dev.kl.home"] = home.Owner(), string(home)
		f.containers[id] = c
	}
	emptied := node("/x")
	emptied.Labels["dev.kl.cluster"], emptied.Labels["dev.kl.home"] = "without-files", string(here)
	f.containers["emptied"] = emptied
	orphans, err := d.Orphans(t.Context())
	slices.SortFunc(orphans, func(a, b cluster.Orphan) int { return strings.Compare(string(a.Home), string(b.Home)) })
	want := []cluster.Orphan{{Home: here, Cluster: "without-files", Node: "n1"}, {Home: here + "/gone", Cluster: "c", Node: "n1"}}
	if diff := cmp.Diff(want, orphans); err != nil || diff != "" {
		t.Errorf("orphans (-want +got), %v:\n%s", err, diff)
	}
	former, err := d.For(here + "/gone")
	if err != nil {
		t.Fatal(err)
	}
	if nodes, err := former.List(t.Context(), ""); err != nil || len(nodes) != 1 || nodes[0].ID != "gone" {
		t.Errorf("nodes of the home that is gone: %v, %v", nodes, err)
	}
}
