package controlplane

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"

	"github.com/klkube/kl/cluster"
)

func TestSeedable(t *testing.T) {
	for name, test := range map[string]struct {
		edit func(*cluster.Spec)
		want bool
	}{
		"default":            {func(*cluster.Spec) {}, true},
		"other flags":        {flagsOf(cluster.KubeAPIServer, "v", "2"), true},
		"another prefix":     {flagsOf(cluster.KubeAPIServer, "etcd-prefix", "/other"), false},
		"ConfigMaps, too":    {func(s *cluster.Spec) { s.Encryption.Resources = []string{"secrets", "configmaps"} }, true},
		"encrypted roles":    {func(s *cluster.Spec) { s.Encryption.Resources = []string{"roles.rbac.authorization.k8s.io"} }, false},
		"encrypted anything": {func(s *cluster.Spec) { s.Encryption.Resources = []string{"*.*"} }, false},
	} {
		spec := cluster.DefaultSpec()
		test.edit(&spec)
		if got := seedable(spec); got != test.want {
			t.Errorf("%s: seedable is %v", name, got)
		}
	}
}

func flagsOf(component cluster.ComponentName, flag, value string) func(*cluster.Spec) {
	return func(s *cluster.Spec) {
		s.Kubernetes.ExtraArgs = map[string]map[string]string{string(component): {flag: value}}
	}
}

// TestSeed compares a cluster whose first objects were written into etcd with one whose API server has made them all.
func TestSeed(t *testing.T) {
	first := firstObjects(t, func(*cluster.Spec) {})
	made := firstObjects(t, flagsOf(cluster.KubeAPIServer, "etcd-prefix", "/registry")) // which is where it is
	if diff := cmp.Diff(made, first); diff != "" {
		t.Errorf("objects that the API server made (-) and those of the seed (+):\n%s", diff)
	}
	if n := len(seedObjects()); len(first) < n {
		t.Errorf("%d objects, want those of the seed, which are %d", len(first), n)
	}
}

// firstObjects starts a control plane and returns the objects of the kinds that a seed has, without what differs each time.
func firstObjects(t *testing.T, edit func(*cluster.Spec)) map[string]runtime.Object {
	home := shortDir(t)
	l, spec := newCluster(t, home, edit)
	p := startPlane(t, home, l)
	p.await(t, serving)
	client := adminClient(t, l, spec)
	awaitAggregation(t, client)
	objects := map[string]runtime.Object{}
	for kind, list := range map[string]func() (runtime.Object, error){
		"namespaces": func() (runtime.Object, error) {
			return client.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{})
		},
		"priorityclasses": func() (runtime.Object, error) {
			return client.SchedulingV1().PriorityClasses().List(t.Context(), metav1.ListOptions{})
		},
		"clusterroles": func() (runtime.Object, error) {
			return client.RbacV1().ClusterRoles().List(t.Context(), metav1.ListOptions{})
		},
		"clusterrolebindings": func() (runtime.Object, error) {
			return client.RbacV1().ClusterRoleBindings().List(t.Context(), metav1.ListOptions{})
		},
		"serviceaccounts": func() (runtime.Object, error) {
			return client.CoreV1().ServiceAccounts("").List(t.Context(), metav1.ListOptions{})
		},
		"flowschemas": func() (runtime.Object, error) {
			return client.FlowcontrolV1().FlowSchemas().List(t.Context(), metav1.ListOptions{})
		},
		"prioritylevelconfigurations": func() (runtime.Object, error) {
			return client.FlowcontrolV1().PriorityLevelConfigurations().List(t.Context(), metav1.ListOptions{})
		},
		"roles": func() (runtime.Object, error) {
			return client.RbacV1().Roles("").List(t.Context(), metav1.ListOptions{})
		},
		"rolebindings": func() (runtime.Object, error) {
			return client.RbacV1().RoleBindings("").List(t.Context(), metav1.ListOptions{})
		},
	} {
		found, err := list()
		if err != nil {
			t.Fatal(err)
		}
		items, err := meta.ExtractList(found)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range items {
			m := o.(metav1.Object)
			if m.GetUID() == "" || m.GetCreationTimestamp().Year() < 2000 || m.GetResourceVersion() == "" {
				t.Errorf("%s %s: UID %q, made at %s", kind, m.GetName(), m.GetUID(), m.GetCreationTimestamp())
			}
			m.SetUID("")
			m.SetResourceVersion("")
			m.SetCreationTimestamp(metav1.Time{})
			m.SetManagedFields(nil)
			if f, ok := o.(*flowcontrolv1.FlowSchema); ok { // a controller tells what it finds, at a time
				f.Status = flowcontrolv1.FlowSchemaStatus{}
			}
			objects[fmt.Sprintf("%s/%s/%s", kind, m.GetNamespace(), m.GetName())] = o
		}
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.end(t)
	return objects
}

// awaitAggregation waits until the controller has filled in the roles for users.
func awaitAggregation(t *testing.T, client kubernetes.Interface) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; <-time.After(50 * time.Millisecond) {
		missing := ""
		for _, name := range []string{"admin", "edit", "view"} {
			role, err := client.RbacV1().ClusterRoles().Get(t.Context(), name, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if !manyRules(role) {
				missing = name
			}
		}
		if missing == "" {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("ClusterRole %s has no rules", missing)
		}
	}
}

// manyRules reports whether a role has the rules of all the roles that it is made of.
func manyRules(r *rbacv1.ClusterRole) bool { return len(r.Rules) > 5 }
