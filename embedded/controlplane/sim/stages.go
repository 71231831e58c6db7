package sim

import (
	"context"
	"fmt"
	"time"

	apiextv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiext "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
	"sigs.k8s.io/kwok/kustomize/crd"
	nodefast "sigs.k8s.io/kwok/kustomize/stage/node/fast"
	podfast "sigs.k8s.io/kwok/kustomize/stage/pod/fast"
	"sigs.k8s.io/kwok/pkg/apis/v1alpha1"
	"sigs.k8s.io/kwok/pkg/client/clientset/versioned"
	"sigs.k8s.io/yaml"
)

// installed is the annotation of the Stage definition that says that the default stages were created.
const installed = "dev.kl.stages"

// installTimeout is how long the API server may take to serve the Stage resource.
const installTimeout = 30 * time.Second

// installStages creates the Stage resource and the default stages. It does so once in a cluster's life: users may change and
// delete stages.
func (s *Simulator) installStages(ctx context.Context) error {
	extensions, err := apiext.NewForConfig(s.jsonConfig())
	if err != nil {
		return fmt.Errorf("make client: %w", err)
	}
	stages, err := versioned.NewForConfig(s.jsonConfig())
	if err != nil {
		return fmt.Errorf("make client: %w", err)
	}
	return install(ctx, extensions, stages)
}

// jsonConfig is the configuration of clients for custom resources, which have no protobuf form.
func (s *Simulator) jsonConfig() *rest.Config {
	c := rest.CopyConfig(s.Config)
	c.ContentType, c.AcceptContentTypes = "application/json", ""
	return c
}

func install(ctx context.Context, extensions apiext.Interface, stages versioned.Interface) error {
	var def apiextv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(crd.Stage, &def); err != nil {
		return fmt.Errorf("read kwok's Stage definition: %w", err)
	}
	definitions := extensions.ApiextensionsV1().CustomResourceDefinitions()
	have, err := definitions.Create(ctx, &def, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		have, err = definitions.Get(ctx, def.Name, metav1.GetOptions{})
	}
	if err != nil {
		return fmt.Errorf("install Stage definition: %w", err)
	}
	if err := awaitEstablished(ctx, extensions, def.Name); err != nil {
		return err
	}
	if _, ok := have.Annotations[installed]; ok {
		return nil
	}
	if err := createStages(ctx, stages); err != nil {
		return err
	}
	mark := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:"installed"}}}`, installed)
	if _, err := definitions.Patch(ctx, def.Name, types.MergePatchType, mark, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("mark Stage definition: %w", err)
	}
	return nil
}

// awaitEstablished returns when the API server serves a custom resource.
func awaitEstablished(ctx context.Context, c apiext.Interface, name string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, installTimeout, fmt.Errorf("%s is not served after %s", name, installTimeout))
	defer cancel()
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector = "metadata.name=" + name
			return c.ApiextensionsV1().CustomResourceDefinitions().List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = "metadata.name=" + name
			return c.ApiextensionsV1().CustomResourceDefinitions().Watch(ctx, o)
		},
	}
	_, err := watchtools.UntilWithSync(ctx, cache.ToListWatcherWithWatchListSemantics(lw, c), &apiextv1.CustomResourceDefinition{}, nil,
		func(e watch.Event) (bool, error) {
			def, ok := e.Object.(*apiextv1.CustomResourceDefinition)
			return ok && established(def), nil
		})
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("wait for Stage resource: %w", err)
	}
	return nil
}

func established(def *apiextv1.CustomResourceDefinition) bool {
	for _, c := range def.Status.Conditions {
		if c.Type == apiextv1.Established && c.Status == apiextv1.ConditionTrue {
			return true
		}
	}
	return false
}

func createStages(ctx context.Context, client versioned.Interface) error {
	stages, err := defaultStages()
	if err != nil {
		return err
	}
	for _, stage := range stages {
		_, err := client.KwokV1alpha1().Stages().Create(ctx, stage, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("create stage %s: %w", stage.Name, err)
		}
	}
	return nil
}

// defaultStages returns kwok's fast stages: nodes are Ready and pods Running at once, pods of Jobs complete, and deleted pods
// disappear.
func defaultStages() ([]*v1alpha1.Stage, error) {
	var out []*v1alpha1.Stage
	for _, text := range []string{nodefast.DefaultNodeInit, podfast.DefaultPodReady, podfast.DefaultPodComplete, podfast.DefaultPodDelete} {
		var stage v1alpha1.Stage
		if err := yaml.UnmarshalStrict([]byte(text), &stage); err != nil {
			return nil, fmt.Errorf("read kwok's default stage: %w", err)
		}
		out = append(out, &stage)
	}
	return out, nil
}
