package manifests

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
)

// patched returns a client whose server answers patches with answer, and notes their objects.
func patched(answer func(name string) error, existing ...runtime.Object) (dynamic.Interface, *[]string) {
	client, names := fake.NewSimpleDynamicClient(runtime.NewScheme(), existing...), new([]string)
	var mu sync.Mutex
	client.PrependReactor("patch", "*", func(a clienttesting.Action) (bool, runtime.Object, error) {
		name := a.(clienttesting.PatchAction).GetName()
		mu.Lock()
		defer mu.Unlock()
		*names = append(*names, name)
		return true, &unstructured.Unstructured{}, answer(name)
	})
	return client, names
}

// TestWriter refuses objects as a webhook without a service does, and then no longer.
func TestWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var refusal error = apierrors.NewInternalError(errors.New(`failed calling webhook "w.test": service "none" not found`))
		client, _ := patched(func(string) error { return refusal })
		objects, err := Cloud("system:test")
		if err != nil {
			t.Fatal(err)
		}
		var said []error
		w := &Writer{Client: client, Report: func(err error) { said = append(said, err) }}
		began := time.Now()
		if err := w.Apply(t.Context(), objects, Force); err != nil || time.Since(began) != 0 {
			t.Errorf("Apply() = %v after %s, want nil at once", err, time.Since(began))
		}
		if len(said) != 1 || !strings.Contains(said[0].Error(), "w.test") || !strings.HasSuffix(said[0].Error(), "(and 1 more objects)") {
			t.Fatalf("reports are %v", said)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*retryInterval)
		defer cancel()
		refusal = nil
		w.Run(ctx)
		if len(said) != 2 || said[1] != nil {
			t.Errorf("reports are %v, want one nil more", said)
		}
	})
}

// TestForeign applies over an object that a user made, and over one of kl.
func TestForeign(t *testing.T) {
	objects, err := MetricsServer{User: "system:test", Gateway: "10.1.2.3", Port: 4711}.Objects()
	if err != nil {
		t.Fatal(err)
	}
	theirs, ours := objects[4].DeepCopy(), objects[6].DeepCopy()
	theirs.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: "kubectl", Operation: metav1.ManagedFieldsOperationUpdate}})
	ours.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: fieldManager, Operation: metav1.ManagedFieldsOperationApply}})
	for _, mode := range []Mode{Force, Yield} {
		client, names := patched(func(string) error { return nil }, theirs, ours)
		err := Apply(t.Context(), client, objects[4:], mode)
		if !errors.Is(err, ErrForeign) || !OnlyConflicts(err) || !strings.Contains(err.Error(), "Service metrics-server") {
			t.Errorf("Apply() = %v, want what is foreign", err)
		}
		if len(*names) != 2 {
			t.Errorf("written are %q, want all but the Service", *names)
		}
	}
}
