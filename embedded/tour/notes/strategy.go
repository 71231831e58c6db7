package notes

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta/table"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/generic"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage/names"
	"k8s.io/apiserver/pkg/storage/storagebackend"
)

// maxText is the longest text of a Note, in bytes.
const maxText = 1000

// strategy is what is particular to Notes when they are created, updated and deleted.
type strategy struct {
	runtime.ObjectTyper
	names.NameGenerator
}

var (
	_ rest.RESTCreateStrategy = strategy{}
	_ rest.RESTUpdateStrategy = strategy{}
	_ rest.RESTDeleteStrategy = strategy{}
)

func (strategy) NamespaceScoped() bool                                            { return true }
func (strategy) AllowCreateOnUpdate(context.Context) bool                         { return false }
func (strategy) AllowUnconditionalUpdate(context.Context) bool                    { return true }
func (strategy) Canonicalize(runtime.Object)                                      {}
func (strategy) PrepareForCreate(context.Context, runtime.Object)                 {}
func (strategy) PrepareForUpdate(_ context.Context, _, _ runtime.Object)          {}
func (strategy) WarningsOnCreate(context.Context, runtime.Object) []string        { return nil }
func (strategy) WarningsOnUpdate(_ context.Context, _, _ runtime.Object) []string { return nil }

func (strategy) Validate(_ context.Context, obj runtime.Object) field.ErrorList {
	path, text := field.NewPath("spec", "text"), obj.(*Note).Spec.Text
	switch {
	case text == "":
		return field.ErrorList{field.Required(path, "a note says something")}
	case len(text) > maxText:
		return field.ErrorList{field.TooLong(path, text, maxText)}
	}
	return nil
}

func (s strategy) ValidateUpdate(ctx context.Context, obj, _ runtime.Object) field.ErrorList {
	return s.Validate(ctx, obj)
}

// newStore returns the resource notes, as upstream's registry serves it, over a memory.
func newStore(scheme *runtime.Scheme, codec runtime.Codec, m *memory) (*genericregistry.Store, error) {
	s := strategy{scheme, names.SimpleNameGenerator}
	resource := schema.GroupResource{Group: group, Resource: plural}
	store := &genericregistry.Store{
		NewFunc:                   func() runtime.Object { return &Note{} },
		NewListFunc:               func() runtime.Object { return &NoteList{} },
		DefaultQualifiedResource:  resource,
		SingularQualifiedResource: schema.GroupResource{Group: group, Resource: "note"},
		CreateStrategy:            s,
		UpdateStrategy:            s,
		DeleteStrategy:            s,
		TableConvertor:            tables{},
		Storage:                   genericregistry.DryRunnableStorage{Storage: m, Codec: codec},
		DestroyFunc:               func() {},
	}
	options := generic.RESTOptions{
		ResourcePrefix: plural, EnableGarbageCollection: true, DeleteCollectionWorkers: 1,
		StorageConfig: (&storagebackend.Config{Codec: codec}).ForResource(resource),
	}
	if err := store.CompleteWithOptions(&generic.StoreOptions{RESTOptions: options}); err != nil {
		return nil, fmt.Errorf("make the store of notes: %w", err)
	}
	return store, nil
}

// tables makes what kubectl get prints.
type tables struct{}

var _ rest.TableConvertor = tables{}

// ConvertToTable implements rest.TableConvertor.
func (tables) ConvertToTable(_ context.Context, obj, options runtime.Object) (*metav1.Table, error) {
	t := &metav1.Table{}
	if list, ok := obj.(*NoteList); ok {
		t.ListMeta = list.ListMeta
	} else if note, ok := obj.(*Note); ok {
		t.ResourceVersion = note.ResourceVersion
	}
	if o, ok := options.(*metav1.TableOptions); !ok || !o.NoHeaders {
		t.ColumnDefinitions = []metav1.TableColumnDefinition{
			{Name: "Name", Type: "string", Format: "name"}, {Name: "Text", Type: "string"}, {Name: "Age", Type: "string"},
		}
	}
	rows, err := table.MetaToTableRow(obj, func(o runtime.Object, _ metav1.Object, name, age string) ([]any, error) {
		return []any{name, o.(*Note).Spec.Text, age}, nil
	})
	t.Rows = rows
	return t, err
}
