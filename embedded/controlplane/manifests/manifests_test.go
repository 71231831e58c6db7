package manifests

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
)

func names(objects []*unstructured.Unstructured) []string {
	var list []string
	for _, o := range objects {
		list = append(list, o.GetKind()+" "+o.GetName())
	}
	return list
}

func TestNodes(t *testing.T) {
	objects, err := Nodes("system:bootstrappers:kl")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"ClusterRoleBinding kl:node-bootstrapper", "ClusterRoleBinding kl:node-autoapprove-renewal",
		"ClusterRoleBinding kl:node-proxier", "ClusterRole kl:node-agent", "ClusterRoleBinding kl:node-agent",
		"ValidatingAdmissionPolicy nodes.kl.dev", "ValidatingAdmissionPolicyBinding nodes.kl.dev",
	}
	if d := cmp.Diff(want, names(objects)); d != "" {
		t.Errorf("objects (-want +got):\n%s", d)
	}
}

func TestDNS(t *testing.T) {
	objects, err := DNS("10.0.0.10", "example.test")
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]map[string]any{}
	for i, n := range names(objects) {
		byName[n] = objects[i].Object
	}
	if ip, _, _ := unstructured.NestedString(byName["Service kube-dns"], "spec", "clusterIP"); ip != "10.0.0.10" {
		t.Errorf("clusterIP = %q", ip)
	}
	spec, _, _ := unstructured.NestedMap(byName["Deployment coredns"], "spec")
	if _, owned := spec["replicas"]; owned {
		t.Error("replicas are set: scaling the Deployment would conflict with kl")
	}
	got, _, _ := unstructured.NestedStringMap(spec, "template", "metadata", "labels")
	want, _, _ := unstructured.NestedStringMap(byName["Service kube-dns"], "spec", "selector")
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("the Service selects other pods than the Deployment makes (-selector +labels):\n%s", d)
	}
}

func TestMetricsServer(t *testing.T) {
	m := MetricsServer{User: "system:test", Gateway: "10.1.2.3", Port: 4711, CA: "-----BEGIN\n"}
	objects, err := m.Objects()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"ClusterRole system:aggregated-metrics-reader", "ClusterRole system:metrics-server",
		"ClusterRoleBinding system:metrics-server", "ClusterRoleBinding metrics-server:system:auth-delegator",
		"Service metrics-server", "EndpointSlice metrics-server-kl", "APIService v1beta1.metrics.k8s.io",
	}
	if d := cmp.Diff(want, names(objects)); d != "" {
		t.Errorf("objects (-want +got):\n%s", d)
	}
	for i, o := range objects {
		if right := o.GroupVersionKind().Group == "rbac.authorization.k8s.io"; right != (i < m.Rights()) {
			t.Errorf("object %d, %s, is a right: %v", i, o.GetKind(), right)
		}
	}
	slice, api := objects[5].Object, objects[6].Object
	endpoints, _, _ := unstructured.NestedSlice(slice, "endpoints")
	if d := cmp.Diff([]any{"10.1.2.3"}, endpoints[0].(map[string]any)["addresses"]); d != "" {
		t.Errorf("addresses (-want +got):\n%s", d)
	}
	if s := objects[5].GetLabels()["kubernetes.io/service-name"]; s != objects[4].GetName() {
		t.Errorf("the slice is of Service %q", s)
	}
	if _, selects, _ := unstructured.NestedMap(objects[4].Object, "spec", "selector"); selects {
		t.Error("the Service has a selector: its endpoints would be pods")
	}
	if skip, _, _ := unstructured.NestedBool(api, "spec", "insecureSkipTLSVerify"); skip {
		t.Error("the API server does not look at the certificate")
	}
	ca, _, _ := unstructured.NestedString(api, "spec", "caBundle")
	if plain, err := base64.StdEncoding.DecodeString(ca); err != nil || string(plain) != m.CA {
		t.Errorf("caBundle = %q, %v", plain, err)
	}
}

// TestCloud: the cloud provider acts on Nodes that the control plane's watch of them has, and may not read them all itself.
func TestCloud(t *testing.T) {
	objects, err := Cloud("system:test")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"ClusterRole kl:cloud-controller-manager", "ClusterRoleBinding kl:cloud-controller-manager"}, names(objects)); d != "" {
		t.Errorf("objects (-want +got):\n%s", d)
	}
	rules, _, err := unstructured.NestedSlice(objects[0].Object, "rules")
	if err != nil {
		t.Fatal(err)
	}
	verbs := map[any]any{}
	for _, r := range rules {
		rule := r.(map[string]any)
		for _, resource := range rule["resources"].([]any) {
			verbs[resource] = rule["verbs"]
		}
	}
	want := map[any]any{
		"nodes": []any{"get", "update", "patch", "delete"}, "nodes/status": []any{"patch"},
		"services": []any{"get", "list", "watch"}, "services/status": []any{"patch"},
		"endpointslices": []any{"list", "watch"}, "events": []any{"create", "patch", "update"},
	}
	if d := cmp.Diff(want, verbs); d != "" {
		t.Errorf("verbs by resource (-want +got):\n%s", d)
	}
	users, _, err := unstructured.NestedSlice(objects[1].Object, "subjects")
	if err != nil || len(users) != 1 || users[0].(map[string]any)["name"] != "system:test" {
		t.Errorf("the rights are those of %v, %v", users, err)
	}
}

func TestStorage(t *testing.T) {
	s := Storage{User: "system:test", Driver: "csi.test", KindKey: "csi.test/kind", Standard: "a", Shared: "b", Local: "c", DisksDir: "/disks"}
	objects, err := s.Objects()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"ClusterRole system:test", "ClusterRoleBinding system:test", "Role system:test", "RoleBinding system:test",
		"CSIDriver csi.test", "StorageClass a", "StorageClass b", "StorageClass c",
	}
	if d := cmp.Diff(want, names(objects)); d != "" {
		t.Errorf("objects (-want +got):\n%s", d)
	}
	for i, o := range objects {
		if right := o.GroupVersionKind().Group == "rbac.authorization.k8s.io"; right != (i < s.Rights()) {
			t.Errorf("object %d, %s, is a right: %v", i, o.GetKind(), right)
		}
	}
	kinds := []string{}
	for _, o := range objects[5:7] {
		p, _, _ := unstructured.NestedStringMap(o.Object, "parameters")
		kinds = append(kinds, p[s.KindKey])
	}
	if d := cmp.Diff([]string{"local", "shared"}, kinds); d != "" {
		t.Errorf("kinds (-want +got):\n%s", d)
	}
}

// TestSnapshotDefinitions compares kl's copies with the files of the module. Copy them again when its version changes.
func TestSnapshotDefinitions(t *testing.T) {
	const upstream = "github.com/kubernetes-csi/external-snapshotter/client/v8"
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", upstream).Output()
	if err != nil {
		t.Fatalf("find module: %v", err)
	}
	objects, err := SnapshotDefinitions()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"CustomResourceDefinition volumesnapshotclasses.snapshot.storage.k8s.io",
		"CustomResourceDefinition volumesnapshotcontents.snapshot.storage.k8s.io",
		"CustomResourceDefinition volumesnapshots.snapshot.storage.k8s.io",
	}
	if d := cmp.Diff(want, names(objects)); d != "" {
		t.Errorf("objects (-want +got):\n%s", d)
	}
	files, err := filepath.Glob("snapshots/*")
	if err != nil || len(files) != len(want) {
		t.Fatalf("files: %v, %v", files, err)
	}
	for _, file := range files {
		ours, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "config", "crd", filepath.Base(file)))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(theirs), string(ours)); d != "" {
			t.Errorf("%s (-upstream +kl):\n%s", file, d)
		}
	}
}

func TestSnapshotClass(t *testing.T) {
	objects, err := Storage{Driver: "csi.test", Standard: "a"}.SnapshotClass()
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"VolumeSnapshotClass a"}, names(objects)); d != "" {
		t.Errorf("objects (-want +got):\n%s", d)
	}
	if driver, _, _ := unstructured.NestedString(objects[0].Object, "driver"); driver != "csi.test" {
		t.Errorf("driver is %q", driver)
	}
}

func TestOnlyConflicts(t *testing.T) {
	conflict, refused := fmt.Errorf("apply ConfigMap: %w", ErrConflict), errors.New("refused")
	for _, tt := range []struct {
		name string
		err  error
		want bool
	}{
		{"no error", nil, false},
		{"one conflict", conflict, true},
		{"conflicts", errors.Join(conflict, conflict), true},
		{"a conflict and another error", errors.Join(conflict, refused), false},
		{"another error", refused, false},
	} {
		if got := OnlyConflicts(tt.err); got != tt.want {
			t.Errorf("%s: OnlyConflicts() = %t, want %t", tt.name, got, tt.want)
		}
	}
}

// TestApplyWithin answers the first patches as an API server does that is not ready yet.
func TestApplyWithin(t *testing.T) {
	objects, err := Cloud("system:test")
	if err != nil {
		t.Fatal(err)
	}
	objects = objects[:1]
	notYet := apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "kube-system")
	conflict := apierrors.NewConflict(schema.GroupResource{}, "x", errors.New("owned by kubectl"))
	for _, tt := range []struct {
		name    string
		mode    Mode
		answers []error // the last one again and again
		want    func(error) bool
		patches int // 0 for any number
	}{
		{"applied on the third attempt", Force, []error{notYet, notYet, nil}, func(err error) bool { return err == nil }, 3},
		{"a conflict is not retried", Yield, []error{conflict}, OnlyConflicts, 1},
		{"the limit keeps the last error", Force, []error{notYet}, func(err error) bool {
			return errors.Is(err, context.DeadlineExceeded) && errors.Is(err, notYet)
		}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client, patches := fake.NewSimpleDynamicClient(runtime.NewScheme()), 0
			client.PrependReactor("patch", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
				answer := tt.answers[min(patches, len(tt.answers)-1)]
				patches++
				return true, objects[0], answer
			})
			err := ApplyWithin(t.Context(), 300*time.Millisecond, client, objects, tt.mode)
			if !tt.want(err) || tt.patches > 0 && patches != tt.patches {
				t.Errorf("ApplyWithin() = %v after %d patches", err, patches)
			}
		})
	}
}
