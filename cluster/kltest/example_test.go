//go:build e2e

package kltest_test

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/klkube/kl/cluster/kltest"
)

// Programs use kltest.Start, tests use kltest.New.
func Example() {
	ctx := context.Background()
	api, err := kltest.Start(ctx, kltest.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = api.Stop() }()

	client := kubernetes.NewForConfigOrDie(api.Config)
	_, err = client.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "greeting"}, Data: map[string]string{"text": "hello"},
	}, metav1.CreateOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	got, err := client.CoreV1().ConfigMaps("default").Get(ctx, "greeting", metav1.GetOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(got.Data["text"])
	// Output: hello
}

// TestSeveralAtOnce checks that one test binary can have several control planes, independent of each other.
func TestSeveralAtOnce(t *testing.T) {
	for _, name := range []string{"one", "two"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := kubernetes.NewForConfigOrDie(kltest.New(t).Config)
			spaces := client.CoreV1().Namespaces()
			if _, err := spaces.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			list, err := spaces.List(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range list.Items {
				if n.Name != name && (n.Name == "one" || n.Name == "two") {
					t.Errorf("the control plane of %s has namespace %s", name, n.Name)
				}
			}
		})
	}
}
