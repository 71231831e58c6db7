package export

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/clustertest"
	"github.com/klkube/kl/cluster/host"
	"github.com/klkube/kl/cluster/observe/observetest"
)

// setup is a cluster with one node, whose commands print their names, and an API with a crashing pod and a Secret.
func setup(t *testing.T) (Cluster, *observetest.Server, *clustertest.Fake) {
	t.Helper()
	l := cluster.Home(t.TempDir()).Cluster("shop")
	for name, text := range map[string]string{
		"logs/etcd.log": "ready\n", "logs/etcd-2026-01-02T03-04-05.000.log": "rotated\n", "nodes/n1/logs/node.log": "kubelet\n", "nodes/n1/logs/node.log.1": "rotated\n",
		"audit.log":  `{"verb":"create","objectRef":{"resource":"secrets"},"requestObject":{"data":{"a":"` + marker + `"}}}` + "\n",
		"kubeconfig": "client-key-data: " + marker, "pki/ca.key": marker, "encryption.yaml": marker, "nodes/n1/tunnel-token": marker,
	} {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(l.Dir(), name)), 0o700))
		must(t, os.WriteFile(filepath.Join(l.Dir(), name), []byte(text), 0o600))
	}
	spec := cluster.DefaultSpec()
	spec.Kubernetes.APIServerPort = 6443
	spec.Name, spec.Audit.Webhook.Kubeconfig = "shop", "users:\n- user: {password: "+marker+"}\n"
	spec.Registries.Mirrors = map[string][]string{"docker.io": {"https://ann:" + marker + "@mirror.example"}}
	must(t, cluster.WriteSpec(l, spec))
	must(t, os.Symlink(l.PKI("ca.key"), filepath.Join(l.Dir(), "nodes/n1/logs/link.log")))
	meta := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: "default", Name: name, CreationTimestamp: metav1.Now()}
	}
	crash := &corev1.Pod{ObjectMeta: meta("crash"), Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "app"}}}}
	crash.Status = corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{
		Name: "app", RestartCount: 3, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}},
		LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, FinishedAt: metav1.Now()}},
	}}}
	event := func(name, reason, message string, ago time.Duration) *corev1.Event {
		return &corev1.Event{ObjectMeta: meta(name), Type: corev1.EventTypeWarning, Reason: reason, Message: message, Count: 4,
			InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "crash"}, LastTimestamp: metav1.NewTime(time.Now().Add(-ago))}
	}
	secret := &corev1.Secret{ObjectMeta: meta("db"), Data: map[string][]byte{"password": []byte(marker)}}
	secret.Annotations = map[string]string{corev1.LastAppliedConfigAnnotation: `{"stringData":{"password":"` + marker + `"}}`}
	srv := observetest.Start(t, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}, crash, secret,
		event("b", "BackOff", "Back-off restarting failed container", time.Minute), event("a", "Pulled", "Image pulled", time.Hour/2))
	srv.Log("default", "crash", "the password is "+marker+"\n")

	fake := clustertest.NewFake()
	payload, err := clustertest.PlanePayload(t.Context())
	must(t, err)
	n, err := fake.Create(t.Context(), cluster.NodeSpec{Cluster: "shop", Name: "n1", Payload: payload})
	must(t, err)
	fake.Commands = map[string]func(context.Context, cluster.Node, cluster.ExecSpec) int{}
	for _, name := range []string{"sh", "nft"} {
		fake.Commands[name] = func(_ context.Context, _ cluster.Node, cmd cluster.ExecSpec) int {
			fmt.Fprintln(cmd.Stdout, "output of", name)
			return 0
		}
	}
	return Cluster{
		Layout: l, Version: "v0.1.0", REST: func() (*rest.Config, error) { return srv.Config(), nil },
		Inspect: func(ctx context.Context) (host.Info, error) {
			nodes, err := fake.List(ctx, n.Cluster)
			return host.Info{Name: "shop", Phase: cluster.PhaseReady, Nodes: nodes}, err
		},
		Driver:    func(context.Context) (cluster.Driver, error) { return fake, nil },
		Documents: []Document{{File: "status.txt", Limit: time.Second, Write: func(_ context.Context, w io.Writer) error { _, err := io.WriteString(w, "fine\n"); return err }}},
	}, srv, fake
}

func TestMain(m *testing.M) { clustertest.PlaneMain(m) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// read returns the files of a bundle, and fails for one that others may read, or that holds the marker.
func read(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		must(t, err)
		info, err := d.Info()
		must(t, err)
		if path != dir && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		if d.IsDir() {
			return nil
		}
		data, err := os.ReadFile(path)
		must(t, err)
		name, err := filepath.Rel(dir, path)
		must(t, err)
		if strings.Contains(string(data), marker) {
			t.Errorf("%s holds the value of the Secret:\n%s", name, data)
		}
		files[name] = string(data)
		return nil
	}))
	return files
}

func TestWrite(t *testing.T) {
	c, _, _ := setup(t)
	dir := filepath.Join(t.TempDir(), "new", "bundle")
	r, err := Write(t.Context(), Destination{Dir: dir}, c, nil)
	must(t, err)
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, mode %v", err, info.Mode())
	}
	files := read(t, dir)
	for name, want := range map[string]string{
		"control-plane/logs/etcd.log": "ready\n", "control-plane/logs/etcd-2026-01-02T03-04-05.000.log": "rotated\n",
		"nodes/n1/logs/node.log": "kubelet\n", "nodes/n1/logs/node.log.1": "rotated\n", "nodes/n1/nftables.txt": "output of nft\n",
		"nodes/n1/processes.txt": "output of sh\n", "status.txt": "fine\n",
		"control-plane/cluster.yaml":              "https://(left out)@mirror.example",
		"audit.log":                               `{"objectRef":{"resource":"secrets"},"requestObject":"(left out)","verb":"create"}` + "\n",
		"pods/default/crash/app.log":              "the password is (value of Secret default/db, password)\n",
		"pods/default/crash/app.previous.log":     "the password is (value of Secret default/db, password)\n",
		"objects/namespaces/default/secrets.yaml": "password: (12 bytes)",
		"objects/namespaces/default/pods.yaml":    "name: crash",
		"objects/cluster/nodes.yaml":              "name: n1",
		"events.json":                             `"reason":"BackOff"`,
		"index.txt":                               "- pod default/crash is CrashLoopBackOff: container app keeps ending (exit 1), 3 restarts (on n1)\n",
	} {
		if got := files[name]; got != want && !strings.Contains(got, want) {
			t.Errorf("%s is %q, want %q\n%s", name, got, want, files["index.txt"])
		}
	}
	if lines := strings.Split(files["events.txt"], "\n"); len(lines) != 3 || !strings.HasSuffix(lines[0], "Pulled ×4: Image pulled") || !strings.Contains(lines[1], "  Warning  pod default/crash  BackOff ×4: Back-off") {
		t.Errorf("events are %q", lines)
	}
	for _, want := range []string{"- node n1 is Unknown\n", "s ago, 4 times: BackOff: Back-off restarting", "- timeline of the last start: only a control plane that runs", "nodes/n1/logs/node.log "} {
		if !strings.Contains(files["index.txt"], want) {
			t.Errorf("no %q in:\n%s", want, files["index.txt"])
		}
	}
	if _, ok := files["nodes/n1/logs/link.log"]; ok || len(files) != r.Files || r.Findings != 4 || !r.Searched || r.Path != dir {
		t.Errorf("%d files, %+v:\n%s", len(files), r, files["index.txt"])
	}
}

// TestArchives checks that an archive of each kind holds what a directory does, and that nothing is left beside it.
func TestArchives(t *testing.T) {
	c, _, _ := setup(t)
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "b.tar"), []byte("old"), 0o644))
	_, err := Write(t.Context(), Destination{Dir: filepath.Join(dir, "plain")}, c, nil)
	must(t, err)
	var want []string
	for name := range read(t, filepath.Join(dir, "plain")) {
		want = append(want, "b/"+name)
	}
	slices.Sort(want)
	for _, end := range []string{".tar.zst", ".tar.gz", ".tgz", ".tar"} {
		file := filepath.Join(dir, "b"+end)
		r, err := Write(t.Context(), Destination{File: file}, c, nil)
		must(t, err)
		info, err := os.Stat(file)
		must(t, err)
		if info.Mode() != 0o600 || info.Size() != r.Bytes || r.Path != file {
			t.Errorf("%s: mode %v, %d bytes, %+v", end, info.Mode(), info.Size(), r)
		}
		if d := cmp.Diff(want, list(t, file)); d != "" {
			t.Errorf("%s (-want +got):\n%s", end, d)
		}
	}
	entries, err := os.ReadDir(dir)
	if must(t, err); len(entries) != 5 {
		t.Errorf("left in the directory: %v", entries)
	}
}

// list returns the names of the files in an archive, in order.
func list(t *testing.T, file string) (names []string) {
	t.Helper()
	f, err := os.Open(file)
	must(t, err)
	defer f.Close()
	var r io.Reader = f
	switch {
	case strings.HasSuffix(file, "gz"):
		r, err = gzip.NewReader(f)
		must(t, err)
	case strings.HasSuffix(file, ".zst"):
		z, err := zstd.NewReader(f)
		must(t, err)
		defer z.Close()
		r = z
	}
	for entries := tar.NewReader(r); ; {
		h, err := entries.Next()
		if errors.Is(err, io.EOF) {
			slices.Sort(names)
			return names
		}
		must(t, err)
		n, err := io.Copy(io.Discard, entries)
		if err != nil || n != h.Size {
			t.Errorf("%s: %v, %d of %d bytes", h.Name, err, n, h.Size)
		}
		if h.Typeflag == tar.TypeReg {
			names = append(names, h.Name)
		}
	}
}

// TestWithoutAPI checks that what does not need the API is there without it, with logs of pods from the files of nodes.
func TestWithoutAPI(t *testing.T) {
	c, srv, fake := setup(t)
	srv.Down()
	fake.Commands["find"] = func(_ context.Context, _ cluster.Node, cmd cluster.ExecSpec) int {
		fmt.Fprint(cmd.Stdout, "/var/log/pods/default_crash_1/app/0.log\n/var/log/pods/../../etc/shadow\n")
		return 0
	}
	fake.Commands["tail"] = func(_ context.Context, _ cluster.Node, cmd cluster.ExecSpec) int {
		fmt.Fprintln(cmd.Stdout, "from", cmd.Cmd[len(cmd.Cmd)-1])
		return 0
	}
	dir := t.TempDir()
	_, err := Write(t.Context(), Destination{Dir: dir}, c, nil)
	must(t, err)
	files := read(t, dir)
	if got := files["nodes/n1/pods/default_crash_1/app/0.log"]; got != "from /var/log/pods/default_crash_1/app/0.log\n" {
		t.Errorf("log of the pod is %q", got)
	}
	for _, want := range []string{"- API objects: the API server does not answer: ", "- events: the API server does not answer: ", "- search of logs for values of Secrets: "} {
		if !strings.Contains(files["index.txt"], want) {
			t.Errorf("no %q in:\n%s", want, files["index.txt"])
		}
	}
	if strings.Contains(files["index.txt"], "shadow") || files["control-plane/logs/etcd.log"] == "" || files["nodes/n1/nftables.txt"] == "" {
		t.Errorf("index is\n%s", files["index.txt"])
	}
}

// TestSilentAPI checks that an API server that accepts connections and never answers costs a few seconds.
func TestSilentAPI(t *testing.T) {
	c, _, _ := setup(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it listens at once
	must(t, err)
	defer silent.Close()
	c.REST = func() (*rest.Config, error) { return &rest.Config{Host: "http://" + silent.Addr().String()}, nil }
	began := time.Now()
	dir := t.TempDir()
	_, err = Write(t.Context(), Destination{Dir: dir}, c, nil)
	must(t, err)
	if took := time.Since(began); took > answerLimit+5*time.Second {
		t.Errorf("it took %s", took)
	}
	if index := read(t, dir)["index.txt"]; !strings.Contains(index, "- API objects: no answer in time\n") {
		t.Errorf("index is\n%s", index)
	}
}

// TestUnreadyAPI checks the words for an API server that is starting.
func TestUnreadyAPI(t *testing.T) {
	c, _, _ := setup(t)
	starting := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }))
	defer starting.Close()
	c.REST = func() (*rest.Config, error) { return &rest.Config{Host: starting.URL}, nil }
	dir := t.TempDir()
	_, err := Write(t.Context(), Destination{Dir: dir}, c, nil)
	must(t, err)
	if index := read(t, dir)["index.txt"]; !strings.Contains(index, "- API objects: the API server is not ready: it answers with code 503\n") {
		t.Errorf("index is\n%s", index)
	}
}

// TestInterrupted checks that nothing is left of an export that was interrupted, and that a directory that was there stays.
func TestInterrupted(t *testing.T) {
	for _, tt := range []struct {
		name string
		to   func(dir string) Destination
		left []string
	}{
		{"a new directory", func(dir string) Destination { return Destination{Dir: filepath.Join(dir, "new")} }, []string{"b.tar", "empty"}},
		{"an empty directory", func(dir string) Destination { return Destination{Dir: filepath.Join(dir, "empty")} }, []string{"b.tar", "empty"}},
		{"an archive", func(dir string) Destination { return Destination{File: filepath.Join(dir, "b.tar")} }, []string{"b.tar", "empty"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, _, _ := setup(t)
			dir := t.TempDir()
			must(t, os.Mkdir(filepath.Join(dir, "empty"), 0o700))
			must(t, os.WriteFile(filepath.Join(dir, "b.tar"), []byte("old"), 0o600))
			interrupted := errors.New("interrupted")
			ctx, cancel := context.WithCancelCause(t.Context())
			c.Documents = append(c.Documents, Document{File: "hung.txt", Limit: time.Minute, Write: func(ctx context.Context, _ io.Writer) error {
				cancel(interrupted)
				<-t.Context().Done()
				return nil
			}})
			if _, err := Write(ctx, tt.to(dir), c, nil); !errors.Is(err, interrupted) {
				t.Fatal(err)
			}
			var left []string
			must(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
				if path != dir {
					left = append(left, strings.TrimPrefix(path, dir+"/"))
				}
				return err
			}))
			if d := cmp.Diff(tt.left, left); d != "" {
				t.Error(d)
			}
			if data, err := os.ReadFile(filepath.Join(dir, "b.tar")); err != nil || string(data) != "old" {
				t.Errorf("%v, the old archive is %q", err, data)
			}
		})
	}
}

func TestDestinations(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	must(t, os.Mkdir(filepath.Join(dir, "d.tar"), 0o700))
	must(t, os.Mkdir(filepath.Join(dir, "closed"), 0o500))
	for _, tt := range []struct {
		to   Destination
		want string // empty if it can be written
	}{
		{Destination{Dir: "new/deep"}, ""},
		{Destination{File: "b.TAR.GZ"}, ""},
		{Destination{Dir: "."}, "the directory is not empty"},
		{Destination{Dir: "file"}, "not a directory"},
		{Destination{Dir: "file/new"}, "not a directory"},
		{Destination{Dir: "closed/new"}, "read-only"},
		{Destination{Dir: "b.tar.zst"}, "it is named as an archive"},
		{Destination{File: "b.zip"}, "its name says no kind of archive"},
		{Destination{File: "d.tar"}, "is a directory"},
		{Destination{File: "none/b.tar"}, "no such file or directory"},
		{Destination{File: "closed/b.tar"}, "read-only"},
	} {
		to := tt.to
		if to.Dir != "" {
			to.Dir = filepath.Join(dir, to.Dir)
		} else {
			to.File = filepath.Join(dir, to.File)
		}
		err := to.Check()
		var hinted *cluster.Error
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%+v: %v", tt.to, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") || !errors.As(err, &hinted) || hinted.Hint == ""):
			t.Errorf("%+v: %v, want %q and a hint", tt.to, err, tt.want)
		}
	}
}
