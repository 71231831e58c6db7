// Package manifests holds the first objects of a cluster and applies them.
//
//	nodes, err := manifests.Nodes("abcdef", "0123456789abcdef") // what a node needs to join
//	err = manifests.Apply(ctx, client, nodes, manifests.Force)
//
// Objects are applied by the server, so an object that is already as it should be costs one request and no change.
package manifests

import (
	"bytes"
	"context"
	_ "embed" // for the YAML files
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"text/template"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"
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
	//go:embed cloud.yaml
	cloudYAML string
)

// Mode says whose word counts where somebody else has changed a field.
type Mode bool

// The modes.
const (
	Force Mode = true  // kl's: rights and tokens
	Yield Mode = false // theirs: the object is left as it is
)

// fieldManager owns the fields that kl sets.
const fieldManager = "kl"

// Nodes is what nodes need to join and to run: the bootstrap token, its rights, and those of kubelets, of kube-proxy and
// of kl's agent, which use the kubelet's identity.
func Nodes(tokenID, tokenSecret string) ([]*unstructured.Unstructured, error) {
	return parse(nodesYAML, map[string]string{"TokenID": tokenID, "TokenSecret": tokenSecret})
}

// DNS is CoreDNS: the node's own engine in the pause image, so that nothing is pulled.
func DNS(address, domain string) ([]*unstructured.Unstructured, error) {
	return parse(dnsYAML, map[string]string{"Address": address, "Domain": domain})
}

// Cloud is what the cloud provider's user may do.
func Cloud(user string) ([]*unstructured.Unstructured, error) {
	return parse(cloudYAML, map[string]string{"User": user})
}

// MetricsServer is where the API server finds a metrics-server that the control plane runs, and the rights of its user.
type MetricsServer struct {
	User    string // whose certificate it has
	Gateway string // address by which the API server reaches the control plane
	Port    uint16
	CA      string // PEM: who signed its serving certificate
}

// Objects are the rights, then the Service and its endpoint, and last the APIService: see [MetricsServer.Rights].
func (m MetricsServer) Objects() ([]*unstructured.Unstructured, error) { return parse(metricsYAML, m) }

// Rights tells how many of Objects are rights, which stay when the rest is withdrawn.
func (m MetricsServer) Rights() int { return 4 }

// Storage is the CSI driver, the classes of its volumes, and the rights of who makes them.
type Storage struct {
	User                    string // whose certificate it has
	Driver                  string // name of the CSI driver
	KindKey                 string // parameter of its classes that says where volumes are: local or shared
	Standard, Shared, Local string // names of the classes
	DisksDir                string // where local volumes are mounted
}

// Objects are the rights, and then the driver and the classes: see [Storage.Rights].
func (s Storage) Objects() ([]*unstructured.Unstructured, error) { return parse(storageYAML, s) }

// Rights tells how many of Objects are rights.
func (s Storage) Rights() int { return 4 }

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
	var objects []*unstructured.Unstructured
	for _, doc := range bytes.Split(out.Bytes(), []byte("\n---\n")) {
		object := &unstructured.Unstructured{}
		if err := yaml.UnmarshalStrict(doc, &object.Object); err != nil {
			return nil, fmt.Errorf("parse manifest: %w", err)
		}
		objects = append(objects, object)
	}
	return objects, nil
}

// ErrConflict is wrapped by Apply in mode Yield for objects that somebody else has changed.
var ErrConflict = errors.New("changed by somebody else")

// Client is what Apply needs: a client of the server that config reaches, which speaks JSON.
func Client(config *rest.Config) (dynamic.Interface, error) {
	config = rest.CopyConfig(config)
	config.ContentType, config.AcceptContentTypes = "", ""
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	return client, nil
}

// Apply applies objects side by side and returns the errors of all, each with the object it is about.
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
	// The kinds are ours, so the rule of thumb is right and discovery is spared.
	resource, _ := meta.UnsafeGuessKindToResource(object.GroupVersionKind())
	data, err := json.Marshal(object)
	if err != nil {
		return err
	}
	force := bool(mode)
	_, err = client.Resource(resource).Namespace(object.GetNamespace()).Patch(ctx, object.GetName(),
		types.ApplyPatchType, data, metav1.PatchOptions{FieldManager: fieldManager, Force: &force})
	if apierrors.IsConflict(err) && mode == Yield {
		return fmt.Errorf("%w: %w", ErrConflict, err)
	}
	return err
}
