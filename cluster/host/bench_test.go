package host_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/clustertest"
	"github.com/klkube/kl/cluster/host"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == host.SuperviseCommand {
		os.Exit(host.Supervise(os.Args[2], os.Args[3], nil))
	}
	clustertest.PlaneMain(m)
}

// bench is a machine of its own: a home, a fake driver, a kubeconfig.
type bench struct {
	*host.Host
	fake       *clustertest.Fake
	kubeconfig string

	mu        sync.Mutex
	events    []cluster.Event
	kubectl   []string // the arguments of each run
	volumes   string   // what kubectl says of volumes and claims; none if empty
	snapshots string   // of VolumeSnapshotContents; none if empty
}

func newBench(t *testing.T) *bench {
	t.Helper()
	dir, err := os.MkdirTemp("", "kl") // short: socket paths are limited
	if err != nil {
		t.Fatal(err)
	}
	home := cluster.Home(filepath.Join(dir, "home"))
	b := &bench{fake: clustertest.NewFake(), kubeconfig: filepath.Join(dir, "config")}
	b.fake.Changed = clustertest.Running(home)
	b.Host = &host.Host{
		Home: home, Drivers: []cluster.DriverName{cluster.DriverDocker, cluster.DriverEmbedded}, Payload: clustertest.PlanePayload, Kubeconfigs: []string{b.kubeconfig},
		OpenDriver: func(_ context.Context, name cluster.DriverName) (cluster.Driver, error) {
			if name == cluster.DriverEmbedded {
				return nil, errors.New("no such driver here")
			}
			return b.fake, nil
		},
		Kubectl: func(_ context.Context, _ cluster.Layout, out io.Writer, args ...string) error {
			b.mu.Lock()
			defer b.mu.Unlock()
			if b.answers(out, args) {
				return nil
			}
			b.kubectl = append(b.kubectl, strings.Join(args, " "))
			return nil
		},
		Events: func(e cluster.Event) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.events = append(b.events, e)
		},
	}
	t.Cleanup(func() {
		names, _ := b.Home.Names()
		for _, name := range names {
			b.fake.Hook = nil
			if _, err := b.Down(context.WithoutCancel(t.Context()), name); err != nil {
				t.Error(err)
			}
		}
		os.RemoveAll(dir)
	})
	return b
}

// answers prints the volumes and claims, or the snapshots, if kubectl is asked for them.
func (b *bench) answers(out io.Writer, args []string) bool {
	if args[0] == "get" && strings.HasPrefix(args[1], "volumesnapshotcontents") {
		_, _ = io.WriteString(out, cmp.Or(b.snapshots, `{"items": []}`))
		return true
	}
	if args[0] != "get" || !strings.HasPrefix(args[1], "persistentvolumes") {
		return false
	}
	_, _ = io.WriteString(out, cmp.Or(b.volumes, `{"items": []}`))
	return true
}

func request(nodes int) cluster.Spec {
	s := cluster.Spec{Name: "demo"}
	if nodes >= 0 {
		s.Nodes = []cluster.NodeGroup{{Count: nodes}}
	}
	return s
}

func (b *bench) mustUp(t *testing.T, s cluster.Spec) *host.Result {
	t.Helper()
	r, err := b.Up(t.Context(), s, host.UpOptions{Timeout: time.Minute})
	if err != nil {
		t.Fatal(describe(err))
	}
	return r
}

func describe(err error) string {
	var e *cluster.Error
	if errors.As(err, &e) {
		return fmt.Sprintf("%v\nhint: %s\n%s", err, e.Hint, strings.Join(e.Log, "\n"))
	}
	return fmt.Sprint(err)
}

// residue lists every file below the home directory but those the test put there.
func (b *bench) residue(t *testing.T) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(string(b.Home), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && d.Name() != "plane.json" {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func (b *bench) checkGone(t *testing.T) {
	t.Helper()
	if files := b.residue(t); len(files) != 0 {
		t.Errorf("files are left: %q", files)
	}
	b.checkNoPlanes(t)
	if dump := b.fake.Dump(); strings.Contains(dump, "demo") {
		t.Errorf("the driver still has:\n%s", dump)
	}
	if data, err := os.ReadFile(b.kubeconfig); err == nil && strings.Contains(string(data), "kl-demo") {
		t.Errorf("kubeconfig still has:\n%s", data)
	}
}

// checkNoPlanes checks that no process runs as a control plane of this home. One that was killed may take a moment to go.
func (b *bench) checkNoPlanes(t *testing.T) {
	t.Helper()
	var planes []string
	err := wait.PollUntilContextTimeout(t.Context(), time.Millisecond, 10*time.Second, true, func(context.Context) (bool, error) {
		planes = nil
		files, err := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, f := range files {
			line, err := os.ReadFile(f)
			if err == nil && strings.Contains(string(line), "control-plane\x00") && strings.Contains(string(line), string(b.Home)+"/") {
				planes = append(planes, f)
			}
		}
		return len(planes) == 0, err
	})
	if err != nil {
		t.Errorf("control planes still run: %v: %v", planes, err)
	}
}

func planePID(t *testing.T, b *bench) int {
	t.Helper()
	pid, err := host.ControlPlanePID(b.Home.Cluster("demo"))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// kill ends a control plane as a crash would, and waits until it has ended.
func kill(t *testing.T, b *bench, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	err := wait.PollUntilContextTimeout(t.Context(), time.Millisecond, 10*time.Second, true, func(context.Context) (bool, error) {
		return planePID(t, b) == 0, nil
	})
	if err != nil {
		t.Fatalf("control plane %d survives SIGKILL: %v", pid, err)
	}
}
