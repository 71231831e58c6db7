package config

import (
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/klkube/kl/cluster"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func testMachine() Machine {
	return Machine{
		CPUs: 4, Memory: 16 << 30, Exists: func(p string) bool { return p == "/tmp" },
		HasIP: func(ip netip.Addr) bool { return ip == netip.MustParseAddr("192.0.2.7") },
	}
}

// TestSpecs reads every testdata/spec file: valid-* must parse and survive a round trip, invalid-* must report exactly
// the problems of its .golden file.
func TestSpecs(t *testing.T) {
	files, err := filepath.Glob("../../testdata/spec/*.yaml")
	if err != nil || len(files) < 10 {
		t.Fatalf("found %d spec files: %v", len(files), err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		t.Run(strings.TrimSuffix(name, ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			spec, err := Parse(name, data, testMachine())
			if strings.HasPrefix(name, "valid-") {
				if err != nil {
					t.Fatalf("Parse: %v", err)
				}
				checkRoundTrip(t, spec)
				return
			}
			var ps Problems
			if !errors.As(err, &ps) {
				t.Fatalf("Parse gave %v, want Problems", err)
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(ps.Error()+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), ps.Error()+"\n"); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func checkRoundTrip(t *testing.T, spec cluster.Spec) {
	t.Helper()
	out, err := View(spec)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse("view", out, testMachine())
	if err != nil {
		t.Fatalf("Parse(View(spec)): %v\n%s", err, out)
	}
	if diff := cmp.Diff(spec, again); diff != "" {
		t.Errorf("round trip (-want +got):\n%s", diff)
	}
}

func TestParseKeepsWhatIsSaid(t *testing.T) {
	data, err := os.ReadFile("../../testdata/spec/valid-full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse("f", data, testMachine())
	if err != nil {
		t.Fatal(err)
	}
	if got.NodeCount() != 3 || got.Nodes[2].Count != 100 || !got.Nodes[2].Simulated {
		t.Errorf("nodes: %+v", got.Nodes)
	}
	if got.Networking.Gateway != cluster.DefaultGateway || got.Networking.DNS != "10.101.0.10" {
		t.Errorf("networking: %+v", got.Networking)
	}
	if got.Kubernetes.KubeletPatch["maxPods"] == nil {
		t.Errorf("kubelet patch lost: %+v", got.Kubernetes)
	}
}

// A key or value that looks like something else in YAML 1.1 is what is written, and what is inside Kubernetes' own fields is
// what kubectl makes of it.
func TestParseKeepsWords(t *testing.T) {
	got, err := Parse("f", []byte(`apiVersion: kl.dev/v1alpha1
kind: Cluster
kubernetes:
  featureGates: {No: true, "on": false, 12: true}
  runtimeConfig: {api/all: off}
  extraArgs: {kube-apiserver: {event-ttl: 1h, v: 07}}
  kubeletPatch: {failSwapOn: no, memoryManagerPolicy: "No", podPidsLimit: 9007199254740993, evictionHard: {memory.available: 5}}
`), testMachine())
	if err != nil {
		t.Fatal(err)
	}
	want := cluster.Kubernetes{
		FeatureGates: map[string]bool{"No": true, "on": false, "12": true}, RuntimeConfig: map[string]string{"api/all": "off"},
		ExtraArgs: map[string]map[string]string{"kube-apiserver": {"event-ttl": "1h", "v": "07"}},
		KubeletPatch: map[string]any{"failSwapOn": false, "memoryManagerPolicy": "No", "podPidsLimit": float64(9007199254740993),
			"evictionHard": map[string]any{"memory.available": 5.0}},
	}
	if diff := cmp.Diff(want, got.Kubernetes); diff != "" {
		t.Errorf("kubernetes (-want +got):\n%s", diff)
	}
}

// What is wrong with a file that is named is one printable line, whatever its name is.
func TestOddFileNames(t *testing.T) {
	for _, text := range []string{"kubernetes: {schedulerConfig: \"/\\e[31m\"}", "nodes: [{count: 1, mounts: [{host: \"/\\e[31m\", node: /x}]}]", "audit: {policy: \"/\\e[31m\"}"} {
		_, err := Parse("f", []byte("apiVersion: kl.dev/v1alpha1\nkind: Cluster\n"+text+"\n"), testMachine())
		if err == nil || !strings.HasSuffix(err.Error(), `"/\x1b[31m" does not exist`) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// A scheduler's configuration is found from the file that names it, wherever kl is started.
func TestSchedulerConfigIsRelativeToTheFile(t *testing.T) {
	dir := t.TempDir()
	m := testMachine()
	m.Exists = func(p string) bool { return p == filepath.Join(dir, "sched.yaml") }
	head := "apiVersion: kl.dev/v1alpha1\nkind: Cluster\nkubernetes:\n  schedulerConfig: "
	for _, tt := range []struct{ file, value, want, problem string }{
		{file: filepath.Join(dir, "kl.yaml"), value: "sched.yaml", want: filepath.Join(dir, "sched.yaml")},
		{file: filepath.Join(dir, "sub", "kl.yaml"), value: "../sched.yaml", want: filepath.Join(dir, "sched.yaml")},
		{file: "elsewhere/kl.yaml", value: filepath.Join(dir, "sched.yaml"), want: filepath.Join(dir, "sched.yaml")},
		{file: filepath.Join(dir, "sub", "kl.yaml"), value: "sched.yaml", problem: ":4:20: kubernetes.schedulerConfig: " + dir + "/sub/sched.yaml does not exist"},
		{file: "-", value: "sched.yaml", problem: `-:4:20: kubernetes.schedulerConfig: "sched.yaml" is not an absolute path`},
		{file: "-", value: "\"kind: KubeSchedulerConfiguration\\n\"", want: "kind: KubeSchedulerConfiguration\n"},
	} {
		got, err := Parse(tt.file, []byte(head+tt.value+"\n"), m)
		switch {
		case tt.problem != "" && (err == nil || !strings.Contains(err.Error(), tt.problem)):
			t.Errorf("%s in %s: %v, want %q", tt.value, tt.file, err, tt.problem)
		case tt.problem == "" && (err != nil || got.Kubernetes.Scheduler != tt.want):
			t.Errorf("%s in %s = %q, %v, want %q", tt.value, tt.file, got.Kubernetes.Scheduler, err, tt.want)
		}
	}
}

// The API server's port may have been chosen before the file was written.
func TestPortClashes(t *testing.T) {
	s := cluster.DefaultSpec()
	s.Nodes[0].Ports = []cluster.Port{{Host: 20001, Node: 80}, {Host: 20000, Node: 80, Address: "0.0.0.0"}, {Host: 20000, Node: 80, Protocol: "udp"}}
	if ps := PortClashes(s, 20000); len(ps) != 1 || !strings.Contains(ps.Error(), "nodes[0].ports[1].host: tcp port 20000 is taken by kubernetes.apiServerPort") {
		t.Errorf("clashes: %v", ps)
	}
	if ps := PortClashes(s, 30000); len(ps) != 0 {
		t.Errorf("clashes: %v", ps)
	}
}

// What is wrong with a change is found when the file has been read: its place is where the file says so, or would.
func TestLocate(t *testing.T) {
	data := []byte("apiVersion: kl.dev/v1alpha1\nkind: Cluster\nname: x\nnodes:\n  - count: 1\n    ports:\n      - {host: 8080, node: 80}\n      - {host: 20000, node: 80}\n")
	s, err := Parse("kl.yaml", data, Machine{})
	if err != nil {
		t.Fatal(err)
	}
	clashes := PortClashes(s, 20000).Locate("kl.yaml", data)
	if want := "kl.yaml:8:16: nodes[0].ports[1].host: tcp port 20000 is taken by kubernetes.apiServerPort already"; clashes.Error() != want {
		t.Errorf("%s\nwant %s", clashes, want)
	}
	old := s
	old.Nodes = slices.Clone(s.Nodes)
	old.Nodes[0].CPUs = "2"
	_, err = Plan(old, s)
	var refused Problems
	if !errors.As(err, &refused) {
		t.Fatalf("a change of the size: %v", err)
	}
	if got, want := refused.Locate("kl.yaml", data).Error(), `kl.yaml:5:5: nodes[0].cpus: cannot change from "2" to none`; !strings.HasPrefix(got, want) {
		t.Errorf("%s\nwant %s…", got, want)
	}
}

func TestNearest(t *testing.T) {
	for _, c := range []struct{ name, want string }{
		{"podCidr", "podCIDR"}, {"memmory", "memory"}, {"counts", "count"}, {"xyzzy", ""}, {"label", "labels"},
	} {
		if got := Nearest(c.name, []string{"podCIDR", "memory", "count", "labels", "taints"}); got != c.want {
			t.Errorf("Nearest(%q) = %q, want %q", c.name, got, c.want)
		}
	}
}

// TestDescriptions holds the schema to the type: each field has one description, and none describes a field that is gone.
func TestDescriptions(t *testing.T) {
	fields := map[string]bool{}
	var visit func(rt reflect.Type, path string)
	visit = func(rt reflect.Type, path string) {
		switch rt.Kind() {
		case reflect.Struct:
			for f := range rt.Fields() {
				p := join(path, jsonName(f))
				fields[p] = true
				if descriptions()[p] == "" {
					t.Errorf("field %s has no description", p)
				}
				visit(f.Type, p)
			}
		case reflect.Slice:
			visit(rt.Elem(), path+"[]")
		}
	}
	visit(specType(), "")
	for p := range descriptions() {
		if !fields[p] {
			t.Errorf("description of %s, which is no field", p)
		}
	}
	for p := range enums() {
		if !fields[strings.TrimSuffix(p, "[]")] {
			t.Errorf("words for %s, which is no field", p)
		}
	}
	if _, err := Schema(); err != nil {
		t.Errorf("Schema: %v", err)
	}
}

func TestPlan(t *testing.T) {
	base := cluster.DefaultSpec()
	base.Driver = "docker"
	change := func(f func(*cluster.Spec)) cluster.Spec {
		s := base
		s.Nodes = append([]cluster.NodeGroup(nil), base.Nodes...)
		f(&s)
		return s
	}
	tests := []struct {
		name    string
		new     cluster.Spec
		want    []string
		refused string
	}{
		{name: "nothing", new: change(func(*cluster.Spec) {})},
		{name: "auto keeps the driver", new: change(func(s *cluster.Spec) { s.Driver = "auto" })},
		{name: "count", new: change(func(s *cluster.Spec) { s.Nodes[0].Count = 3 }), want: []string{"nodes[0].count: 1 → 3 (nodes)"}},
		{name: "group", new: change(func(s *cluster.Spec) { s.Nodes = append(s.Nodes, cluster.NodeGroup{Count: 1}) }),
			want: []string{`nodes[1]: none → {"count":1} (nodes)`}},
		{name: "labels", new: change(func(s *cluster.Spec) { s.Nodes[0].Labels = map[string]string{"a": "b"} }),
			want: []string{`nodes[0].labels: none → {"a":"b"} (live)`}},
		{name: "api server flag", new: change(func(s *cluster.Spec) {
			s.Kubernetes.ExtraArgs = map[string]map[string]string{"kube-apiserver": {"v": "4"}}
		}), want: []string{`kubernetes.extraArgs.kube-apiserver: none → {"v":"4"} (control plane)`}},
		{name: "kubelet flag", new: change(func(s *cluster.Spec) {
			s.Kubernetes.ExtraArgs = map[string]map[string]string{"kubelet": {"v": "4"}}
		}), want: []string{`kubernetes.extraArgs.kubelet: none → {"v":"4"} (restarts the nodes)`}},
		{name: "disable", new: change(func(s *cluster.Spec) { s.Disable = []cluster.Feature{"loadBalancer"} }),
			want: []string{`disable: none → ["loadBalancer"] (restarts all)`}},
		{name: "pod range", new: change(func(s *cluster.Spec) { s.Networking.PodCIDR = "10.0.0.0/16" }), refused: "networking.podCIDR"},
		{name: "driver", new: change(func(s *cluster.Spec) { s.Driver = "embedded" }), refused: "nodes cannot move"},
		{name: "tcp ports", new: change(func(s *cluster.Spec) { s.Nodes[0].Ports = []cluster.Port{{Host: 8080, Node: 80}} }),
			want: []string{`nodes[0].ports: none → [{"host":8080,"node":80}] (live)`}},
		{name: "udp ports", new: change(func(s *cluster.Spec) { s.Nodes[0].Ports = []cluster.Port{{Host: 53, Node: 53, Protocol: "udp"}} }),
			refused: "nodes[0].ports: cannot change from none to"},
		{name: "memory", new: change(func(s *cluster.Spec) { s.Nodes[0].Memory = "1Gi" }), refused: "nodes[0].memory"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			changes, err := Plan(base, tt.new)
			if tt.refused != "" {
				if err == nil || !strings.Contains(err.Error(), tt.refused) {
					t.Fatalf("Plan gave %v, want a refusal naming %q", err, tt.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, c := range changes {
				got = append(got, c.String())
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("changes (-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("../../testdata/spec/*.yaml")
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		spec, err := Parse("f", data, testMachine())
		if err == nil {
			if err := Check(spec, testMachine()); err != nil {
				t.Errorf("Parse accepts what Check refuses: %v", err)
			}
		}
	})
}
