package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/pki"
	"github.com/klkube/kl/embedded/controlplane/await"
)

// TestNodesAreWatchedOnce runs the control plane with all its components, and reads from the audit log who watches nodes. Of kl's own
// components that is one. metrics-server, which is upstream's and has a watch of its own, is the last to begin.
func TestNodesAreWatchedOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a control plane")
	}
	l, spec := newCluster(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var log bytes.Buffer
	cmd := engine(t, "control-plane", "--dir", l.Dir())
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { defer cancel(); ended <- cmd.Wait() }() // nothing waits for a process that has ended
	client := cluster.NewClient(l)
	defer client.Close()
	err := await.Success(ctx, 50*time.Millisecond, func(ctx context.Context) error {
		return client.Watch(ctx, func(s cluster.Status) bool { return s.Phase != cluster.PhaseReady })
	})
	if err == nil {
		err = addNode(ctx, l, spec)
	}
	if err != nil {
		_ = cmd.Process.Kill() // fails if it has ended
		t.Fatalf("start a control plane with a node: %v; it ended with %v\n%s", err, <-ended, &log)
	}
	var own []string
	err = await.Success(ctx, 100*time.Millisecond, func(context.Context) error {
		var metrics bool
		own, metrics, err = nodeWatches(l.AuditLog())
		if err == nil && !metrics {
			err = fmt.Errorf("metrics-server does not watch nodes yet; others: %q", own)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if len(own) != 1 {
		t.Errorf("kl's own components watch nodes %d times, want once:\n%s", len(own), strings.Join(own, "\n"))
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("after SIGTERM: %v\n%s", err, &log)
		}
	case <-time.After(30 * time.Second):
		t.Error("still runs 30 s after SIGTERM")
	}
}

// newCluster writes the files of a cluster that has no nodes and does not share the machine's registry.
func newCluster(t *testing.T) (cluster.Layout, cluster.Spec) {
	t.Helper()
	home, err := os.MkdirTemp("", "kl") // sockets need a short path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port.Close()
	l, spec := cluster.Home(home).Cluster("t"), cluster.DefaultSpec()
	spec.Name, spec.Driver, spec.Nodes, spec.Disable = "t", cluster.DriverSimulated, nil, []cluster.Feature{cluster.FeatureRegistry}
	spec.Kubernetes.APIServerPort = port.Addr().(*net.TCPAddr).Port
	for _, dir := range []string{l.RunDir(), filepath.Dir(l.LogFile("x"))} {
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
	return l, spec
}

// addNode creates a Node that is ready.
func addNode(ctx context.Context, l cluster.Layout, spec cluster.Spec) error {
	client, err := kubernetes.NewForConfig(&rest.Config{
		Host:            fmt.Sprintf("https://127.0.0.1:%d", spec.Kubernetes.APIServerPort),
		TLSClientConfig: rest.TLSClientConfig{CAFile: l.PKI("ca.crt"), CertFile: l.PKI("super-admin.crt"), KeyFile: l.PKI("super-admin.key")},
	})
	if err != nil {
		return err
	}
	nodes, name := client.CoreV1().Nodes(), "n1"
	if _, err := nodes.Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		return err
	}
	ready := []byte(`{"status":{"conditions":[{"type":"Ready","status":"True","reason":"Test"}]}}`)
	_, err = nodes.Patch(ctx, name, types.MergePatchType, ready, metav1.PatchOptions{}, "status") // controllers write it at the same time
	return err
}

// nodeWatches returns the watches of nodes that have begun, but for metrics-server's, of which it reports whether it has. The audit log leaves
// out what Kubernetes' own components read.
func nodeWatches(path string) (own []string, metrics bool, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, false, err
	}
	for line := range bytes.Lines(data) {
		var e struct {
			Stage, Verb, RequestURI, UserAgent string

			User      struct{ Username string }
			ObjectRef struct{ Resource string }
		}
		if err := json.Unmarshal(line, &e); err != nil {
			continue // the last line may not be complete
		}
		switch {
		case e.Stage != "ResponseStarted" || e.Verb != "watch" || e.ObjectRef.Resource != "nodes":
		case e.User.Username == "system:metrics-server":
			metrics = true
		default:
			own = append(own, e.User.Username+" "+e.UserAgent+" "+e.RequestURI)
		}
	}
	return own, metrics, nil
}
