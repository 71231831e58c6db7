package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/clustertest"
	"github.com/klkube/kl/cluster/host"
	"github.com/klkube/kl/cluster/images"
	"github.com/klkube/kl/cluster/kltest/holder"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] { // kl run starts kl, which is this binary
		case holder.Command:
			os.Exit(holder.Run(os.Args[0], os.Args[2:], os.Stdin, os.Stdout, os.Stderr))
		case "down", "logs":
			os.Exit(startedByRun(os.Args[1:]))
		}
	}
	if len(os.Args) == 4 && os.Args[1] == host.SuperviseCommand {
		os.Exit(host.Supervise(os.Args[2], os.Args[3], nil))
	}
	flag.Bool("update", false, "write the golden files")
	clustertest.PlaneMain(m)
}

// machine is a machine with a fake driver for commands to run on.
type machine struct {
	t     *testing.T
	fake  *clustertest.Fake
	env   Env
	stdin io.Reader // of every command; nil is the text that run is given
	ran   []string  // base name of the program that Exec ran, its KUBECONFIG below KL_HOME, and its arguments
}

// imageDriver is a driver with an engine that has images.
type imageDriver struct {
	*clustertest.Fake
	images map[string][]byte
}

func (d imageDriver) ImageIDs(_ context.Context, names []string) (map[string]string, string, error) {
	if _, ok := d.images[images.Short(names[0])]; !ok {
		return nil, "", cluster.ErrNoImage
	}
	return map[string]string{names[0]: "sha256:0"}, "", nil
}

func (d imageDriver) FindImage(ctx context.Context, name string) (cluster.EngineImage, error) {
	ids, _, err := d.ImageIDs(ctx, []string{name})
	return cluster.EngineImage{ID: ids[name]}, err
}

func (imageDriver) ImageTags(context.Context, string) ([]string, error) { return nil, nil }

func (d imageDriver) SaveImages(_ context.Context, names []string) (io.ReadCloser, error) {
	data, ok := d.images[images.Short(names[0])]
	if !ok {
		return nil, cluster.ErrNoImage
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	dir, err := os.MkdirTemp("", "kl") //nolint:usetesting // sockets need a shorter path than t.TempDir gives
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, fake: clustertest.NewFake()}
	home := cluster.Home(filepath.Join(dir, "home"))
	m.fake.Changed = clustertest.Running(home)
	driver := imageDriver{m.fake, map[string][]byte{"app:1": imageTar(), "half:1": imageTar()[:1600]}}
	m.env = Env{
		UserHome: dir, Home: home, Payload: clustertest.PlanePayload,
		Getenv:  func(string) string { return "" },
		Version: Version{KL: "v0.1.0", Kubernetes: "v1.36.3"},
		Drivers: []DriverFactory{{Name: cluster.DriverDocker, Open: func(context.Context, *slog.Logger) (cluster.Driver, error) { return driver, nil }}},
		Exec: func(program string, args, environ []string) error {
			i := slices.IndexFunc(environ, func(s string) bool { return strings.HasPrefix(s, "KUBECONFIG=") })
			kubeconfig := ""
			if i >= 0 {
				kubeconfig = strings.TrimPrefix(environ[i], "KUBECONFIG="+string(home)+"/")
			}
			m.ran = append([]string{filepath.Base(program), kubeconfig}, args...)
			return nil
		},
	}
	m.env.Elsewhere = func(home cluster.Home) Env {
		m.fake.Changed = clustertest.Running(home)
		e := m.env
		e.Home = home
		return e
	}
	t.Cleanup(func() {
		m.run("down", "--all")
		os.RemoveAll(dir)
	})
	return m
}

func imageTar() []byte { return clustertest.Tar(clustertest.DockerArchive("app:1")...) }

// run runs a command line.
func (m *machine) run(args ...string) (stdout, stderr string, code int) {
	return m.runWith("", args...)
}

func (m *machine) runWith(stdin string, args ...string) (stdout, stderr string, code int) {
	var out, errs bytes.Buffer
	e := m.env
	e.In, e.Out, e.Err = strings.NewReader(stdin), &out, &errs
	if m.stdin != nil {
		e.In = m.stdin
	}
	code = Main(context.WithoutCancel(m.t.Context()), e, args)
	return out.String(), errs.String(), code
}

// must runs a command line that has to succeed, and returns its standard output.
func (m *machine) must(args ...string) string {
	m.t.Helper()
	stdout, stderr, code := m.run(args...)
	if code != exitOK {
		m.t.Fatalf("kl %s: exit code %d\n%s%s", strings.Join(args, " "), code, stdout, stderr)
	}
	return stdout
}

// TestStory runs commands in the order in which a user might.
func TestStory(t *testing.T) {
	m := newMachine(t)
	stdout, stderr, code := m.run("up", "--nodes", "2")
	if code != exitOK {
		t.Fatal(stderr)
	}
	for _, want := range []string{"Cluster kl is up in ", "Kubernetes v1.36.3, 2 nodes (docker)", "kubectl --context kl-kl get nodes", "kl kubectl get pods -A"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in:\n%s", want, stdout)
		}
	}
	if !strings.Contains(stderr, "control plane done in") {
		t.Errorf("no progress in:\n%s", stderr)
	}
	t.Run("up again", func(t *testing.T) {
		if out := m.must("up"); !strings.HasPrefix(out, "Cluster kl is already running: Kubernetes v1.36.3, 2 nodes.\n") {
			t.Error(out)
		}
	})
	t.Run("list", func(t *testing.T) {
		fields := strings.Fields(strings.Split(m.must("list"), "\n")[1])
		if diff := cmp.Diff([]string{"kl", "Ready", "2", "v1.36.3", "docker"}, fields[:5]); diff != "" {
			t.Error(diff)
		}
		var infos []host.Info
		decode(t, m.must("list", "-o", "json"), &infos)
		if len(infos) != 1 || infos[0].Name != "kl" || len(infos[0].Nodes) != 2 {
			t.Errorf("infos are %+v", infos)
		}
	})
	t.Run("status", func(t *testing.T) {
		out := m.must("status")
		for _, want := range []string{"state       Ready", "driver      docker", "memory      200 MB", "kube-apiserver   Serving", "80 MB"} {
			if !strings.Contains(out, want) {
				t.Errorf("no %q in:\n%s", want, out)
			}
		}
		var got struct {
			Phase string
			Nodes []nodeRow
		}
		decode(t, m.must("status", "-o", "json"), &got)
		if got.Phase != "Ready" || len(got.Nodes) != 2 || !got.Nodes[1].Ready || got.Nodes[1].Memory != 80_000_000 {
			t.Errorf("status is %+v", got)
		}
	})
	t.Run("node list", func(t *testing.T) {
		fields := strings.Fields(strings.Split(m.must("node", "list"), "\n")[2])
		if diff := cmp.Diff([]string{"n2", "Running", "yes"}, fields[:3]); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("node shell", func(t *testing.T) {
		out, _, code := m.runWith("hello\n", "node", "shell", "n2", "--", "cat")
		if out != "hello\n" || code != 0 {
			t.Errorf("exit code %d, %q", code, out)
		}
		if _, stderr, code := m.run("node", "shell", "n2", "--", "false"); code != 1 || stderr != "" {
			t.Errorf("false: exit code %d, %q", code, stderr)
		}
		if _, stderr, code := m.run("node", "shell", "n9"); code != exitFailed || !strings.Contains(stderr, "has no such node") {
			t.Errorf("n9: exit code %d, %q", code, stderr)
		}
	})
	t.Run("logs", func(t *testing.T) { testLogs(t, m) })
	t.Run("kubeconfig", func(t *testing.T) {
		if out := m.must("kubeconfig"); !strings.Contains(out, "current-context: kl-kl") {
			t.Error(out)
		}
		path := filepath.Join(m.env.UserHome, ".kube", "config")
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		m.must("kubeconfig", "--merge")
		if data, err := os.ReadFile(path); err != nil || !bytes.Contains(data, []byte("current-context: kl-kl")) {
			t.Errorf("%s, %v", data, err)
		}
	})
	t.Run("kubectl", func(t *testing.T) {
		m.must("kubectl", "get", "pods", "-A", "--help")
		want := []string{filepath.Base(os.Args[0]), "clusters/kl/kubeconfig", "kl-engine", "kubectl", "get", "pods", "-A", "--help"}
		if diff := cmp.Diff(want, m.ran); diff != "" {
			t.Error(diff)
		}
		t.Setenv("KUBECONFIG", "mine")
		m.must("kubectl", "-n", "dev", "config", "set-context", "--current", "--namespace=dev")
		if m.ran[1] != "KUBECONFIG=mine" {
			t.Errorf("kubectl config changes %s, not the user's kubeconfig", m.ran[1])
		}
	})
	t.Run("image load", func(t *testing.T) { testImageLoad(t, m) })
	t.Run("completion", func(t *testing.T) {
		for args, want := range map[string]string{
			"node shell ":    "n1\nn2\n:4\n",
			"status --name ": "kl\n:4\n",
			"up --driver ":   "auto\ndocker\nsimulated\n:4\n",
		} {
			if out := m.must(append([]string{"__complete"}, strings.Split(args, " ")...)...); out != want {
				t.Errorf("%s: %q, want %q", args, out, want)
			}
		}
	})
	if out := m.must("down"); out != "Cluster kl is removed.\n" {
		t.Error(out)
	}
	if out := m.must("down"); out != "There is no cluster kl.\n" {
		t.Error(out)
	}
}

func decode(t *testing.T, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
}

func testLogs(t *testing.T, m *machine) {
	l := m.env.Home.Cluster("kl")
	if out := m.must("logs"); out != "fake control plane starts\n" {
		t.Errorf("control plane: %q", out)
	}
	for path, text := range map[string]string{
		l.LogFile("etcd"): "1\n2\n3\n", l.NodeLogFile("n1", "node"): "node\n", l.NodeLogFile("n1", "containerd"): "containerd\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for args, want := range map[string]string{
		"etcd": "1\n2\n3\n", "etcd --tail 2": "2\n3\n", "etcd --tail 0": "", "etcd --tail 9": "1\n2\n3\n",
		"n1": "node\n", "n1/containerd": "containerd\n",
	} {
		if out := m.must(append([]string{"logs"}, strings.Fields(args)...)...); out != want {
			t.Errorf("%s: %q, want %q", args, out, want)
		}
	}
	_, stderr, code := m.run("logs", "../../pki/ca.key")
	if want := "logs are: control-plane, etcd, n1/containerd, n1, n1/node\n"; code != exitFailed || !strings.HasSuffix(stderr, want) {
		t.Errorf("exit code %d, %q", code, stderr)
	}
}

func testImageLoad(t *testing.T, m *machine) {
	const want = "n1 loaded docker.io/library/app:1 in 0.0 s\nn2 loaded docker.io/library/app:1 in 0.0 s\n"
	t.Setenv("TMPDIR", t.TempDir()) // other programs load images, too
	file := filepath.Join(t.TempDir(), "app.tar")
	if err := os.WriteFile(file, imageTar(), 0o600); err != nil {
		t.Fatal(err)
	}
	before, _ := filepath.Glob(filepath.Join(os.TempDir(), "kl-image-*"))
	for name, run := range map[string]func() (string, string, int){
		"by name": func() (string, string, int) { return m.run("image", "load", "app:1") },
		"a file":  func() (string, string, int) { return m.run("image", "load", file) },
		"stdin":   func() (string, string, int) { return m.runWith(string(imageTar()), "image", "load", "-") },
	} {
		if out, stderr, code := run(); code != exitOK || out != want {
			t.Errorf("%s: exit code %d, %q, %q", name, code, out, stderr)
		}
	}
	_, stderr, code := m.run("image", "load", "app:2")
	if code != exitFailed || !strings.Contains(stderr, "find app:2: no such image\n    there is no such file, and no such image in docker") {
		t.Errorf("unknown: exit code %d, %q", code, stderr)
	}
	_, stderr, code = m.run("image", "load", "half:1")
	if want := "kl: take half:1 from the container engine: it sent half of it ("; code != exitFailed || !strings.HasPrefix(stderr, want) || strings.Count(stderr, "\n") != 2 {
		t.Errorf("an engine that goes away: exit code %d, %q", code, stderr)
	}
	if after, _ := filepath.Glob(filepath.Join(os.TempDir(), "kl-image-*")); len(after) > len(before) {
		t.Errorf("left: %q", after)
	}
}

func TestUpJSON(t *testing.T) {
	m := newMachine(t)
	var steps []string
	var result host.Result
	for dec := json.NewDecoder(strings.NewReader(m.must("up", "--name", "big", "-o", "json"))); dec.More(); {
		var line struct {
			cluster.Event
			Result *host.Result
		}
		if err := dec.Decode(&line); err != nil {
			t.Fatal(err)
		}
		if line.Result != nil {
			result = *line.Result
			continue
		}
		steps = append(steps, line.Step+" "+string(line.State))
	}
	if result.Cluster != "big" || result.Context != "kl-big" || result.Seconds <= 0 {
		t.Errorf("result is %+v", result)
	}
	for _, want := range []string{"payload Started", "certificates Done", "control plane Done", "n1 Done", "kubeconfig Done"} {
		if !slices.Contains(steps, want) {
			t.Errorf("no %q in %q", want, steps)
		}
	}
}

func TestFailedUpShowsTheLog(t *testing.T) {
	m := newMachine(t)
	clustertest.Plane{Exit: "etcd: database is corrupt"}.Install(t, m.env.Home)
	_, stderr, code := m.run("up")
	for _, want := range []string{
		"kl: run control plane: etcd: database is corrupt\n",
		"    'kl up --retain' keeps what a failed up made, with all logs\n",
		"  | fake control plane starts\n",
	} {
		if !strings.Contains(stderr, want) || code != exitFailed {
			t.Errorf("exit code %d, no %q in:\n%s", code, want, stderr)
		}
	}
	file := m.env.Home.Cluster("kl").LogFile(cluster.ControlPlane)
	if strings.Contains(stderr, file) {
		t.Errorf("a log is named that is gone:\n%s", stderr)
	}
	_, stderr, _ = m.run("up", "--retain")
	if _, err := os.Stat(file); err != nil || !strings.Contains(stderr, "    the whole log: "+file+"\n") {
		t.Errorf("the log that is kept (%v) is not named:\n%s", err, stderr)
	}
}

func TestFailedUpPrintsAResult(t *testing.T) {
	m := newMachine(t)
	clustertest.Plane{Exit: "etcd: database is corrupt"}.Install(t, m.env.Home)
	stdout, _, code := m.run("up", "-o", "json")
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	var last struct {
		Result struct{ Cluster, Error string }
	}
	decode(t, lines[len(lines)-1], &last)
	if code != exitFailed || last.Result.Cluster != "kl" || !strings.Contains(last.Result.Error, "database is corrupt") {
		t.Errorf("exit code %d, result %+v", code, last)
	}
}
