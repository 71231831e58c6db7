package ui

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/x/ansi"
	"github.com/charmbracelet/x/exp/teatest"
	"github.com/muesli/termenv"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/klkube/kl/cluster/observe"
	"github.com/klkube/kl/cluster/observe/observetest"
	"github.com/klkube/kl/ui/kit"
)

// flow is the whole interface in a terminal of 100×30, connected to servers that the test controls.
type flow struct {
	t  *testing.T
	tm *teatest.TestModel
	m  *Model
}

// targetOf writes a kubeconfig for a server.
func targetOf(t *testing.T, name string, srv *observetest.Server) observe.Target {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(srv.Kubeconfig(name)), 0o600); err != nil {
		t.Fatal(err)
	}
	return observe.Target{Name: name, Context: name, Kubeconfig: path}
}

func startFlow(t *testing.T, targets ...observe.Target) *flow {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	o := Options{Target: targets[0], Targets: func(context.Context) ([]observe.Target, error) { return targets, nil }, Screen: "rollouts", Out: io.Discard}
	m := newModel(o, testStyles(termenv.Ascii, true))
	m.connectWith(ctx)
	f := &flow{t: t, m: m, tm: teatest.NewTestModel(t, m, teatest.WithInitialTermSize(100, 30))}
	t.Cleanup(func() {
		_ = f.tm.Quit() // it may have ended by itself
		f.tm.WaitFinished(t, teatest.WithFinalTimeout(20*time.Second))
		if m.conn != nil {
			m.conn.close()
		}
		cancel()
	})
	return f
}

// keys presses keys by their names.
func (f *flow) keys(names ...string) {
	for _, n := range names {
		f.tm.Send(kit.KeyPress(n))
	}
}

func (f *flow) write(text string) {
	for _, r := range text {
		f.tm.Send(kit.KeyPress(string(r)))
	}
}

// frameMsg asks the model for its frame.
type frameMsg struct{ to chan<- string }

func (f frameMsg) show(frame string) { f.to <- frame }

// frame returns what the terminal shows now. It asks through the loop of the program, the only one that may touch the
// model.
func (f *flow) frame() string {
	f.t.Helper()
	to := make(chan string, 1)
	f.tm.Send(frameMsg{to})
	select {
	case s := <-to:
		return s
	case <-time.After(20 * time.Second):
		f.t.Fatal("no frame within 20 s")
		return ""
	}
}

// sees waits until every text is on the screen.
func (f *flow) sees(texts ...string) string {
	f.t.Helper()
	limit := time.Now().Add(30 * time.Second)
	for {
		frame := f.frame()
		missing := ""
		for _, x := range texts {
			if !strings.Contains(frame, x) {
				missing = x
			}
		}
		if missing == "" {
			return frame
		}
		if time.Now().After(limit) {
			f.t.Fatalf("%q never appeared:\n%s", missing, frame)
		}
		select {
		case <-f.t.Context().Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func TestFlowUndoARollout(t *testing.T) {
	objects := observetest.Deployment("shop", "cart", 2, 1, 1, 0, time.Now().Add(-time.Hour))
	srv := observetest.Start(t, objects...)
	d := objects[0].(*appsv1.Deployment).DeepCopy()
	d.Annotations["deployment.kubernetes.io/revision"], d.Spec.Template = "2", observetest.Template("cart", "example.test/cart:v2")
	d.Status.UpdatedReplicas = 0
	srv.Set(d)
	srv.Set(observetest.ReplicaSet(d, 2, 0))
	f := startFlow(t, targetOf(t, "test", srv))
	f.sees("shop/cart", "Progressing", "0 of 2 pods")
	f.keys("enter")
	f.sees("Revisions", "revision 1", "cart:v2")
	f.keys("down", "v")
	f.sees("nothing before")
	f.keys("esc", "U")
	f.sees("Undo cart to revision 1", "cart:v2 → image: example.test/cart:v1")
	f.keys("n")
	if got := srv.Object("deployments", "shop", "cart").(*appsv1.Deployment); got.Spec.Template.Spec.Containers[0].Image != "example.test/cart:v2" {
		t.Fatal("n changed the cluster")
	}
	f.keys("U", "y")
	f.sees("undid cart to revision 1")
	if got := srv.Object("deployments", "shop", "cart").(*appsv1.Deployment); got.Spec.Template.Spec.Containers[0].Image != "example.test/cart:v1" {
		t.Errorf("image after undo: %s", got.Spec.Template.Spec.Containers[0].Image)
	}
	srv.Refuse("patch", "deployments")
	f.keys("R", "y")
	f.sees("refused:", "cannot patch")
}

func TestFlowFilterAndNamespace(t *testing.T) {
	srv := observetest.Start(t, observetest.Synthetic(2, 300, time.Now())...)
	f := startFlow(t, targetOf(t, "test", srv))
	f.keys("5")
	f.sees("300 pods")
	f.keys("/")
	f.write("app-007 !00003")
	f.sees("9 pods")
	f.keys("enter")
	f.sees("/app-007 !00003")
	f.keys("esc")
	f.sees("300 pods")
	f.keys("n")
	f.write("team-02")
	f.keys("enter")
	f.sees("100 pods", "ns team-02")
	f.keys(":")
	f.write("ns team-01")
	f.keys("enter")
	f.sees("ns team-01")
	f.keys(":")
	f.write("nodes")
	f.keys("enter")
	f.sees("node-0001")
}

// TestFlowWithRightsToOneNamespace opens a cluster whose context names a namespace that the user may not read, and goes on to
// one that may be.
func TestFlowWithRightsToOneNamespace(t *testing.T) {
	srv := observetest.Start(t, observetest.Synthetic(2, 200, time.Now())...)
	srv.RefuseOutside("team-01")
	srv.Refuse("list", "deployments")
	f := startFlow(t, targetOf(t, "test", srv))
	f.sees("left out, because you may not list them: nodes, namespaces", "ns default only")
	f.keys("5")
	f.sees("You may not list pods in namespace default", "n chooses another namespace")
	f.keys("n")
	f.write("team-01")
	f.keys("enter")
	f.sees("100 pods", "ns team-01")
	f.keys("2")
	f.sees("You may not list deployments in namespace team-01")
}

// TestFlowDeleteWithFinalizer deletes an object that has to wait for its finalizer, in a list and among the pods.
func TestFlowDeleteWithFinalizer(t *testing.T) {
	objects := observetest.Deployment("shop", "cart", 1, 1, 1, 0, time.Now().Add(-time.Hour))
	for _, o := range objects {
		switch o := o.(type) {
		case *appsv1.ReplicaSet:
			o.Finalizers = []string{"example.test/hold"}
		case *corev1.Pod:
			o.Finalizers = []string{"example.test/backup", "example.test/dns"}
		}
	}
	f := startFlow(t, targetOf(t, "test", observetest.Start(t, objects...)))
	f.sees("shop/cart")
	f.keys("5")
	f.sees("1 pod")
	f.keys("D", "y")
	f.sees("Terminating: waits for its finalizers example.test/backup, example.test/dns")
	f.keys("r")
	f.write("replicasets")
	f.keys("enter")
	f.sees("1 replicasets")
	f.keys("D", "y")
	f.sees("Terminating: waits for its finalizer example.test/hold")
}

func TestFlowBrowseAnyResource(t *testing.T) {
	srv := observetest.Start(t, observetest.Synthetic(1, 10, time.Now())...)
	srv.Log("team-00", "app-000-5f00001-00000", "first line\nerror: second\n")
	f := startFlow(t, targetOf(t, "test", srv))
	f.sees("team-00/app-000")
	f.keys("5", "r")
	f.write("replicasets")
	f.sees("ReplicaSet · apps")
	f.keys("enter")
	f.sees("1 replicasets", "app-000-5f00001")
	f.keys("y")
	f.sees("kind: ReplicaSet", "replicas: 10")
	f.keys("esc", "esc", "l")
	f.sees("first line", "error: second", "ended")
	f.keys("/")
	f.write("second")
	f.keys("enter")
	if frame := f.sees("error: second"); strings.Contains(frame, "first line") {
		t.Errorf("the filter let everything through:\n%s", frame)
	}
}

func TestFlowExplainADenial(t *testing.T) {
	snap := fixture()
	srv := observetest.Start(t)
	for _, n := range snap.Namespaces {
		srv.Set(n)
	}
	for _, p := range snap.Pods {
		srv.Set(p)
	}
	for _, p := range snap.Policies {
		srv.Set(p)
	}
	f := startFlow(t, targetOf(t, "test", srv))
	f.keys("3")
	f.sees("shop/cart", "shop/pay")
	f.keys("x")
	f.sees("Who connects")
	f.write("shop/pay")
	f.keys("enter")
	f.sees("From shop/pay to")
	f.write("cart")
	f.keys("enter")
	f.sees("shop/pay → shop/cart tcp 80", "✖ denied", "shop/only-api")
	f.keys("x")
	f.write("default/api")
	f.keys("enter")
	f.sees("From default/api to")
	f.write("cart")
	f.keys("enter")
	f.sees("default/api → shop/cart tcp 80", "● allowed")
}

func TestFlowSwitchCluster(t *testing.T) {
	one := observetest.Start(t, observetest.Deployment("default", "blue", 1, 1, 1, 0, time.Now())...)
	two := observetest.Start(t, observetest.Deployment("default", "green", 1, 1, 1, 0, time.Now())...)
	f := startFlow(t, targetOf(t, "first", one), targetOf(t, "second", two))
	f.sees("first", "default/blue")
	f.keys("c")
	f.sees("second", "context")
	f.write("second")
	f.keys("enter")
	if frame := f.sees("second", "default/green"); strings.Contains(frame, "blue") {
		t.Errorf("the other cluster is still shown:\n%s", frame)
	}
}

func TestFlowLoseAndRegainTheAPI(t *testing.T) {
	objects := observetest.Deployment("default", "web", 2, 1, 1, 0, time.Now().Add(-time.Hour))
	srv := observetest.Start(t, objects...)
	f := startFlow(t, targetOf(t, "test", srv))
	f.sees("default/web", "2/2", "live")
	srv.Down()
	f.sees("connection lost", "what you see is stale", "default/web")
	d := objects[0].(*appsv1.Deployment).DeepCopy()
	d.Status.ReadyReplicas, d.Status.AvailableReplicas = 1, 1
	srv.Set(d)
	srv.Up()
	if frame := f.sees("1/2", "live"); strings.Contains(frame, "stale") {
		t.Errorf("still called stale:\n%s", frame)
	}
}

func TestPanicLeavesTheTerminalUsable(t *testing.T) {
	var out bytes.Buffer
	m := newModel(Options{Target: observe.Target{Name: "x"}}, testStyles(termenv.Ascii, true))
	m.connect = func(observe.Target) tea.Cmd { return func() tea.Msg { return pushMsg{} } } // no screen: the first use panics
	_, err := tea.NewProgram(m, tea.WithContext(t.Context()), tea.WithInput(nil), tea.WithOutput(&out), tea.WithAltScreen()).Run()
	if err == nil {
		t.Fatal("the panic was lost")
	}
	if got := out.String(); !strings.Contains(got, ansi.ResetModeAltScreenSaveCursor) || !strings.Contains(got, ansi.ShowCursor) {
		t.Errorf("the terminal was left in %q", got[max(0, len(got)-200):])
	}
}
