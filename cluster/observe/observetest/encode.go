package observetest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
)

// serializer returns protobuf if the client accepts it, else JSON.
func serializer(r *http.Request) runtime.SerializerInfo {
	want := "application/json"
	if strings.HasPrefix(r.Header.Get("Accept"), "application/vnd.kubernetes.protobuf") {
		want = "application/vnd.kubernetes.protobuf"
	}
	info, _ := runtime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), want)
	return info
}

func isTable(r *http.Request) bool { return strings.Contains(r.Header.Get("Accept"), "as=Table") }

func encode(w http.ResponseWriter, r *http.Request, gv schema.GroupVersion, o runtime.Object) {
	info := serializer(r)
	w.Header().Set("Content-Type", info.MediaType)
	_ = scheme.Codecs.EncoderForVersion(info.Serializer, gv).Encode(o, w) // the client is gone
}

func (s *Server) serveList(w http.ResponseWriter, r *http.Request, t target) {
	items, version := s.store.list(t.resource, t.namespace)
	if isTable(r) {
		table := tableOf(items)
		table.ResourceVersion = versionText(version)
		answer(w, table)
		return
	}
	list, err := scheme.Scheme.New(t.resource.gv.WithKind(t.resource.kind + "List"))
	if err == nil {
		err = meta.SetList(list, items)
	}
	if err != nil {
		fail(w, http.StatusInternalServerError, metav1.StatusReasonInternalError, err.Error())
		return
	}
	if m, err := meta.ListAccessor(list); err == nil {
		m.SetResourceVersion(versionText(version))
	}
	encode(w, r, t.resource.gv, list)
}

// tableOf returns a table of names and ages, as a real server does for an unknown kind.
func tableOf(items []runtime.Object) *metav1.Table {
	t := &metav1.Table{TypeMeta: metav1.TypeMeta{Kind: "Table", APIVersion: "meta.k8s.io/v1"},
		ColumnDefinitions: []metav1.TableColumnDefinition{{Name: "Name", Type: "string", Format: "name"}, {Name: "Created At", Type: "date"}}}
	for _, o := range items {
		m, err := meta.Accessor(o)
		if err != nil {
			continue
		}
		raw, err := json.Marshal(metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{Kind: "PartialObjectMetadata", APIVersion: "meta.k8s.io/v1"},
			ObjectMeta: metav1.ObjectMeta{Name: m.GetName(), Namespace: m.GetNamespace(), UID: m.GetUID()}})
		if err != nil {
			continue
		}
		t.Rows = append(t.Rows, metav1.TableRow{Cells: []any{m.GetName(), m.GetCreationTimestamp().Format("2006-01-02")}, Object: runtime.RawExtension{Raw: raw}})
	}
	return t
}

// serveWatch streams changes until the client disconnects. It refuses to send initial events, so that clients list.
func (s *Server) serveWatch(w http.ResponseWriter, r *http.Request, t target) {
	if r.URL.Query().Get("sendInitialEvents") != "" {
		fail(w, http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, "sendInitialEvents is forbidden")
		return
	}
	version, err := strconv.ParseInt(r.URL.Query().Get("resourceVersion"), 10, 64)
	if err != nil {
		fail(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, "a watch needs a resourceVersion")
		return
	}
	events, stop := s.store.watch(t.resource, version)
	defer stop()
	info := serializer(r)
	w.Header().Set("Content-Type", info.MediaType+";stream=watch")
	if info.MediaType == "application/json" {
		w.Header().Set("Content-Type", info.MediaType)
	}
	w.WriteHeader(http.StatusOK)
	flush := func() {
		if f, ok := w.(http.Flusher); ok {
			f.Flush()
		}
	}
	flush()
	for {
		select {
		case <-r.Context().Done():
			return
		case e, ok := <-events:
			if !ok {
				return
			}
			if m, err := meta.Accessor(e.Object); err != nil || t.namespace != "" && m.GetNamespace() != t.namespace {
				continue
			}
			if err := writeEvent(w, r, info, t.resource.gv, e); err != nil {
				return
			}
			flush()
		}
	}
}

func writeEvent(w http.ResponseWriter, r *http.Request, info runtime.SerializerInfo, gv schema.GroupVersion, e watch.Event) error {
	var raw []byte
	var err error
	if isTable(r) {
		raw, err = json.Marshal(tableOf([]runtime.Object{e.Object}))
	} else {
		raw, err = runtime.Encode(scheme.Codecs.EncoderForVersion(info.Serializer, gv), e.Object.DeepCopyObject()) // see serveGet
	}
	if err != nil {
		return fmt.Errorf("encode event: %w", err)
	}
	out := &metav1.WatchEvent{Type: string(e.Type), Object: runtime.RawExtension{Raw: raw}}
	if info.MediaType == "application/json" {
		return json.NewEncoder(w).Encode(out)
	}
	return info.StreamSerializer.Serializer.Encode(out, info.StreamSerializer.Framer.NewFrameWriter(w))
}
