//go:build linux

package native

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/clustertest"
	"github.com/klkube/kl/cluster/netlist"
)

// startWatchVariable makes supervisors watch a new node for that long.
const startWatchVariable = "KL_TEST_START_WATCH"

// TestMain also runs the supervisors of nodes, which are processes of the test binary, as they are of kl.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == SuperviseCommand {
		ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer cancel()
		watch := startWatch
		if text := os.Getenv(startWatchVariable); text != "" {
			var err error
			if watch, err = time.ParseDuration(text); err != nil {
				panic(err)
			}
		}
		os.Exit(supervise(ctx, os.Args[2], watch))
	}
	if len(os.Args) == 3 && os.Args[1] == createCommand {
		os.Exit(createAndReport(os.Args[2]))
	}
	os.Setenv("GORACE", "atexit_sleep_ms=0") // else every supervisor waits for a second at its end
	os.Exit(m.Run())
}

// machine skips the test where nodes cannot be made.
func machine(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: not root, so no embedded node is made for real")
	}
	if data, _ := os.ReadFile("/proc/filesystems"); !strings.Contains(string(data), "\toverlay\n") {
		t.Skip("SKIPPED: this kernel has no overlay file system, so no embedded node is made for real")
	}
}

func payload(t *testing.T) cluster.Payload {
	t.Helper()
	p := clustertest.SmallPayload(t, "abc")
	if _, err := os.Stat(p.Runc); err != nil {
		t.Skip("SKIPPED: no runc on this machine (Debian: runc), so no embedded node is made for real")
	}
	return p
}

func connect(t *testing.T, home string) *Driver {
	t.Helper()
	d, err := New(t.Context(), Options{Home: home, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDriverMeetsTheContract(t *testing.T) {
	machine(t)
	home, other := t.TempDir(), t.TempDir()
	clustertest.Driver(t, clustertest.Subject{
		Stranger: func(t *testing.T) cluster.Driver { return connect(t, other) },
		Connect:  func(t *testing.T) cluster.Driver { return connect(t, home) },
		Payload:  payload(t), Prefix: "c", Real: true,
		Network: func(t *testing.T, name string) netip.Prefix {
			subnet, ok := connect(t, home).scope(name).bridgeSubnet()
			if !ok {
				t.Fatalf("cluster %s has no bridge", name)
			}
			return subnet
		},
		Residue: func(t *testing.T, name string) string { return residue(t, connect(t, home), name) },
	})
}

// residue describes everything that is left of a cluster on this machine: in the file system, in the kernel, and as processes.
func residue(t *testing.T, d *Driver, name string) string {
	t.Helper()
	var left strings.Builder
	s := d.scope(name)
	paths, _ := filepath.Glob(filepath.Join(d.root, ".*-*"))
	paths = append(paths, filepath.Join(d.root, name), s.runc())
	for _, p := range append(paths, cgroupDirs(s.cgroup())...) {
		if _, err := os.Stat(p); err == nil {
			fmt.Fprintln(&left, "directory", p)
		}
	}
	links, err := netlist.Whole(netlink.LinkList)
	if err != nil {
		t.Fatal(err)
	}
	interfaces := map[string]bool{s.bridge(): true}
	for i := range 12 {
		interfaces[s.veth(fmt.Sprintf("n%d", i))] = true
	}
	for _, l := range links {
		if interfaces[l.Attrs().Name] {
			fmt.Fprintln(&left, "interface", l.Attrs().Name)
		}
	}
	left.WriteString(rulesLeft(t, s))
	if data, _ := os.ReadFile("/proc/self/mountinfo"); strings.Contains(string(data), d.root) {
		fmt.Fprintln(&left, "mounts below", d.root)
	}
	left.WriteString(processesLeft(filepath.Join(d.root, name) + "/"))
	return left.String()
}

func rulesLeft(t *testing.T, s scope) string {
	var left strings.Builder
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	tables, err := c.ListTables()
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		if table.Name == s.table() {
			fmt.Fprintln(&left, "nftables table", table.Name)
		}
	}
	chains, err := c.ListChains()
	if err != nil {
		t.Fatal(err)
	}
	for _, chain := range chains {
		rules, err := s.rulesIn(c, chain)
		if err != nil {
			t.Fatal(err)
		}
		for range rules {
			fmt.Fprintln(&left, "nftables rule in", chain.Table.Name, chain.Name)
		}
	}
	return left.String()
}

// processesLeft returns the supervisors of nodes below a directory.
func processesLeft(dir string) string {
	var left strings.Builder
	processes, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range processes {
		line, _ := os.ReadFile(p)
		if strings.Contains(string(line), SuperviseCommand+"\x00"+dir) {
			fmt.Fprintln(&left, "process", p, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return left.String()
}

// spec returns the spec of a node of cluster c, all of which is removed when the test ends.
func spec(t *testing.T, d *Driver, name string) cluster.NodeSpec {
	t.Helper()
	dir := t.TempDir()
	s := cluster.NodeSpec{
		Cluster: "c", Name: name, Payload: payload(t),
		TunnelDir: filepath.Join(dir, "run"), NodeDir: filepath.Join(dir, name),
	}
	for _, dir := range []string{s.TunnelDir, s.NodeDir} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { remove(t, d, "c") })
	return s
}

// remove removes a cluster and checks that nothing is left of it.
func remove(t *testing.T, d *Driver, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	nodes, err := d.List(ctx, name)
	if err != nil {
		t.Error(err)
	}
	for _, n := range nodes {
		if err := d.Delete(ctx, n); err != nil {
			t.Error(err)
		}
	}
	if err := d.DeleteCluster(ctx, name); err != nil {
		t.Error(err)
	}
	if left := residue(t, d, name); left != "" {
		t.Errorf("left on this machine:\n%s", left)
	}
}

func create(t *testing.T, d *Driver, s cluster.NodeSpec) cluster.Node {
	t.Helper()
	n, err := d.Create(t.Context(), s)
	if err != nil {
		t.Fatalf("create %s: %v", s.Name, err)
	}
	return n
}
