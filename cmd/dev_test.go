package cmd

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/dev"
	"github.com/klkube/kl/cluster/observe/observetest"
)

// TestDev: a build that has an ID of its own rolls what uses the name, in the namespace that was asked for, and Ctrl-C is a good end.
func TestDev(t *testing.T) {
	deployment := func(namespace string) *appsv1.Deployment {
		one := int32(1)
		d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "web", UID: "1", Generation: 1}}
		d.Spec.Replicas = &one
		d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "app", Image: "app:dev"}}
		d.Status = appsv1.DeploymentStatus{ObservedGeneration: 100, Replicas: 1, UpdatedReplicas: 1, ReadyReplicas: 1, AvailableReplicas: 1}
		return d
	}
	api := observetest.Start(t, deployment("shop"), deployment("other"))
	m := newMachine(t)
	l := m.env.Home.Cluster("kl")
	serveStatus(t, l, http.NotFoundHandler())
	useAPI(t, l, api)

	ctx, cancel := context.WithCancelCause(t.Context())
	out, w := io.Pipe()
	var stderr bytes.Buffer
	e := m.env
	e.In, e.Out, e.Err = strings.NewReader(""), w, &stderr
	ended := make(chan int, 1)
	go func() {
		ended <- Main(ctx, e, []string{"dev", "app:dev", "-n", "shop"})
		w.Close()
	}()
	lines := bufio.NewReader(out)
	expect := func(want string) {
		t.Helper()
		line, err := lines.ReadString('\n')
		if err != nil || !regexp.MustCompile("^"+want+"\n$").MatchString(line) {
			t.Fatalf("printed %q, error %v, want %s\n%s", line, err, want, stderr.String())
		}
	}
	expect("Watching builds for cluster kl. Ctrl-C ends.")
	for _, id := range []string{"sha256:1111", "sha256:1111", "sha256:2222"} {
		m.fake.NameImage("another:dev", id)
		m.fake.NameImage("app:dev", id)
	}
	expect("web  app:dev sha256:1111  [01]/1 pods  .*")
	for ready := false; !ready; { // what there is to say of the first build depends on when the second is seen
		line, err := lines.ReadString('\n')
		if err != nil || !strings.HasPrefix(line, "web  app:dev sha256:") {
			t.Fatalf("printed %q, error %v", line, err)
		}
		ready = regexp.MustCompile(`^web  app:dev sha256:2222  1/1 pods  [0-9.]+ s  ready\n$`).MatchString(line)
	}
	template := api.Object("deployments", "shop", "web").(*appsv1.Deployment).Spec.Template
	if template.Annotations[dev.Annotation] != "sha256:2222" || template.Annotations["kubectl.kubernetes.io/restartedAt"] == "" {
		t.Errorf("annotations %v", template.Annotations)
	}
	if other := api.Object("deployments", "other", "web").(*appsv1.Deployment).Spec.Template.Annotations; len(other) > 0 {
		t.Errorf("another namespace: annotations %v", other)
	}
	cancel(ErrInterrupted)
	go func() { _, _ = io.Copy(io.Discard, lines) }()
	if code := <-ended; code != exitOK || stderr.Len() > 0 {
		t.Errorf("exit code %d, %q", code, stderr.String())
	}
}

func TestDevWithout(t *testing.T) {
	m := observed(t)
	m.env.Drivers = []DriverFactory{{Name: cluster.DriverDocker, Open: func(context.Context, *slog.Logger) (cluster.Driver, error) {
		return nil, &cluster.Error{Op: "connect to the Docker engine", Err: cluster.ErrNoEngine, Hint: "use --driver embedded"}
	}}}
	for _, tt := range []struct {
		args   string
		code   int
		stderr string
	}{
		{"dev", exitFailed, "kl: watch builds: no container engine answers\n    start Docker, or point DOCKER_HOST at a running engine\n"},
		{"dev app@sha256:0", exitUsage, "kl: watch builds of app@sha256:0: a build gives an image a name, and a tag\n" +
			"    use a name such as app:dev, with no digest\n"},
		{"dev --name none", exitFailed, "kl: find cluster: there is no cluster none\n    start it with 'kl up', or use --context\n"},
	} {
		if _, stderr, code := m.run(strings.Fields(tt.args)...); code != tt.code || stderr != tt.stderr {
			t.Errorf("kl %s: exit code %d, %q, want %d, %q", tt.args, code, stderr, tt.code, tt.stderr)
		}
	}
}
