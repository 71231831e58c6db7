//go:build e2e

package main

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// BenchmarkStorage measures how long claims take from their creation, as a watching client sees it.
//
//	make build && go test -tags e2e -run '^$' -bench Storage -benchtime 1x ./cmd/kl
//
// KL_BENCH_RUNS is the number of runs (20), KL_DRIVER the driver.
func BenchmarkStorage(b *testing.B) {
	runs := benchRuns(20)
	for b.Loop() {
		u := newUser(b)
		u.warmUp()
		u.kl("up", "--nodes", "1")
		u.kl("image", "load", filepath.Join(u.images, "app.tar"))
		u.kl("kubectl", "wait", "--for=condition=Ready", "node/n1", "--timeout=60s")
		c := u.claims()
		c.pod("warm-up", "standard")
		var shared, standard, plain []time.Duration
		for i := range runs {
			shared = append(shared, c.bound(fmt.Sprintf("shared-%d", i)))
			standard = append(standard, c.pod(fmt.Sprintf("standard-%d", i), "standard"))
			plain = append(plain, c.pod(fmt.Sprintf("plain-%d", i), ""))
		}
		u.kl("down")
		r := u.results()
		r.times(u.perDriver("claim/shared"), shared...)
		r.times(u.perDriver("claim/standard"), standard...)
		r.times(u.perDriver("claim/none"), plain...)
		r.publish("claims")
	}
}

// claims creates claims and pods in the default namespace.
type claims struct {
	b      testing.TB
	client kubernetes.Interface
}

func (u *user) claims() claims {
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(u.home, "clusters", u.cluster, "kubeconfig"))
	if err != nil {
		u.b.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		u.b.Fatal(err)
	}
	return claims{u.b, client}
}

func (c claims) create(ctx context.Context, name, class string, mode corev1.PersistentVolumeAccessMode) {
	_, err := c.client.CoreV1().PersistentVolumeClaims("default").Create(ctx, &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: &class, AccessModes: []corev1.PersistentVolumeAccessMode{mode},
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		c.b.Fatal(err)
	}
}

// bound returns the time until a claim of class shared is bound, which needs no pod.
func (c claims) bound(name string) time.Duration {
	ctx, cancel := context.WithTimeout(c.b.Context(), time.Minute)
	defer cancel()
	events, err := c.client.CoreV1().PersistentVolumeClaims("default").Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	if err != nil {
		c.b.Fatal(err)
	}
	defer events.Stop()
	began := time.Now()
	c.create(ctx, name, "shared", corev1.ReadWriteMany)
	c.until(events, func(obj any) bool {
		claim, ok := obj.(*corev1.PersistentVolumeClaim)
		return ok && claim.Status.Phase == corev1.ClaimBound
	})
	took := time.Since(began)
	if err := c.client.CoreV1().PersistentVolumeClaims("default").Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		c.b.Fatal(err)
	}
	return took
}

// pod returns the time until a pod with a claim of class runs; class may be empty for a pod without a volume.
func (c claims) pod(name, class string) time.Duration {
	ctx, cancel := context.WithTimeout(c.b.Context(), time.Minute)
	defer cancel()
	pods := c.client.CoreV1().Pods("default")
	events, err := pods.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	if err != nil {
		c.b.Fatal(err)
	}
	defer events.Stop()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "kl.test/app:1", ImagePullPolicy: corev1.PullNever}}},
	}
	began := time.Now()
	if class != "" {
		c.create(ctx, name, class, corev1.ReadWriteOnce)
		pod.Spec.Volumes = []corev1.Volume{{Name: "d", VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name},
		}}}
		pod.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "d", MountPath: "/data"}}
	}
	if _, err := pods.Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		c.b.Fatal(err)
	}
	c.until(events, func(obj any) bool {
		pod, ok := obj.(*corev1.Pod)
		return ok && pod.Status.Phase == corev1.PodRunning
	})
	took := time.Since(began)
	now := int64(0)
	if err := pods.Delete(ctx, name, metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		c.b.Fatal(err)
	}
	if class != "" {
		if err := c.client.CoreV1().PersistentVolumeClaims("default").Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
			c.b.Fatal(err)
		}
	}
	return took
}

func (c claims) until(events watch.Interface, done func(obj any) bool) {
	for e := range events.ResultChan() {
		if done(e.Object) {
			return
		}
	}
	c.b.Fatal("the watch ended before it was done")
}
