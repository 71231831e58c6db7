package notes

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/validation/spec"
	metaopenapi "sigs.k8s.io/metrics-server/pkg/api/generated/openapi"
)

const (
	group   = "tour.kl.dev"
	version = "v1alpha1"
	plural  = "notes"
	// models is what names of the schemas in OpenAPI begin with.
	models = "dev.kl.tour.v1alpha1."
)

// Note is a text in a namespace.
type Note struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              NoteSpec `json:"spec"`
}

// NoteSpec is what a Note says.
type NoteSpec struct {
	Text string `json:"text"` // 1 to 1000 bytes
}

// NoteList is a list of Notes.
type NoteList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Note `json:"items"`
}

var (
	_ runtime.Object = (*Note)(nil)
	_ runtime.Object = (*NoteList)(nil)
)

// DeepCopy returns a Note that shares nothing with n.
func (n *Note) DeepCopy() *Note {
	c := *n
	n.ObjectMeta.DeepCopyInto(&c.ObjectMeta)
	return &c
}

// DeepCopyObject implements runtime.Object.
func (n *Note) DeepCopyObject() runtime.Object { return n.DeepCopy() }

// DeepCopyObject implements runtime.Object.
func (l *NoteList) DeepCopyObject() runtime.Object {
	c := *l
	l.ListMeta.DeepCopyInto(&c.ListMeta)
	if l.Items != nil {
		c.Items = make([]Note, len(l.Items))
		for i := range l.Items {
			c.Items[i] = *l.Items[i].DeepCopy()
		}
	}
	return &c
}

// OpenAPIModelName is the name of the type's schema.
func (Note) OpenAPIModelName() string { return models + "Note" }

// OpenAPIModelName is the name of the type's schema.
func (NoteSpec) OpenAPIModelName() string { return models + "NoteSpec" }

// OpenAPIModelName is the name of the type's schema.
func (NoteList) OpenAPIModelName() string { return models + "NoteList" }

// newScheme registers the types. There is one version, so the internal one, which the generic API server needs, is the same Go type.
func newScheme() (*runtime.Scheme, serializer.CodecFactory) {
	scheme := runtime.NewScheme()
	v := schema.GroupVersion{Group: group, Version: version}
	scheme.AddKnownTypes(v, &Note{}, &NoteList{})
	scheme.AddKnownTypes(schema.GroupVersion{Group: group, Version: runtime.APIVersionInternal}, &Note{}, &NoteList{})
	metav1.AddToGroupVersion(scheme, v)
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	scheme.AddUnversionedTypes(schema.GroupVersion{Version: "v1"},
		&metav1.Status{}, &metav1.APIVersions{}, &metav1.APIGroupList{}, &metav1.APIGroup{}, &metav1.APIResourceList{})
	utilruntime.Must(scheme.SetVersionPriority(v))
	return scheme, serializer.NewCodecFactory(scheme)
}

// definitions are the schemas of Notes, and of the types that all resources share.
func definitions(ref common.ReferenceCallback) map[string]common.OpenAPIDefinition {
	all := metaopenapi.GetOpenAPIDefinitions(ref)
	text := func(description string) spec.Schema {
		return spec.Schema{SchemaProps: spec.SchemaProps{Type: []string{"string"}, Description: description}}
	}
	object := func(description string, properties map[string]spec.Schema, required []string, deps ...string) common.OpenAPIDefinition {
		return common.OpenAPIDefinition{
			Schema:       spec.Schema{SchemaProps: spec.SchemaProps{Type: []string{"object"}, Description: description, Properties: properties, Required: required}},
			Dependencies: deps,
		}
	}
	reference := func(model string) spec.Schema {
		return spec.Schema{SchemaProps: spec.SchemaProps{Default: map[string]any{}, Ref: ref(model)}}
	}
	kind := func(metadata string, properties map[string]spec.Schema) map[string]spec.Schema {
		properties["apiVersion"], properties["kind"] = text("The version of the API."), text("The kind of object.")
		properties["metadata"] = reference(metadata)
		return properties
	}
	// What an event of a watch holds, as metrics-server's schemas call it. They lack it, since nothing of metrics-server can be watched.
	all["k8s.io/apimachinery/pkg/runtime.RawExtension"] = object("Any object.", nil, nil)
	objectMeta, listMeta := metav1.ObjectMeta{}.OpenAPIModelName(), metav1.ListMeta{}.OpenAPIModelName()
	note, noteSpec, list := Note{}.OpenAPIModelName(), NoteSpec{}.OpenAPIModelName(), NoteList{}.OpenAPIModelName()
	items := spec.Schema{SchemaProps: spec.SchemaProps{Type: []string{"array"}, Items: &spec.SchemaOrArray{Schema: new(reference(note))}}}
	all[noteSpec] = object("What a note says.", map[string]spec.Schema{"text": text("The text, 1 to 1000 bytes.")}, []string{"text"})
	all[note] = object("A text in a namespace.", kind(objectMeta, map[string]spec.Schema{"spec": reference(noteSpec)}), []string{"spec"}, objectMeta, noteSpec)
	all[list] = object("A list of notes.", kind(listMeta, map[string]spec.Schema{"items": items}), []string{"items"}, listMeta, note)
	return all
}
