package observe

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kubectl/pkg/describe"
)

// Describe returns the text that `kubectl describe` prints.
func (a *Actions) Describe(ctx context.Context, res Resource, namespace, name string) (string, error) {
	gvk := res.GVR.GroupVersion().WithKind(res.Kind)
	d, ok := describe.DescriberFor(schema.GroupKind{Group: gvk.Group, Kind: gvk.Kind}, a.config)
	if !ok {
		scope := meta.RESTScopeRoot
		if res.Namespaced {
			scope = meta.RESTScopeNamespace
		}
		d, ok = describe.GenericDescriberFor(&meta.RESTMapping{Resource: res.GVR, GroupVersionKind: gvk, Scope: scope}, a.config)
	}
	if !ok {
		return "", fmt.Errorf("describe %s %s: no describer for this kind", res.GVR.Resource, name)
	}
	type result struct {
		text string
		err  error
	}
	done := make(chan result, 1)
	go func() { // describers take no context
		text, err := d.Describe(namespace, name, describe.DescriberSettings{ShowEvents: true, ChunkSize: 500})
		done <- result{text, err}
	}()
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case r := <-done:
		if r.err != nil {
			return "", fmt.Errorf("describe %s %s: %w", res.GVR.Resource, name, r.err)
		}
		return r.text, nil
	}
}
