// Package kltest gives Go tests a real Kubernetes control plane: etcd, API server, controllers and scheduler. It needs neither
// nodes, nor a container engine, nor root. It is meant for tests of controllers, as a replacement for separate etcd and
// kube-apiserver processes.
//
//	func TestReconcile(t *testing.T) {
//		api := kltest.New(t)
//		client := kubernetes.NewForConfigOrDie(api.Config)
//	}
//
// Each control plane is a process of its own, so a test binary may have several at the same time. They are started with the
// kl program: $KL_BINARY, else kl in $PATH.
package kltest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Options configures what Start starts. The zero value means a control plane without nodes that does not sync to disk.
type Options struct {
	Binary    string        // path of kl; "" means $KL_BINARY, else kl in $PATH
	Nodes     int           // number of real nodes, which need a container engine or root
	Simulated int           // number of simulated nodes
	Config    string        // path of a kl.yaml, which also says how many real nodes there are; the other fields override it
	Durable   bool          // sync etcd to disk
	Timeout   time.Duration // how long to wait until it is ready; 0 means three minutes
}

// API is a running control plane. Its fields are not changed after Start.
type API struct {
	Name       string       // of the cluster, for use with kl --name
	Kubeconfig string       // path of an administrator's kubeconfig, for kubectl
	Config     *rest.Config // the same, for client-go; without a rate limit

	binary, dir string
}

// stopTimeout bounds the removal of a cluster.
const stopTimeout = time.Minute

// New starts a control plane for a test and stops it when the test ends. The test fails if it does not start.
func New(t testing.TB) *API {
	t.Helper()
	api, err := Start(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := api.Stop(); err != nil {
			t.Error(err)
		}
	})
	return api
}

// Start starts a control plane and returns when it is ready. The caller must stop it: it outlives the process. If Start fails
// or ctx ends, nothing is left behind.
func Start(ctx context.Context, o Options) (*API, error) {
	if o.Config != "" && o.Nodes > 0 {
		return nil, errors.New("start control plane: Config and Nodes cannot be used together: set the count in the file")
	}
	binary, err := find(o.Binary)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "kltest-")
	if err != nil {
		return nil, fmt.Errorf("make directory for kubeconfig: %w", err)
	}
	api := &API{
		Name: "test-" + strings.ToLower(rand.Text()[:10]), Kubeconfig: filepath.Join(dir, "kubeconfig"),
		binary: binary, dir: dir,
	}
	if err := api.start(ctx, o); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return api, nil
}

func (a *API) start(ctx context.Context, o Options) error {
	if err := a.run(ctx, o.arguments(a)...); err != nil {
		return fmt.Errorf("start control plane: %w", err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", a.Kubeconfig)
	if err != nil {
		return errors.Join(fmt.Errorf("read kubeconfig: %w", err), a.down(context.WithoutCancel(ctx)))
	}
	config.QPS = -1 // no rate limit: the API server belongs to this test
	a.Config = config
	return nil
}

func (o Options) arguments(a *API) []string {
	args := []string{"up", "--name", a.Name, "--kubeconfig", a.Kubeconfig}
	if o.Config == "" || o.Nodes > 0 {
		args = append(args, "--nodes", fmt.Sprint(o.Nodes))
	}
	if o.Simulated > 0 {
		args = append(args, "--simulated", fmt.Sprint(o.Simulated))
	}
	if o.Config != "" {
		args = append(args, "--file", o.Config)
	}
	if !o.Durable {
		args = append(args, "--ephemeral")
	}
	if o.Timeout > 0 {
		args = append(args, "--timeout", o.Timeout.String())
	}
	return args
}

// Stop stops the control plane and removes its data.
func (a *API) Stop() error { return errors.Join(a.down(context.Background()), os.RemoveAll(a.dir)) }

func (a *API) down(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	if err := a.run(ctx, "down", "--name", a.Name); err != nil {
		return fmt.Errorf("stop control plane: %w", err)
	}
	return nil
}

// run runs kl. When ctx ends, kl gets an interrupt, as by Ctrl-C, so that it cleans up.
func (a *API) run(ctx context.Context, args ...string) error {
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, a.binary, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+a.Kubeconfig) // so that the user's kubeconfig is not changed
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = stopTimeout
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("kl %s: %w\n%s", strings.Join(args, " "), err, out.String())
	}
	return nil
}

// find returns the path of kl.
func find(binary string) (string, error) {
	if binary == "" {
		binary = os.Getenv("KL_BINARY")
	}
	if binary == "" {
		binary = "kl"
	}
	path, err := exec.LookPath(binary)
	if err != nil {
		return "", fmt.Errorf("find kl: %w; put it into $PATH or its path into $KL_BINARY", err)
	}
	return path, nil
}
