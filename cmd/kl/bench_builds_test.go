//go:build e2e

package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/klkube/kl/cluster"
)

// imageBench builds an image again and again, and runs it.
type imageBench struct {
	u       *user
	dir     string // context of a change
	name    string
	app     string // archive with the image kl.test/app:1
	layer   int    // size of a layer in MB
	started int    // how many rounds of pods
}

// newImageBench builds the layers that do not change, and the program.
func newImageBench(u *user) *imageBench {
	u.b.Helper()
	i := &imageBench{
		u: u, dir: filepath.Join(u.b.TempDir(), "base"), name: fmt.Sprintf("ten-layers-%d:dev", os.Getpid()), app: filepath.Join(u.images, "app.tar"),
		layer: layerSize(),
	}
	u.b.Cleanup(i.removeImages)
	i.mkdir()
	file := "FROM scratch\nLABEL " + i.label() + "\n"
	for n := range 10 {
		layer := fmt.Sprintf("layer%d", n)
		i.write(layer, random(i.layer*1e6))
		file += "COPY " + layer + " /\n"
	}
	build := u.command("go", "build", "-o", filepath.Join(i.dir, "app"), "./testdata/images/app")
	build.Dir = u.h.source
	if out, err := build.CombinedOutput(); err != nil {
		u.b.Fatalf("build the program: %v\n%s", err, out)
	}
	i.write("Dockerfile", []byte(file+"COPY app /\nENTRYPOINT [\"/app\", \"serve\"]\n"))
	i.docker("build", "-q", "-t", i.base(), i.dir)
	if err := os.RemoveAll(i.dir); err != nil {
		u.b.Fatal(err)
	}
	i.dir = filepath.Join(filepath.Dir(i.dir), "change")
	i.mkdir()
	i.write("Dockerfile", []byte("FROM "+i.base()+"\nCOPY top /\n"))
	return i
}

func (i *imageBench) base() string  { return strings.TrimSuffix(i.name, ":dev") + ":base" }
func (i *imageBench) label() string { return fmt.Sprintf("kl.test/bench=%d", os.Getpid()) }

// build builds the image with another last layer.
func (i *imageBench) build() {
	i.u.b.Helper()
	i.write("top", random(1e6))
	i.docker("build", "-q", "-t", i.name, i.dir)
}

// removeImages removes what was built, also what has no name any more.
func (i *imageBench) removeImages() {
	ctx := context.WithoutCancel(i.u.b.Context())
	out, err := exec.CommandContext(ctx, "docker", "image", "ls", "-q", "--filter", "label="+i.label()).Output()
	ids := slices.Compact(strings.Fields(string(out))) // the newest first: others are built on the oldest
	if err == nil && len(ids) > 0 {
		out, err = exec.CommandContext(ctx, "docker", append([]string{"rmi", "-f"}, ids...)...).CombinedOutput()
	}
	if err != nil {
		i.u.b.Errorf("remove images: %v\n%s", err, out)
	}
}

func (i *imageBench) docker(args ...string) {
	i.u.b.Helper()
	if out, err := i.u.command("docker", args...).CombinedOutput(); err != nil {
		i.u.b.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func (i *imageBench) mkdir() {
	i.u.b.Helper()
	if err := os.MkdirAll(i.dir, 0o700); err != nil {
		i.u.b.Fatal(err)
	}
}

func (i *imageBench) write(file string, data []byte) {
	i.u.b.Helper()
	if err := os.WriteFile(filepath.Join(i.dir, file), data, 0o600); err != nil {
		i.u.b.Fatal(err)
	}
}

// random returns bytes that nothing compresses.
func random(n int) []byte {
	data := make([]byte, n)
	_, _ = rand.Read(data) // it never fails
	return data
}

// warm has every node start a pod once.
func (i *imageBench) warm(nodes int) {
	i.u.b.Helper()
	i.u.kl("image", "load", i.app)
	i.run(nodes, "kl.test/app:1")
}

// pods returns the time until a new pod of the image is Ready on each node. The pods are gone when it returns.
func (i *imageBench) pods(nodes int) time.Duration {
	i.u.b.Helper()
	return i.run(nodes, i.name)
}

func (i *imageBench) run(nodes int, image string) time.Duration {
	i.u.b.Helper()
	ctx, cancel := context.WithTimeout(i.u.b.Context(), 5*time.Minute)
	defer cancel()
	pods := i.u.claims().client.CoreV1().Pods("default")
	i.started++
	round := fmt.Sprintf("bench=round-%d", i.started)
	events, err := pods.Watch(ctx, metav1.ListOptions{LabelSelector: round})
	if err != nil {
		i.u.b.Fatal(err)
	}
	defer events.Stop()
	began := time.Now()
	for n := range nodes {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("bench-%d-%d", i.started, n+1), Labels: map[string]string{"bench": strings.TrimPrefix(round, "bench=")}},
			Spec: corev1.PodSpec{
				NodeName:   fmt.Sprintf("n%d", n+1),
				Containers: []corev1.Container{{Name: "c", Image: image}},
			},
		}
		if _, err := pods.Create(ctx, pod, metav1.CreateOptions{}); err != nil {
			i.u.b.Fatal(err)
		}
	}
	i.await(ctx, events, nodes, func(e watch.Event) bool { return ready(e.Object.(*corev1.Pod)) })
	took := time.Since(began)
	now := int64(0)
	if err := pods.DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: &now}, metav1.ListOptions{LabelSelector: round}); err != nil {
		i.u.b.Fatal(err)
	}
	i.await(ctx, events, nodes, func(e watch.Event) bool { return e.Type == watch.Deleted })
	return took
}

// await waits until that has happened to so many pods.
func (i *imageBench) await(ctx context.Context, events watch.Interface, pods int, happened func(watch.Event) bool) {
	i.u.b.Helper()
	seen := map[string]bool{}
	for e := range events.ResultChan() {
		pod, ok := e.Object.(*corev1.Pod)
		if !ok {
			i.u.b.Fatalf("watch pods: %+v", e.Object)
		}
		if happened(e) {
			seen[pod.Name] = true
		}
		if len(seen) == pods {
			return
		}
	}
	showLogs(i.u.b, i.u.home)
	i.u.b.Fatalf("%d of %d pods: %v\n%s", len(seen), pods, ctx.Err(), i.u.kl("kubectl", "describe", "pods"))
}

func ready(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// saveAndSend has the engine save the image, and sends all of it to every node at once, as to those of an older kl. It returns the size of
// what was saved.
func (i *imageBench) saveAndSend(nodes int) int64 {
	i.u.b.Helper()
	file := filepath.Join(i.dir, "..", "saved.tar")
	i.docker("save", "-o", file, i.name)
	client := cluster.NewClient(i.u.layout())
	defer client.Close()
	var g errgroup.Group
	for n := range nodes {
		g.Go(func() error {
			f, err := os.Open(file)
			if err != nil {
				return err
			}
			defer f.Close()
			resp, err := client.Node(i.u.b.Context(), fmt.Sprintf("n%d", n+1), http.MethodPost, "/v1/images", f)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			_, err = io.Copy(io.Discard, resp.Body)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		i.u.b.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil {
		i.u.b.Fatal(err)
	}
	if err := os.Remove(file); err != nil {
		i.u.b.Fatal(err)
	}
	return info.Size()
}
