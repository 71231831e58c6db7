package controlplane

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/pki"
	"github.com/klkube/kl/embedded/controlplane/await"
)

// A process runs one Plane, so the test starts itself again for each run.
const planeEnv = "KL_TEST_PLANE_HOME"

func TestMain(m *testing.M) {
	if home := os.Getenv(planeEnv); home != "" {
		os.Exit(planeProcess(cluster.Home(home).Cluster("t")))
	}
	os.Exit(m.Run())
}

// planeProcess runs a plane and fails if goroutines of kl are left when it has returned.
func planeProcess(l cluster.Layout) int {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer cancel()
	go exitWithParent()
	if err := (&Plane{Layout: l, Version: "test"}).Run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if left := ownGoroutines(); left != "" {
		fmt.Fprintln(os.Stderr, "goroutines of kl are left:\n"+left)
		return 3
	}
	return 0
}

// exitWithParent ends the process when the test process ends, however that happens: its end of the pipe is closed then.
func exitWithParent() {
	_, _ = io.Copy(io.Discard, os.Stdin) // whatever ends it
	os.Exit(4)
}

// ownGoroutines returns the stacks with a function of kl, other than the caller's. Upstream's are not counted: informers and
// metric loops of the API server cannot be stopped.
func ownGoroutines() string {
	ours := regexp.MustCompile(`(?m)^github\.com/klkube/kl/`)
	var left string
	for range 20 { // a goroutine that has been told to end may need a moment
		buf := make([]byte, 4<<20)
		buf = buf[:runtime.Stack(buf, true)]
		left = ""
		for _, stack := range strings.Split(string(buf), "\n\n") {
			if ours.MatchString(stack) && !strings.Contains(stack, "ownGoroutines") && !strings.Contains(stack, "exitWithParent") {
				left += stack + "\n\n"
			}
		}
		if left == "" {
			return ""
		}
		time.Sleep(50 * time.Millisecond)
	}
	return left
}

// newCluster writes the files that `kl up` writes before it starts a control plane.
func newCluster(t *testing.T, home string, edit func(*cluster.Spec)) (cluster.Layout, cluster.Spec) {
	t.Helper()
	l := cluster.Home(home).Cluster("t")
	spec := cluster.DefaultSpec()
	spec.Name = "t"
	spec.Kubernetes.APIServerPort = freePort(t)
	edit(&spec)
	for _, dir := range []string{l.TunnelDir("n1"), l.NodeDir("n1"), filepath.Dir(l.LogFile("x"))} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := pki.Ensure(l, spec.Networking, time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := cluster.WriteSpec(l, spec); err != nil {
		t.Fatal(err)
	}
	if err := cluster.WriteNodeIdentity(l, "n1", cluster.NodeIdentity{Token: "secret", Address: netip.MustParseAddr("172.18.0.2")}); err != nil {
		t.Fatal(err)
	}
	return l, spec
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// shortDir is a temporary directory with a path short enough for sockets.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "kl")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// process is a running plane.
type process struct {
	cmd    *exec.Cmd
	log    string
	client *cluster.Client
}

func startPlane(t *testing.T, home string, l cluster.Layout) *process {
	t.Helper()
	log, err := os.OpenFile(l.LogFile(cluster.ControlPlane), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	ctx, cancel := context.WithTimeout(t.Context(), planeTimeout)
	p := &process{cmd: exec.CommandContext(ctx, os.Args[0]), log: log.Name(), client: cluster.NewClient(l)}
	t.Cleanup(p.client.Close)
	p.cmd.Env = append(os.Environ(), planeEnv+"="+home)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if _, err := p.cmd.StdinPipe(); err != nil { // see exitWithParent
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = p.cmd.Wait() })
	return p
}

// planeTimeout is after what time a plane that neither fails nor is stopped is killed.
const planeTimeout = 4 * time.Minute

// await reads the status stream until ok.
func (p *process) await(t *testing.T, ok func(cluster.Status) bool) cluster.Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var last cluster.Status
	err := await.Success(ctx, 20*time.Millisecond, func(ctx context.Context) error {
		return p.client.Watch(ctx, func(s cluster.Status) bool {
			last = s
			return s.Phase != cluster.PhaseFailed && !ok(s)
		})
	})
	if err != nil || last.Phase == cluster.PhaseFailed {
		t.Fatalf("wait for status: %v; last %+v\n%s", err, last, p.tail())
	}
	return last
}

func (p *process) tail() string {
	data, _ := os.ReadFile(p.log)
	return string(data[max(0, len(data)-4000):])
}

// end waits for the process and checks that it left with code 0, which planeProcess returns only if nothing is left.
func (p *process) end(t *testing.T) {
	t.Helper()
	begin := time.Now()
	if err := p.cmd.Wait(); err != nil {
		t.Fatalf("control plane ended with %v\n%s", err, p.tail())
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("stop took %s, want at most 10s", took)
	}
}

func serving(s cluster.Status) bool {
	return s.Phase == cluster.PhaseReady && s.Ready.API && s.Ready.DefaultServiceAccount
}

func adminClient(t *testing.T, l cluster.Layout, spec cluster.Spec) kubernetes.Interface {
	t.Helper()
	client, err := kubernetes.NewForConfig(&rest.Config{
		Host: fmt.Sprintf("https://127.0.0.1:%d", spec.Kubernetes.APIServerPort),
		TLSClientConfig: rest.TLSClientConfig{
			CAFile: l.PKI("ca.crt"), CertFile: l.PKI("admin.crt"), KeyFile: l.PKI("admin.key"),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// TestPlane starts a whole control plane, stops it in each of the ways it can end, and starts it again over its data.
func TestPlane(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a control plane three times")
	}
	home := shortDir(t)
	l, spec := newCluster(t, home, func(s *cluster.Spec) {
		s.Kubernetes.FeatureGates = map[string]bool{"MutatingAdmissionPolicy": true}
		s.Kubernetes.ExtraArgs = map[string]map[string]string{
			string(cluster.KubeAPIServer):         {"event-ttl": "2h"},
			string(cluster.KubeControllerManager): {"terminated-pod-gc-threshold": "7"},
		}
		s.Kubernetes.Scheduler = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nprofiles:\n- schedulerName: mine\n"
	})
	ctx, cancel := context.WithTimeout(t.Context(), planeTimeout)
	defer cancel()

	p := startPlane(t, home, l)
	s := p.await(t, serving)
	if s.PID != p.cmd.Process.Pid || s.Memory == 0 || len(s.Components) != 12 {
		t.Errorf("status = %+v", s)
	}
	for _, c := range s.Components {
		if c.Ready <= 0 || c.Ready < c.Began || c.LogFile == "" {
			t.Errorf("component %+v has no timeline or log", c)
		}
	}
	client := adminClient(t, l, spec)
	checkFirstObjects(t, client)
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kept"}, Data: map[string]string{"a": "b"}}
	if _, err := client.CoreV1().ConfigMaps("default").Create(ctx, cm, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	checkEtcdClients(t, client, l)
	checkPrivate(t, l)
	// The administrator's rights are an object, which even its owner may delete. The next start makes it again.
	if err := client.RbacV1().ClusterRoleBindings().Delete(ctx, cluster.AdminGroup, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	err := await.Success(ctx, 20*time.Millisecond, func(ctx context.Context) error {
		if _, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
			return fmt.Errorf("without the binding: %w, want a refusal", err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if err := (&Plane{Layout: l}).Run(ctx); !errors.Is(err, ErrRunning) || !strings.Contains(err.Error(), fmt.Sprint(s.PID)) {
		t.Errorf("a second plane over the same directory: %v, want ErrRunning with the process", err)
	}
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	p.end(t)

	p = startPlane(t, home, l)
	p.await(t, serving)
	checkKept(t, client)
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Wait()

	p = startPlane(t, home, l)
	p.await(t, serving)
	checkKept(t, client)
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.end(t)
}

func checkKept(t *testing.T, client kubernetes.Interface) {
	t.Helper()
	cm, err := client.CoreV1().ConfigMaps("default").Get(t.Context(), "kept", metav1.GetOptions{})
	if err != nil || cm.Data["a"] != "b" {
		t.Fatalf("what was written before is %v, %v", cm, err)
	}
}

// checkEtcdClients checks that the API server has one connection to etcd, knows that it may read from its caches what etcd confirms, and
// has no cache of what is rarely watched, all of which are resources that it has.
func checkEtcdClients(t *testing.T, client kubernetes.Interface, l cluster.Layout) {
	t.Helper()
	metrics, err := client.CoreV1().RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	table, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		t.Fatal(err)
	}
	const connected = " 03 "
	accepted := regexp.MustCompile(connected+`+\d+ `+regexp.QuoteMeta(absolute(l.EtcdSocket()))+`\n`).FindAll(table, -1)
	if len(accepted) != 1 {
		t.Errorf("etcd has %d connections, want one", len(accepted))
	}
	if !regexp.MustCompile(`\napiserver_watch_cache_consistent_read_total\{[^}]*resource="nodes",success="true"\} [1-9]`).Match(metrics) {
		t.Error("no list of nodes was read from the cache")
	}
	for _, r := range rarelyWatched() {
		name, group, _ := strings.Cut(r, ".")
		labels := fmt.Sprintf("{group=%q,resource=%q} ", group, name)
		if !bytes.Contains(metrics, []byte("apiserver_resource_objects"+labels)) || bytes.Contains(metrics, []byte("watch_cache_capacity"+labels)) {
			t.Errorf("resource %s does not exist, or has a cache", r)
		}
	}
	if !bytes.Contains(metrics, []byte(`watch_cache_capacity{group="",resource="pods"} `)) {
		t.Error("pods have no cache")
	}
}

func checkFirstObjects(t *testing.T, client kubernetes.Interface) {
	t.Helper()
	ctx := t.Context()
	svc, err := client.CoreV1().Services("kube-system").Get(ctx, "kube-dns", metav1.GetOptions{})
	if err != nil || svc.Spec.ClusterIP != cluster.DefaultDNS {
		t.Errorf("kube-dns = %v, %v", svc, err)
	}
	for _, role := range []string{"kl:node-bootstrapper", "kl:node-autoapprove-renewal", "kl:node-proxier", "kl:node-agent"} {
		if _, err := client.RbacV1().ClusterRoleBindings().Get(ctx, role, metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
	}
	secrets, err := client.CoreV1().Secrets("kube-system").List(ctx, metav1.ListOptions{FieldSelector: "type=bootstrap.kubernetes.io/token"})
	if err != nil || len(secrets.Items) != 0 {
		t.Errorf("bootstrap tokens before any node joins: %v, %v", secrets, err)
	}
}

// checkPrivate checks that only this user can open sockets and keys, that etcd and the egress proxy listen in the private
// directory, and that nodes, which see the tunnel's directory, find nothing there but the tunnel.
func checkPrivate(t *testing.T, l cluster.Layout) {
	t.Helper()
	sockets := map[string][]string{}
	err := filepath.WalkDir(l.Dir(), func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return nil // files appear and disappear meanwhile
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		if d.Type()&os.ModeSocket != 0 {
			sockets[filepath.Dir(path)] = append(sockets[filepath.Dir(path)], filepath.Base(path))
		}
		parent, err := os.Stat(filepath.Dir(path))
		if err == nil && info.Mode().Perm()&0o077 != 0 && parent.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is open to others: %s", path, info.Mode())
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	want := map[string][]string{
		l.PrivateDir():    {"egress.sock", "etcd.sock", "peer.sock", "serve.sock"},
		l.TunnelDir("n1"): {filepath.Base(l.TunnelSocket("n1"))},
		l.RunDir():        {filepath.Base(l.StatusSocket())},
	}
	if d := cmp.Diff(want, sockets); d != "" {
		t.Errorf("sockets by directory (-want +got):\n%s", d)
	}
	entries, err := os.ReadDir(l.TunnelDir("n1"))
	if err != nil || len(entries) != 1 {
		t.Errorf("node n1 sees %v, %v; want its socket of the tunnel only", entries, err)
	}
}

// A plane that cannot start says why, in its log and in run/failed, and ends with an error.
func TestPlaneFails(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a control plane")
	}
	tests := []struct {
		name   string
		damage func(t *testing.T, l cluster.Layout, s *cluster.Spec)
		want   string
	}{
		{"port taken", func(t *testing.T, _ cluster.Layout, s *cluster.Spec) {
			busy, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", s.Kubernetes.APIServerPort))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { busy.Close() })
		}, "address already in use"},
		{"key missing", func(t *testing.T, l cluster.Layout, _ *cluster.Spec) {
			if err := os.Remove(l.PKI("apiserver.key")); err != nil {
				t.Fatal(err)
			}
		}, "apiserver.key"},
		{"spec truncated", func(t *testing.T, l cluster.Layout, _ *cluster.Spec) {
			if err := os.WriteFile(l.SpecFile(), []byte("apiVersion: kl.dev/v1alpha1\nkind: Clus"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "cluster.yaml"},
		{"flag unknown", func(t *testing.T, l cluster.Layout, s *cluster.Spec) {
			s.Kubernetes.ExtraArgs = map[string]map[string]string{string(cluster.KubeAPIServer): {"no-such-flag": "1"}}
			if err := cluster.WriteSpec(l, *s); err != nil {
				t.Fatal(err)
			}
		}, "no-such-flag"},
		// The controller manager runs once a process: a second run would hide this error behind one of its own.
		{"controller fails", func(t *testing.T, l cluster.Layout, s *cluster.Spec) {
			s.Kubernetes.ExtraArgs = map[string]map[string]string{string(cluster.KubeControllerManager): {"cluster-signing-key-file": "/no/such/key"}}
			if err := cluster.WriteSpec(l, *s); err != nil {
				t.Fatal(err)
			}
		}, "/no/such/key"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			home := shortDir(t)
			l, spec := newCluster(t, home, func(*cluster.Spec) {})
			tt.damage(t, l, &spec)
			p := startPlane(t, home, l)
			if err := p.cmd.Wait(); err == nil {
				t.Error("the process exited with code 0")
			}
			reason, err := os.ReadFile(l.FailedFile())
			if err != nil || !strings.Contains(string(reason), tt.want) {
				t.Errorf("run/failed = %q, %v; want %q", reason, err, tt.want)
			}
			if !strings.Contains(p.tail(), tt.want) {
				t.Errorf("control-plane.log ends with %q, want %q", p.tail(), tt.want)
			}
		})
	}
}
