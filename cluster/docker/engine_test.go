package docker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/clustertest"
	"github.com/klkube/kl/cluster/docker"
)

// prefix begins the names of all clusters that this process makes.
func prefix() string { return fmt.Sprintf("kltest%d-", os.Getpid()) }

// home is that of the clusters that this process makes, but for those of connectAs. It need not exist.
func home() cluster.Home { return cluster.Home("/" + prefix() + "home") }

// connect returns a driver on the real engine. Without one the test is skipped.
func connect(t *testing.T) *docker.Driver {
	t.Helper()
	return connectAs(t, home())
}

func connectAs(t *testing.T, home cluster.Home) *docker.Driver {
	t.Helper()
	d, err := docker.New(context.WithoutCancel(t.Context()), docker.Options{Home: home, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if errors.Is(err, cluster.ErrNoEngine) {
		t.Skipf("SKIPPED: no Docker engine answers, so nothing is tested on a real engine: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func engine(t *testing.T) *client.Client {
	t.Helper()
	c, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// residue describes what the engine holds of a cluster.
func residue(t *testing.T, c *client.Client, name string) string {
	t.Helper()
	ctx, label := t.Context(), filters.NewArgs(filters.Arg("label", "dev.kl.cluster="+name))
	if ctx.Err() != nil { // in a cleanup
		var cancel func()
		ctx, cancel = detached(t)
		defer cancel()
	}
	var left strings.Builder
	containers, err := c.ContainerList(ctx, container.ListOptions{All: true, Filters: label})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range containers {
		fmt.Fprintln(&left, "container", c.Names, c.State)
	}
	networks, err := c.NetworkList(ctx, network.ListOptions{Filters: label})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range networks {
		fmt.Fprintln(&left, "network", n.Name)
	}
	volumes, err := c.VolumeList(ctx, volume.ListOptions{Filters: label})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range volumes.Volumes {
		fmt.Fprintln(&left, "volume", v.Name)
	}
	return left.String()
}

// subnet returns the range of a cluster's network.
func subnet(t *testing.T, c *client.Client, name string) netip.Prefix {
	t.Helper()
	n, err := c.NetworkInspect(t.Context(), "kl-"+name, network.InspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return netip.MustParsePrefix(n.IPAM.Config[0].Subnet)
}

func TestDriverMeetsTheContract(t *testing.T) {
	connect(t).Close()
	p := clustertest.SmallPayload(t, fmt.Sprintf("contract-%d", os.Getpid()))
	c := engine(t)
	t.Cleanup(func() { removeImages(t, c, p.SHA) })
	clustertest.Driver(t, clustertest.Subject{
		Connect: func(t *testing.T) cluster.Driver { return connect(t) },
		Payload: p, Prefix: prefix(), Real: true,
		Residue:  func(t *testing.T, name string) string { return residue(t, c, name) },
		Network:  func(t *testing.T, name string) netip.Prefix { return subnet(t, c, name) },
		Image:    func(p cluster.Payload) string { return "kl.local/node:" + p.SHA + "-" + home().Owner() },
		Stranger: func(t *testing.T) cluster.Driver { return connectAs(t, home()+"2") },
		Purge: func(ctx context.Context, d cluster.Driver, p cluster.Payload) error {
			return d.(*docker.Driver).PurgePayload(ctx, p.SHA)
		},
	})
}

func TestCreateShowsTheLogOfANodeThatEndsAtOnce(t *testing.T) {
	d := connect(t)
	defer d.Close()
	d.WatchStarts(time.Minute) // the node ends sooner, but not always within the usual time
	c := engine(t)
	spec := smallSpec(t, c, "dies")
	if err := os.WriteFile(filepath.Join(spec.NodeDir, "fail"), []byte("mount /proc: it hurts\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := d.Create(t.Context(), spec)
	var explained *cluster.Error
	if !errors.As(err, &explained) {
		t.Fatalf("error is %v, want a cluster.Error", err)
	}
	for _, line := range []string{"first line", "mount /proc: it hurts"} { // the engine keeps no order between output and error output
		if !slices.Contains(explained.Log, line) {
			t.Errorf("log is %q, want %q in it", explained.Log, line)
		}
	}
	if !strings.Contains(err.Error(), "ended at once") {
		t.Errorf("error is %v", err)
	}
	if left := residue(t, c, spec.Cluster); left != "" {
		t.Errorf("the engine still holds:\n%s", left)
	}
}

// TestStartAfterNetworkPrune starts a node after `docker network prune` has removed its network.
func TestStartAfterNetworkPrune(t *testing.T) {
	d := connect(t)
	defer d.Close()
	c := engine(t)
	spec := smallSpec(t, c, "prune")
	n, err := d.Create(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Stop(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if err := d.DeleteCluster(t.Context(), spec.Cluster); err != nil {
		t.Fatal(err)
	}
	if err := d.Start(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	now, err := c.ContainerInspect(t.Context(), n.ID)
	if err != nil {
		t.Fatal(err)
	}
	for name, e := range now.NetworkSettings.Networks {
		if e.IPAddress != n.IP {
			t.Errorf("address on %s is %s, was %s", name, e.IPAddress, n.IP)
		}
	}
}
