package controlplane

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/etcdserver"
	corev1 "k8s.io/api/core/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/util/uuid"
	flowcontrol "k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	schedulingv1 "k8s.io/kubernetes/pkg/apis/scheduling/v1"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy"

	"github.com/klkube/kl/cluster"
)

// registryPrefix is what the API server's keys begin with.
const registryPrefix = "/registry/"

// seed writes the objects that every cluster begins with into an empty etcd, all or none: upstream's RBAC policy, priority classes, flow
// schemas, namespaces and service accounts, as the API server would store them. They are created one by one otherwise, by the API server and
// by controllers that start, which takes a second. seed reports whether it wrote them: it does not if there is anything, or if the API server
// would store them in another way.
func seed(ctx context.Context, server *etcdserver.EtcdServer, spec cluster.Spec) (bool, error) {
	if !seedable(spec) {
		return false, nil
	}
	have, err := server.Range(ctx, &etcdserverpb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Limit: 1, KeysOnly: true})
	if err != nil {
		return false, fmt.Errorf("look for objects: %w", err)
	}
	if len(have.Kvs) > 0 {
		return false, nil
	}
	pairs, err := seedPairs(time.Now())
	if err != nil {
		return false, err
	}
	txn := &etcdserverpb.TxnRequest{}
	for key, value := range pairs {
		put := &etcdserverpb.PutRequest{Key: []byte(registryPrefix + key), Value: value}
		txn.Success = append(txn.Success, &etcdserverpb.RequestOp{Request: &etcdserverpb.RequestOp_RequestPut{RequestPut: put}})
	}
	if _, err := server.Txn(ctx, txn); err != nil {
		return false, fmt.Errorf("write the first objects: %w", err)
	}
	return true, nil
}

// seedable reports whether the API server stores such objects as seed does: under the usual keys, and not encrypted.
func seedable(spec cluster.Spec) bool {
	if _, moved := spec.Kubernetes.ExtraArgs[string(cluster.KubeAPIServer)]["etcd-prefix"]; moved {
		return false
	}
	return !slices.ContainsFunc(spec.Encryption.Default().Resources, func(r string) bool { return r != "secrets" && r != "configmaps" })
}

// seedObject is one object with its key after registryPrefix.
type seedObject struct {
	key    string
	object runtime.Object
}

// seedObjects returns copies.
func seedObjects() []seedObject {
	list := append(rbacObjects(), flowObjects()...)
	for _, o := range schedulingv1.SystemPriorityClasses() {
		o = o.DeepCopy()
		o.Generation = 1 // the API server counts the changes of these, and not of roles
		list = append(list, seedObject{"priorityclasses/" + o.Name, o})
	}
	for _, name := range []string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease} {
		list = append(list, seedObject{"namespaces/" + name, &corev1.Namespace{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelMetadataName: name}},
			Spec:       corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{corev1.FinalizerKubernetes}},
			Status:     corev1.NamespaceStatus{Phase: corev1.NamespaceActive},
		}}, account(name, "default"))
	}
	for _, name := range controllerAccounts() {
		list = append(list, account(metav1.NamespaceSystem, name))
	}
	return list
}

func rbacObjects() []seedObject {
	var list []seedObject
	add := func(key string, o runtime.Object) { list = append(list, seedObject{key, o.DeepCopyObject()}) }
	for _, o := range append(bootstrappolicy.ClusterRoles(), bootstrappolicy.ControllerRoles()...) {
		add("clusterroles/"+o.Name, &o)
	}
	for _, o := range clusterRoleBindings() {
		add("clusterrolebindings/"+o.Name, &o)
	}
	for namespace, roles := range bootstrappolicy.NamespaceRoles() {
		for _, o := range roles {
			add("roles/"+namespace+"/"+o.Name, &o)
		}
	}
	for namespace, bindings := range bootstrappolicy.NamespaceRoleBindings() {
		for _, o := range bindings {
			add("rolebindings/"+namespace+"/"+o.Name, &o)
		}
	}
	return list
}

// flowObjects are how the API server divides itself among its clients.
func flowObjects() []seedObject {
	var list []seedObject
	add := func(kind string, o interface {
		runtime.Object
		metav1.Object
	}) {
		o.SetGeneration(1)
		o.SetAnnotations(map[string]string{flowcontrolv1.AutoUpdateAnnotationKey: "true"})
		list = append(list, seedObject{kind + "/" + o.GetName(), o})
	}
	for _, o := range slices.Concat(flowcontrol.MandatoryPriorityLevelConfigurations, flowcontrol.SuggestedPriorityLevelConfigurations) {
		add("prioritylevelconfigurations", o.DeepCopy())
	}
	for _, o := range slices.Concat(flowcontrol.MandatoryFlowSchemas, flowcontrol.SuggestedFlowSchemas) {
		add("flowschemas", o.DeepCopy())
	}
	return list
}

func account(namespace, name string) seedObject {
	return seedObject{"serviceaccounts/" + namespace + "/" + name, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}}}
}

// controllerAccounts are the service accounts of the controllers that kl runs: those that upstream's policy gives rights to. A controller
// that misses its account creates it.
func controllerAccounts() []string {
	elsewhere := []string{
		"cloud-provider", "kube-controller-manager", "kube-dns", "kube-scheduler", "leader-election-controller", "route-controller",
		"selinux-warning-controller", "service-controller",
	}
	var names []string
	add := func(subjects []rbacv1.Subject) {
		for _, s := range subjects {
			if s.Kind == rbacv1.ServiceAccountKind && s.Namespace == metav1.NamespaceSystem && !slices.Contains(elsewhere, s.Name) && !slices.Contains(names, s.Name) {
				names = append(names, s.Name)
			}
		}
	}
	for _, b := range append(bootstrappolicy.ClusterRoleBindings(), bootstrappolicy.ControllerRoleBindings()...) {
		add(b.Subjects)
	}
	for _, bindings := range bootstrappolicy.NamespaceRoleBindings() {
		for _, b := range bindings {
			add(b.Subjects)
		}
	}
	return names
}

// seedPairs returns the objects by their keys, encoded as in etcd.
func seedPairs(now time.Time) (map[string][]byte, error) {
	scheme := legacyscheme.Scheme
	serializer := protobuf.NewSerializer(scheme, scheme)
	pairs := map[string][]byte{}
	for _, o := range seedObjects() {
		kinds, _, err := scheme.ObjectKinds(o.object)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", o.key, err)
		}
		meta := o.object.(metav1.Object)
		meta.SetUID(uuid.NewUUID())
		meta.SetCreationTimestamp(metav1.NewTime(now.Truncate(time.Second)))
		scheme.Default(o.object)
		version := schema.GroupVersion{Group: kinds[0].Group, Version: kinds[0].Version}
		if pairs[o.key], err = runtime.Encode(legacyscheme.Codecs.EncoderForVersion(serializer, version), o.object); err != nil {
			return nil, fmt.Errorf("encode %s: %w", o.key, err)
		}
	}
	return pairs, nil
}
