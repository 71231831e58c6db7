// Package manifests holds the first objects of a cluster and applies them.
//
// Objects are applied by the server, so an object that is already as it should be costs one request and no change.
package manifests

import (
	"bytes"
	"context"
	"embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"text/template"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/klkube/kl/embedded/controlplane/await"
)

var (
	//go:embed nodes.yaml
	nodesYAML string
	//go:embed dns.yaml
	dnsYAML string
	//go:embed metrics.yaml
	metricsYAML string
	//go:embed storage.yaml
	storageYAML string
	//go:embed snapshotclass.yaml
	snapshotClassYAML string
	//go:embed snapshots
	snapshotFiles embed.FS // of the module external-snapshotter/client, unchanged
	//go:embed cloud.yaml
	cloudYAML string
	//go:embed registry.yaml
	registryYAML string
)

// Mode decides about fields that a user has changed.
type Mode bool

// The modes.
const (
	Force Mode = true  // kl's value wins: rights and tokens
	Yield Mode = false // the user's value wins: Apply returns ErrConflict and leaves the object alone
)

// fieldManager owns the fields that kl sets.
const fieldManager = "kl"

// Nodes returns what nodes need to join and to run: the rights of joinGroup, to which tokens belong, and those of kubelets,
// kube-proxy and kl's agent, which uses the kubelet's identity, and what none of them may do.
func Nodes(joinGroup string) ([]*unstructured.Unstructured, error) {
	return parse(nodesYAML, joinGroup)
}

// DNS returns CoreDNS, which runs the node's engine in the pause image, so that nothing is pulled.
func DNS(address, domain string) ([]*unstructured.Unstructured, error) {
	return parse(dnsYAML, map[string]string{"Address": address, "Domain": domain})
}

// Cloud returns the rights of the cloud provider's user.
func Cloud(user string) ([]*unstructured.Unstructured, error) {
	return parse(cloudYAML, map[string]string{"User": user})
}

// Registry returns what tells tools that there is a registry on that port of the machine, which nodes know as localhost, too (KEP-1755).
func Registry(port int) ([]*unstructured.Unstructured, error) { return parse(registryYAML, port) }

// MetricsServer describes a metrics-server in the control plane: how the API server finds it, and its user.
type MetricsServer struct {
	User    string // in its client certificate
	Gateway string // address by which the API server reaches the control plane
	Port    uint16
	CA      string // of its serving certificate, PEM
}

// Objects returns the rights, then the Service and its endpoint, and last the APIService.
func (m MetricsServer) Objects() ([]*unstructured.Unstructured, error) { return parse(metricsYAML, m) }

// Rights is the number of Objects, from the first, that are rights. They stay when the others are withdrawn.
func (m MetricsServer) Rights() int { return 4 }

// Storage describes the CSI driver, its storage classes, and the user of the controller.
type Storage struct {
	User                    string // in the controller's client certificate
	Driver                  string // name of the CSI driver
	KindKey                 string // class parameter for where volumes are: local or shared
	Standard, Shared, Local string // names of the classes
	DisksDir                string // where local volumes are mounted
}

// Objects returns the rights, then the driver and the classes.
func (s Storage) Objects() ([]*unstructured.Unstructured, error) { return parse(storageYAML, s) }

// Rights is the number of Objects, from the first, that are rights.
func (s Storage) Rights() int { return 4 }

// SnapshotClass returns the VolumeSnapshotClass of the driver, which has the name of the standard class.
func (s Storage) SnapshotClass() ([]*unstructured.Unstructured, error) {
	return parse(snapshotClassYAML, s)
}

// SnapshotDefinitions returns upstream's definitions of VolumeSnapshot, VolumeSnapshotContent and VolumeSnapshotClass.
func SnapshotDefinitions() ([]*unstructured.Unstructured, error) {
	const dir = "snapshots"
	entries, err := snapshotFiles.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var all []*unstructured.Unstructured
	for _, e := range entries {
		text, err := snapshotFiles.ReadFile(dir + "/" + e.Name())
		if err != nil {
			return nil, err
		}
		objects, err := decode(bytes.TrimPrefix(text, []byte("---\n")))
		if err != nil {
			return nil, err
		}
		all = append(all, objects...)
	}
	return all, nil
}

func parse(text string, values any) ([]*unstructured.Unstructured, error) {
	encode := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	t, err := template.New("").Funcs(template.FuncMap{"base64": encode}).Option("missingkey=error").Parse(text)
	if err != nil {
		return nil, fmt.Errorf("parse manifest: %w", err)
	}
	var out bytes.Buffer
	if err := t.Execute(&out, values); err != nil {
		return nil, fmt.Errorf("fill manifest: %w", err)
	}
	return decode(out.Bytes())
}

// decode returns the objects in documents of YAML.
func decode(text []byte) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	for _, doc := range bytes.Split(text, []byte("\n---\n")) {
		object := &unstructured.Unstructured{}
		if err := yaml.UnmarshalStrict(doc, &object.Object); err != nil {
			return nil, fmt.Errorf("parse manifest: %w", err)
		}
		objects = append(objects, object)
	}
	return objects, nil
}

var (
	// ErrConflict is wrapped by the errors of Apply in mode Yield for objects with fields that a user has changed.
	ErrConflict = errors.New("changed by a user")
	// ErrForeign is wrapped by the errors of Apply, in every mode, for objects that kl did not make. It is an ErrConflict.
	ErrForeign = fmt.Errorf("%w: kl did not make it and leaves it as it is", ErrConflict)
)

// OnlyConflicts reports whether err is one of Apply and every object that it is about is in conflict.
func OnlyConflicts(err error) bool {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return errors.Is(err, ErrConflict)
	}
	for _, e := range joined.Unwrap() {
		if !errors.Is(e, ErrConflict) {
			return false
		}
	}
	return true
}

// Client returns the client that Apply takes, for the server that config reaches. It speaks JSON.
func Client(config *rest.Config) (dynamic.Interface, error) {
	config = rest.CopyConfig(config)
	config.ContentType, config.AcceptContentTypes = "", ""
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	return client, nil
}

// ApplyWithin is Apply, tried again until it succeeds or the limit is over. What does not go away is returned at once:
// conflicts, if there is no other error, and what admission refuses.
func ApplyWithin(ctx context.Context, limit time.Duration, client dynamic.Interface, objects []*unstructured.Unstructured, mode Mode) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var final error
	err := await.Success(ctx, applyInterval, func(ctx context.Context) error {
		err := Apply(ctx, client, objects, mode)
		if OnlyConflicts(err) || Refused(err) {
			final = err
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	return final
}

const applyInterval = 50 * time.Millisecond

// Apply applies objects in parallel and joins the errors, each of which names its object.
func Apply(ctx context.Context, client dynamic.Interface, objects []*unstructured.Unstructured, mode Mode) error {
	errs := make([]error, len(objects))
	var wg sync.WaitGroup
	for i, object := range objects {
		wg.Go(func() {
			if err := apply(ctx, client, object, mode); err != nil {
				errs[i] = fmt.Errorf("apply %s %s: %w", object.GetKind(), object.GetName(), err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func apply(ctx context.Context, client dynamic.Interface, object *unstructured.Unstructured, mode Mode) error {
	// The guess is right for the kinds used here, and saves discovery.
	resource, _ := meta.UnsafeGuessKindToResource(object.GroupVersionKind())
	data, err := json.Marshal(object)
	if err != nil {
		return err
	}
	own, err := Own(ctx, client, object)
	if err != nil {
		return err
	}
	if !own {
		return ErrForeign
	}
	force := bool(mode)
	_, err = client.Resource(resource).Namespace(object.GetNamespace()).Patch(ctx, object.GetName(),
		types.ApplyPatchType, data, metav1.PatchOptions{FieldManager: fieldManager, Force: &force})
	if apierrors.IsConflict(err) && mode == Yield {
		return fmt.Errorf("%w: %w", ErrConflict, err)
	}
	return err
}

// Own reports whether kl made the object of that kind and name, or may make it because there is none.
func Own(ctx context.Context, client dynamic.Interface, object *unstructured.Unstructured) (bool, error) {
	resource, _ := meta.UnsafeGuessKindToResource(object.GroupVersionKind())
	have, err := client.Resource(resource).Namespace(object.GetNamespace()).Get(ctx, object.GetName(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(have.GetManagedFields(), func(f metav1.ManagedFieldsEntry) bool { return f.Manager == fieldManager }), nil
}
