package observe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"
)

// Resource is a kind of object that the server serves.
type Resource struct {
	GVR        schema.GroupVersionResource
	Kind       string
	Namespaced bool
	Short      []string // po, deploy, …
}

// Label returns the name of a resource for kubectl: pods, certificates.cert-manager.io.
func (r Resource) Label() string {
	if r.GVR.Group == "" || builtin(r.GVR.Group) {
		return r.GVR.Resource
	}
	return r.GVR.Resource + "." + r.GVR.Group
}

func builtin(group string) bool {
	return !strings.Contains(group, ".") || strings.HasSuffix(group, ".k8s.io") && !strings.HasPrefix(group, "metrics")
}

// Resources returns all resources that can be listed, in their preferred versions, ordered by label. Groups that do not answer,
// such as an aggregated API that is down, are left out.
func (a *Actions) Resources(ctx context.Context) ([]Resource, error) {
	type result struct {
		lists []*metav1.APIResourceList
		err   error
	}
	done := make(chan result, 1)
	go func() { // discovery takes no context
		lists, err := a.discovery.ServerPreferredResources()
		done <- result{lists, err}
	}()
	var res result
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case res = <-done:
	}
	if len(res.lists) == 0 && res.err != nil {
		return nil, fmt.Errorf("discover resources: %w", res.err)
	}
	var out []Resource
	for _, l := range res.lists {
		gv, err := schema.ParseGroupVersion(l.GroupVersion)
		if err != nil {
			continue
		}
		for _, r := range l.APIResources {
			if !slices.Contains(r.Verbs, "list") || strings.Contains(r.Name, "/") || gv.Group == "events.k8s.io" {
				continue
			}
			out = append(out, Resource{GVR: gv.WithResource(r.Name), Kind: r.Kind, Namespaced: r.Namespaced, Short: r.ShortNames})
		}
	}
	slices.SortFunc(out, func(x, y Resource) int { return strings.Compare(x.Label(), y.Label()) })
	return out, nil
}

func (a *Actions) resource(res Resource, namespace string) dynamic.ResourceInterface {
	if res.Namespaced && namespace != "" {
		return a.dynamic.Resource(res.GVR).Namespace(namespace)
	}
	return a.dynamic.Resource(res.GVR)
}

// YAML returns an object as the server has it, without managedFields.
func (a *Actions) YAML(ctx context.Context, res Resource, namespace, name string) (string, error) {
	o, err := a.resource(res, namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("read %s %s: %w", res.GVR.Resource, name, err)
	}
	o.SetManagedFields(nil)
	if res.GVR.Group == "" && res.GVR.Resource == "secrets" {
		hideValues(o)
	}
	raw, err := yaml.Marshal(o.Object)
	if err != nil {
		return "", fmt.Errorf("encode %s %s: %w", res.GVR.Resource, name, err)
	}
	return string(raw), nil
}

// hideValues replaces the values of a Secret by their lengths: other people may see the screen.
func hideValues(o *unstructured.Unstructured) {
	for _, field := range []string{"data", "stringData"} {
		m, ok := o.Object[field].(map[string]any)
		if !ok {
			continue
		}
		for k, v := range m {
			s, _ := v.(string)
			m[k] = fmt.Sprintf("(%d characters)", len(s))
		}
	}
	a := o.GetAnnotations()
	delete(a, "kubectl.kubernetes.io/last-applied-configuration")
	o.SetAnnotations(a)
}

// Table is a list of any resource as the server prints it.
type Table struct {
	Columns []Column
	Rows    []TableRow // by namespace and name
}

// Column is one column of a Table. Wide columns are shown if there is room.
type Column struct {
	Name string
	Wide bool
}

// TableRow is one object.
type TableRow struct {
	Namespace, Name, UID string
	Cells                []string
	Terminating          string // says that the object is being deleted, and what it waits for; empty if it is not
}

const tableAccept = "application/json;as=Table;v=v1;g=meta.k8s.io"

// WatchTable calls emit with the table of a resource, and with a new one after each change; emit may keep them. It returns when
// ctx is done, emit returns false, or the watch ends; the caller may then call it again.
func (a *Actions) WatchTable(ctx context.Context, res Resource, namespace string, emit func(Table) bool) error {
	path := resourcePath(res, namespace)
	rc := a.client.Discovery().RESTClient()
	raw, err := rc.Get().AbsPath(path).SetHeader("Accept", tableAccept).Param("limit", "5000").DoRaw(ctx)
	if err != nil {
		return fmt.Errorf("list %s: %w", res.Label(), err)
	}
	var list metav1.Table
	if err := json.Unmarshal(raw, &list); err != nil {
		return fmt.Errorf("decode %s: %w", res.Label(), err)
	}
	st := newTableState(&list)
	if !emit(st.table()) {
		return nil
	}
	body, err := rc.Get().AbsPath(path).SetHeader("Accept", tableAccept).
		Param("watch", "1").Param("resourceVersion", list.ResourceVersion).Stream(ctx)
	if err != nil {
		return fmt.Errorf("watch %s: %w", res.Label(), err)
	}
	defer body.Close()
	dec := json.NewDecoder(body)
	for {
		var ev metav1.WatchEvent
		if err := dec.Decode(&ev); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("watch %s: %w", res.Label(), err)
		}
		if err := st.apply(watch.EventType(ev.Type), ev.Object.Raw); err != nil {
			return fmt.Errorf("watch %s: %w", res.Label(), err)
		}
		if !emit(st.table()) {
			return nil
		}
	}
}

func resourcePath(res Resource, namespace string) string {
	p := "/apis/" + res.GVR.Group + "/" + res.GVR.Version
	if res.GVR.Group == "" {
		p = "/api/" + res.GVR.Version
	}
	if res.Namespaced && namespace != "" {
		p += "/namespaces/" + namespace
	}
	return p + "/" + res.GVR.Resource
}

// tableState is a table that watch events change.
type tableState struct {
	columns []Column
	rows    map[string]TableRow // by UID
}

func newTableState(t *metav1.Table) *tableState {
	st := &tableState{rows: map[string]TableRow{}}
	for _, c := range t.ColumnDefinitions {
		st.columns = append(st.columns, Column{Name: c.Name, Wide: c.Priority > 0})
	}
	for i := range t.Rows {
		r := tableRow(&t.Rows[i])
		st.rows[r.UID] = r
	}
	return st
}

func tableRow(r *metav1.TableRow) TableRow {
	var o metav1.PartialObjectMetadata
	if err := json.NewDecoder(bytes.NewReader(r.Object.Raw)).Decode(&o); err != nil {
		o.Name = "?" // a row without metadata is shown, but has no actions
	}
	out := TableRow{Namespace: o.Namespace, Name: o.Name, UID: string(o.UID)}
	if out.UID == "" { // some aggregated APIs, such as metrics, have no UIDs
		out.UID = o.Namespace + "/" + o.Name
	}
	if o.DeletionTimestamp != nil {
		out.Terminating = terminating(&o)
	}
	for _, c := range r.Cells {
		switch v := c.(type) {
		case nil:
			out.Cells = append(out.Cells, "")
		case float64:
			out.Cells = append(out.Cells, fmt.Sprint(int64(v)))
		default:
			out.Cells = append(out.Cells, fmt.Sprint(v))
		}
	}
	return out
}

// terminating says that an object is being deleted, and which finalizers it waits for.
func terminating(o metav1.Object) string {
	if len(o.GetFinalizers()) == 0 {
		return "Terminating"
	}
	return "Terminating: waits for its " + named(o.GetFinalizers())
}

func (st *tableState) apply(kind watch.EventType, raw []byte) error {
	if kind == watch.Error {
		var s metav1.Status
		if err := json.Unmarshal(raw, &s); err != nil {
			return fmt.Errorf("decode: %w", err)
		}
		return errors.New(s.Message)
	}
	var t metav1.Table
	if err := json.Unmarshal(raw, &t); err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	for i := range t.Rows {
		r := tableRow(&t.Rows[i])
		if kind == watch.Deleted {
			delete(st.rows, r.UID)
		} else if kind != watch.Bookmark {
			st.rows[r.UID] = r
		}
	}
	return nil
}

func (st *tableState) table() Table {
	t := Table{Columns: st.columns, Rows: make([]TableRow, 0, len(st.rows))}
	for _, r := range st.rows {
		t.Rows = append(t.Rows, r)
	}
	slices.SortFunc(t.Rows, func(x, y TableRow) int {
		if c := strings.Compare(x.Namespace, y.Namespace); c != 0 {
			return c
		}
		return natural(x.Name, y.Name)
	})
	return t
}
