package host_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/host"
)

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
	for _, file := range []string{"node.json", "ca.crt", "tunnel-token", "logs"} {
		if _, err := os.Stat(filepath.Join(l.NodeDir("n2"), file)); err != nil {
			t.Error(err)
		}
	}
	if planePID(t, b) == 0 {
		t.Error("no control plane runs")
	}
	existed, err := b.Down(t.Context(), "demo")
	if err != nil || !existed {
		t.Fatalf("down: %v, %v", existed, err)
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
		{"truncated certificate", "pki/ca.crt", func(p string) error { return os.Truncate(p, 25) }, "does not contain any valid"},
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
	t.Run("nodes whose files are gone", func(t *testing.T) {
		b := newBench(t)
		b.mustUp(t, request(1))
		other := *b.Host
		other.Home = cluster.Home(filepath.Join(filepath.Dir(string(b.Home)), "other"))
		_, err := other.Up(t.Context(), request(1), host.UpOptions{})
		if err == nil || !strings.Contains(err.Error(), "whose files are gone") {
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
