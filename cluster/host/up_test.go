package host_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/klkube/kl/cluster/host"

	"github.com/google/go-cmp/cmp"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/clustertest"
)

func TestMain(m *testing.M) { clustertest.PlaneMain(m) }

// bench is a machine of its own: a home, a fake driver, a kubeconfig.
type bench struct {
	*host.Host
	fake       *clustertest.Fake
	kubeconfig string

	mu     sync.Mutex
	events []cluster.Event
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
		Events: func(e cluster.Event) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.events = append(b.events, e)
		},
	}
	t.Cleanup(func() {
		names, _ := home.Names()
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
	if dump := b.fake.Dump(); strings.Contains(dump, "demo") {
		t.Errorf("the driver still has:\n%s", dump)
	}
	if data, err := os.ReadFile(b.kubeconfig); err == nil && strings.Contains(string(data), "kl-demo") {
		t.Errorf("kubeconfig still has:\n%s", data)
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

func TestUpAndDown(t *testing.T) {
	b := newBench(t)
	r := b.mustUp(t, request(2))
	if r.Running || r.Nodes != 2 || r.Driver != "docker" || r.Context != "kl-demo" {
		t.Errorf("result is %+v", r)
	}
	var done []string
	for _, s := range r.Steps {
		done = append(done, s.Name)
	}
	slices.Sort(done)
	want := []string{"certificates", "control plane", "kubeconfig", "n1", "n2", "node image", "payload"}
	for _, step := range want {
		if !slices.Contains(done, step) {
			t.Errorf("no step %q in %q", step, done)
		}
	}
	info, err := b.Inspect(t.Context(), "demo")
	if err != nil {
		t.Fatal(err)
	}
	if info.Phase != cluster.PhaseReady || len(info.Nodes) != 2 || len(info.Problems) != 0 {
		t.Errorf("info is %+v", info)
	}
	l := b.Home.Cluster("demo")
	for _, file := range []string{"node.json", "ca.crt", "bootstrap.kubeconfig", "tunnel-token", "logs"} {
		if _, err := os.Stat(filepath.Join(l.NodeDir("n2"), file)); err != nil {
			t.Error(err)
		}
	}
	pid := planePID(t, b)
	existed, err := b.Down(t.Context(), "demo")
	if err != nil || !existed {
		t.Fatalf("down: %v, %v", existed, err)
	}
	if err := syscall.Kill(pid, 0); err == nil && planePID(t, b) != 0 {
		t.Errorf("control plane %d is alive", pid)
	}
	b.checkGone(t)
	existed, err = b.Down(t.Context(), "demo")
	if err != nil || existed {
		t.Errorf("second down: %v, %v", existed, err)
	}
}

func TestUpAgain(t *testing.T) {
	tests := []struct {
		name    string
		between func(t *testing.T, b *bench)
		nodes   int // -1: not said
		running bool
		history []string
	}{
		{
			name: "running", between: func(*testing.T, *bench) {}, nodes: 2, running: true,
			history: []string{"prepare demo", "create demo/n1", "create demo/n2"},
		},
		{
			name: "control plane killed", nodes: -1,
			between: func(t *testing.T, b *bench) {
				kill(t, b, planePID(t, b))
			},
			history: []string{"prepare demo", "create demo/n1", "create demo/n2"},
		},
		{
			name: "a node stopped", nodes: -1,
			between: func(t *testing.T, b *bench) {
				if err := b.fake.Stop(t.Context(), cluster.Node{Cluster: "demo", Name: "n2"}); err != nil {
					t.Fatal(err)
				}
			},
			history: []string{"prepare demo", "create demo/n1", "create demo/n2", "stop demo/n2", "start demo/n2"},
		},
		{
			name: "a node lost", nodes: -1,
			between: func(t *testing.T, b *bench) {
				if err := b.fake.Delete(t.Context(), cluster.Node{Cluster: "demo", Name: "n1"}); err != nil {
					t.Fatal(err)
				}
			},
			history: []string{"prepare demo", "create demo/n1", "create demo/n2", "delete demo/n1", "prepare demo", "create demo/n1"},
		},
		{
			name: "a node more", between: func(*testing.T, *bench) {}, nodes: 3,
			history: []string{"prepare demo", "create demo/n1", "create demo/n2", "prepare demo", "create demo/n3"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			first := b.mustUp(t, request(2))
			spec, err := cluster.ReadSpec(b.Home.Cluster("demo"))
			if err != nil {
				t.Fatal(err)
			}
			tt.between(t, b)
			r := b.mustUp(t, request(tt.nodes))
			if r.Running != tt.running {
				t.Errorf("already running is %v", r.Running)
			}
			if first.Running {
				t.Error("the first one was running already")
			}
			history := b.fake.History()
			slices.Sort(history[1:3]) // n1 and n2 are made side by side
			if diff := cmp.Diff(tt.history, history); diff != "" {
				t.Error(diff)
			}
			again, err := cluster.ReadSpec(b.Home.Cluster("demo"))
			if err != nil {
				t.Fatal(err)
			}
			if again.Kubernetes.APIServerPort != spec.Kubernetes.APIServerPort {
				t.Error("the port moved")
			}
		})
	}
}

// kill ends a control plane as a crash would, and waits until it is gone.
func kill(t *testing.T, b *bench, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for planePID(t, b) != 0 {
		select {
		case <-t.Context().Done():
			t.Fatal("it does not die")
		case <-time.After(time.Millisecond):
		}
	}
}

func TestFailedUp(t *testing.T) {
	tests := []struct {
		name  string
		plane clustertest.Plane
		hook  func(ctx context.Context, op string, n cluster.Node) error
		want  string // in the error
		log   string // in its log
	}{
		{
			name: "control plane exits", plane: clustertest.Plane{Exit: "etcd: database is corrupt"},
			want: "run control plane: etcd: database is corrupt", log: "fake control plane starts",
		},
		{name: "component hangs", plane: clustertest.Plane{Hang: "kube-apiserver"}, want: "wait for kube-apiserver: starting: not done within LIMIT"},
		{name: "component fails for good", plane: clustertest.Plane{Sick: "etcd"}, want: "run control plane: etcd: it is sick"},
		{name: "node is not ready", plane: clustertest.Plane{Lacking: []string{"n2"}}, want: "wait for node on node n2: it is not ready: container runtime is down"},
		{name: "DNS does not answer", plane: clustertest.Plane{NoDNS: true}, want: "wait for cluster DNS: not done within LIMIT"},
		{
			name: "node cannot be made", want: "make node on node n2: create demo/n2: no space left on device",
			hook: func(_ context.Context, op string, n cluster.Node) error {
				if op == "create" && n.Name == "n2" {
					return errors.New("no space left on device")
				}
				return nil
			},
		},
		{
			name: "image cannot be imported", want: "prepare node image: prepare demo/: no space left on device",
			hook: func(_ context.Context, op string, _ cluster.Node) error {
				if op == "prepare" {
					return errors.New("no space left on device")
				}
				return nil
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b, err := failUp(t, tt.plane, tt.hook, func(limit time.Duration) string { return strings.ReplaceAll(tt.want, "LIMIT", limit.String()) })
			var e *cluster.Error
			if !errors.As(err, &e) || !strings.Contains(strings.Join(e.Log, "\n"), tt.log) {
				t.Errorf("no %q in the log of %v", tt.log, describe(err))
			}
			b.checkGone(t)
		})
	}
}

// failUp runs an up that fails with the error wanted. What it fails at may take a busy machine a while to come to, so that
// it gets more and more time; it is an error if none is enough.
func failUp(t *testing.T, plane clustertest.Plane, hook func(context.Context, string, cluster.Node) error, want func(limit time.Duration) string) (*bench, error) {
	t.Helper()
	for limit := 700 * time.Millisecond; ; limit *= 4 {
		b := newBench(t)
		plane.Install(t, b.Home)
		b.fake.Hook = hook
		_, err := b.Up(t.Context(), request(2), host.UpOptions{Timeout: limit})
		switch {
		case err != nil && strings.Contains(err.Error(), want(limit)):
			return b, err
		case err == nil || limit > 30*time.Second:
			t.Fatalf("error is %v, want %q in it", describe(err), want(limit))
		}
		b.checkGone(t)
	}
}

func TestFailedUpRetains(t *testing.T) {
	b := newBench(t)
	clustertest.Plane{Exit: "etcd: database is corrupt"}.Install(t, b.Home)
	if _, err := b.Up(t.Context(), request(1), host.UpOptions{Retain: true}); err == nil {
		t.Fatal("no error")
	}
	info, err := b.Inspect(t.Context(), "demo")
	if err != nil {
		t.Fatal(err)
	}
	if info.Phase != cluster.PhaseFailed || info.Reason != "etcd: database is corrupt" {
		t.Errorf("info is %+v", info)
	}
	clustertest.Plane{}.Install(t, b.Home)
	if r := b.mustUp(t, request(1)); r.Running {
		t.Error("the job was not finished")
	}
}

// A failed up of a cluster that was there before takes away only what is new.
func TestFailedGrowth(t *testing.T) {
	b := newBench(t)
	b.mustUp(t, request(1))
	clustertest.Plane{Lacking: []string{"n2"}}.Install(t, b.Home)
	kill(t, b, planePID(t, b))
	if _, err := b.Up(t.Context(), request(2), host.UpOptions{Timeout: 700 * time.Millisecond}); err == nil {
		t.Fatal("no error")
	}
	if r := b.mustUp(t, request(-1)); r.Nodes != 1 {
		t.Errorf("there are %d nodes", r.Nodes)
	}
	want := []string{"prepare demo", "create demo/n1", "prepare demo", "create demo/n2", "delete demo/n2"}
	if diff := cmp.Diff(want, b.fake.History()); diff != "" {
		t.Error(diff)
	}
}

func TestCancelledUpLeavesNothing(t *testing.T) {
	for _, stage := range []string{"prepare", "create", "wait"} {
		t.Run(stage, func(t *testing.T) {
			b := newBench(t)
			clustertest.Plane{Hang: "etcd"}.Install(t, b.Home)
			interrupted := errors.New("interrupted")
			ctx, cancel := context.WithCancelCause(t.Context())
			b.fake.Hook = func(hookCtx context.Context, op string, n cluster.Node) error {
				if op != stage || n.Name == "n1" {
					return nil
				}
				cancel(interrupted)
				<-hookCtx.Done()
				return hookCtx.Err()
			}
			if stage == "wait" {
				record := b.Events
				b.Events = func(e cluster.Event) {
					record(e)
					if e.Step == cluster.StepControlPlane && e.State == cluster.StepRunning {
						cancel(interrupted)
					}
				}
			}
			_, err := b.Up(ctx, request(2), host.UpOptions{})
			if !errors.Is(err, interrupted) {
				t.Errorf("error is %v", describe(err))
			}
			b.fake.Hook = nil
			b.checkGone(t)
		})
	}
}

func TestTwoUpsAtOnce(t *testing.T) {
	b := newBench(t)
	results := make([]*host.Result, 2)
	var g sync.WaitGroup
	for i := range results {
		g.Go(func() {
			r, err := b.Up(t.Context(), request(2), host.UpOptions{})
			if err != nil {
				t.Error(describe(err))
			}
			results[i] = r
		})
	}
	g.Wait()
	if t.Failed() {
		return
	}
	if results[0].Running == results[1].Running {
		t.Error("one of the two must have found the other's work")
	}
	waited := slices.ContainsFunc(b.events, func(e cluster.Event) bool {
		return e.State == cluster.StepWarning && strings.Contains(e.Message, fmt.Sprintf("process %d (kl up)", os.Getpid()))
	})
	if !waited {
		t.Error("nothing told who held the lock")
	}
}

func TestUpNamesDamage(t *testing.T) {
	tests := []struct {
		name, file string
		damage     func(path string) error
		want       string
	}{
		{"truncated cluster.yaml", "cluster.yaml", func(p string) error { return os.Truncate(p, 25) }, "apiVersion and kind"},
		{"empty cluster.yaml", "cluster.yaml", func(p string) error { return os.Truncate(p, 0) }, "apiVersion and kind"},
		{"missing cluster.yaml", "cluster.yaml", os.Remove, "file does not exist"},
		{"unknown field", "cluster.yaml", appendLine("nods: 3"), `unknown field "nods"`},
		{"not YAML", "cluster.yaml", appendLine("\t{"), "yaml"},
		{"missing key", "pki/apiserver.key", os.Remove, "no such file"},
		{"truncated certificate", "pki/ca.crt", func(p string) error { return os.Truncate(p, 25) }, "no PEM block"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			b.mustUp(t, request(1))
			kill(t, b, planePID(t, b))
			path := filepath.Join(b.Home.Cluster("demo").Dir(), tt.file)
			if err := tt.damage(path); err != nil {
				t.Fatal(err)
			}
			_, err := b.Up(t.Context(), request(-1), host.UpOptions{})
			if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v, want %s and %q in it", err, path, tt.want)
			}
			if info, err := b.Inspect(t.Context(), "demo"); err != nil || (tt.file == "cluster.yaml" && len(info.Problems) == 0) {
				t.Errorf("inspect: %+v, %v", info, err)
			}
			if _, err := b.Down(t.Context(), "demo"); err != nil {
				t.Errorf("down: %v", err)
			}
			b.checkGone(t)
		})
	}
}

func appendLine(line string) func(string) error {
	return func(path string) error {
		f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = f.WriteString(line + "\n")
		return err
	}
}

func TestUpNamesWhoHasThePort(t *testing.T) {
	b := newBench(t)
	b.mustUp(t, request(1))
	kill(t, b, planePID(t, b))
	spec, err := cluster.ReadSpec(b.Home.Cluster("demo"))
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", spec.Kubernetes.APIServerPort))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, err = b.Up(t.Context(), request(-1), host.UpOptions{})
	if want := fmt.Sprintf("process %d ", os.Getpid()); err == nil || !strings.Contains(describe(err), want) {
		t.Errorf("error is %s, want %q in it", describe(err), want)
	}
}

func TestUpRefuses(t *testing.T) {
	t.Run("fewer nodes", func(t *testing.T) {
		b := newBench(t)
		b.mustUp(t, request(2))
		_, err := b.Up(t.Context(), request(1), host.UpOptions{})
		if err == nil || !strings.Contains(err.Error(), "it has 2 nodes, 1 were asked for") {
			t.Errorf("error is %v", err)
		}
		if r := b.mustUp(t, request(-1)); !r.Running {
			t.Error("the refusal changed something")
		}
	})
	t.Run("nodes of another home", func(t *testing.T) {
		b := newBench(t)
		b.mustUp(t, request(1))
		other := *b.Host
		other.Home = cluster.Home(filepath.Join(filepath.Dir(string(b.Home)), "other"))
		_, err := other.Up(t.Context(), request(1), host.UpOptions{})
		if err == nil || !strings.Contains(err.Error(), "knows nothing about") {
			t.Errorf("error is %v", err)
		}
		if r := b.mustUp(t, request(-1)); !r.Running {
			t.Error("the refusal changed something")
		}
	})
	t.Run("a name", func(t *testing.T) {
		b := newBench(t)
		for _, name := range []string{"Demo", "a/b", "-a", "a-", "..", strings.Repeat("a", 33)} {
			if _, err := b.Up(t.Context(), cluster.Spec{Name: name}, host.UpOptions{}); err == nil {
				t.Errorf("%q is fine", name)
			}
		}
		if _, err := os.Stat(string(b.Home)); err == nil {
			t.Error("files were made")
		}
	})
	t.Run("a long path", func(t *testing.T) {
		b := newBench(t)
		b.Home = cluster.Home(filepath.Join(string(b.Home), strings.Repeat("x", 80)))
		_, err := b.Up(t.Context(), request(1), host.UpOptions{})
		if err == nil || !strings.Contains(describe(err), "KL_HOME") {
			t.Errorf("error is %v", err)
		}
	})
}
