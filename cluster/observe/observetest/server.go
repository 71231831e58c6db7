package observetest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

// Server is a small API server.
type Server struct {
	t     testing.TB
	store *store
	addr  string

	mu       sync.Mutex
	http     *http.Server
	refused  map[string]bool // "patch deployments"
	allowed  string          // the only namespace in which requests are not refused; empty means all
	refusals map[string]int  // refused requests, "list pods" or "watch pods"
	usage    func() ([]metricsv1beta1.NodeMetrics, []metricsv1beta1.PodMetrics)
	logs     map[string]string
	kubelet  func(node string) string
}

// Start serves objects on a loopback port until the test ends.
func Start(t testing.TB, objects ...runtime.Object) *Server {
	t.Helper()
	s := &Server{t: t, store: newStore(), refused: map[string]bool{}, refusals: map[string]int{}, logs: map[string]string{}, addr: "127.0.0.1:0"}
	for _, o := range objects {
		s.Set(o)
	}
	s.Up()
	t.Cleanup(s.Down)
	return s
}

// Config returns the client configuration for the server.
func (s *Server) Config() *rest.Config { return &rest.Config{Host: "http://" + s.addr} }

// Kubeconfig returns the content of a kubeconfig with a context of that name for the server.
func (s *Server) Kubeconfig(name string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: %[1]s\nclusters:\n- name: %[1]s\n  cluster: {server: \"http://%[2]s\"}\ncontexts:\n- name: %[1]s\n  context: {cluster: %[1]s, user: %[1]s}\nusers:\n- name: %[1]s\n  user: {}\n", name, s.addr)
}

// Set adds or replaces an object.
func (s *Server) Set(o runtime.Object) {
	s.t.Helper()
	if err := s.store.set(o); err != nil {
		s.t.Fatalf("set object: %v", err)
	}
}

// Object returns an object that the server holds, nil if there is none.
func (s *Server) Object(plural, namespace, name string) runtime.Object {
	for _, r := range served() {
		if r.name == plural {
			o, _ := s.store.get(r, namespace+"/"+name)
			return o
		}
	}
	return nil
}

// Remove deletes an object.
func (s *Server) Remove(o runtime.Object) {
	s.t.Helper()
	r, err := resourceOf(o)
	if err != nil {
		s.t.Fatalf("remove object: %v", err)
	}
	m, err := meta.Accessor(o)
	if err != nil {
		s.t.Fatalf("remove object: %v", err)
	}
	s.store.remove(r, key(m))
}

// Refuse makes the server refuse a verb on a resource or subresource: ("patch", "deployments"), ("get", "nodes/proxy").
func (s *Server) Refuse(verb, plural string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused[verb+" "+plural] = true
}

// RefuseOutside makes the server refuse all requests about objects that are not in a namespace.
func (s *Server) RefuseOutside(namespace string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.allowed = namespace
}

// Refusals returns how many requests were refused, by "list pods" or "watch pods".
func (s *Server) Refusals() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.refusals)
}

// Usage sets the answers of metrics.k8s.io, which does not exist before.
func (s *Server) Usage(f func() ([]metricsv1beta1.NodeMetrics, []metricsv1beta1.PodMetrics)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.usage = f
}

// Log sets the log of a pod.
func (s *Server) Log(namespace, pod, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logs[namespace+"/"+pod] = text
}

// Kubelet sets the answers of kubelets at /stats/summary. Before, kubelets do not answer.
func (s *Server) Kubelet(f func(node string) string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kubelet = f
}

// Up starts the server, on the same port as before.
func (s *Server) Up() {
	s.t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", s.addr)
	if err != nil {
		s.t.Fatalf("listen: %v", err)
	}
	srv := &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	s.mu.Lock()
	s.addr, s.http = l.Addr().String(), srv
	s.mu.Unlock()
	go func() { _ = srv.Serve(l) }() // always returns an error
}

// Down closes the listener and every connection.
func (s *Server) Down() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.http != nil {
		_ = s.http.Close()
		s.http = nil
	}
}

// target is what a request is about.
type target struct {
	resource             resource
	namespace, name, sub string
}

// parse parses paths such as /api/v1/namespaces/NS/pods/NAME/log.
func parse(path string) (target, bool) {
	p := strings.Split(strings.Trim(path, "/"), "/")
	var gv string
	switch {
	case len(p) >= 3 && p[0] == "api":
		gv, p = p[1], p[2:]
	case len(p) >= 4 && p[0] == "apis":
		gv, p = p[1]+"/"+p[2], p[3:]
	default:
		return target{}, false
	}
	var t target
	if len(p) >= 3 && p[0] == "namespaces" {
		t.namespace, p = p[1], p[2:]
	}
	for _, r := range served() {
		if r.gv.String() == gv && r.name == p[0] {
			t.resource = r
		}
	}
	if t.resource.name == "" {
		return t, false
	}
	if len(p) > 1 {
		t.name = p[1]
	}
	if len(p) > 2 {
		t.sub = p[2]
	}
	return t, true
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/version":
		answer(w, map[string]string{"major": "1", "minor": "36", "gitVersion": "v1.36.3"})
		return
	case strings.HasPrefix(r.URL.Path, "/apis/metrics.k8s.io/"):
		s.serveUsage(w, r)
		return
	case s.serveDiscovery(w, r):
		return
	}
	t, ok := parse(r.URL.Path)
	if !ok {
		fail(w, http.StatusNotFound, metav1.StatusReasonNotFound, "the server could not find the requested resource")
		return
	}
	verb := map[string]string{http.MethodGet: "get", http.MethodPatch: "patch", http.MethodDelete: "delete"}[r.Method]
	if verb == "get" && t.name == "" {
		verb = "list"
	}
	s.mu.Lock()
	what := verb + " " + t.resource.name
	refused, kubelet := s.refused[what] || s.refused[what+"/"+t.sub] || s.allowed != "" && t.namespace != s.allowed, s.kubelet
	if refused {
		if verb == "list" && r.URL.Query().Get("watch") != "" {
			what = "watch " + t.resource.name
		}
		s.refusals[what]++
	}
	s.mu.Unlock()
	if refused {
		fail(w, http.StatusForbidden, metav1.StatusReasonForbidden, fmt.Sprintf("%s is forbidden: User \"ann\" cannot %s resource %q", t.resource.name, verb, t.resource.name))
		return
	}
	switch {
	case verb == "list" && r.URL.Query().Get("watch") != "":
		s.serveWatch(w, r, t)
	case verb == "list":
		s.serveList(w, r, t)
	case verb == "get" && t.sub == "log":
		s.mu.Lock()
		text := s.logs[t.namespace+"/"+t.name]
		s.mu.Unlock()
		_, _ = io.WriteString(w, text)
	case verb == "get" && t.sub == "proxy" && kubelet != nil:
		_, _ = io.WriteString(w, kubelet(t.name))
	case verb == "get" && t.sub == "proxy":
		fail(w, http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, "no kubelet")
	case verb == "get":
		s.serveGet(w, r, t)
	case verb == "patch":
		s.servePatch(w, r, t)
	case verb == "delete" && s.terminate(t):
		answer(w, metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusSuccess})
	case verb == "delete" && s.store.remove(t.resource, t.namespace+"/"+t.name):
		answer(w, metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusSuccess})
	default:
		notFound(w, t)
	}
}

// terminate marks an object that has finalizers as being deleted; false if it has none, or does not exist.
func (s *Server) terminate(t target) bool {
	o, _ := s.store.get(t.resource, t.namespace+"/"+t.name)
	if o == nil {
		return false
	}
	o = o.DeepCopyObject()
	m, err := meta.Accessor(o)
	if err != nil || len(m.GetFinalizers()) == 0 {
		return false
	}
	now := metav1.Now()
	m.SetDeletionTimestamp(&now)
	s.Set(o)
	return true
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the client is gone
}

func fail(w http.ResponseWriter, code int, reason metav1.StatusReason, msg string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status: metav1.StatusFailure, Reason: reason, Message: msg, Code: int32(code)})
}

func notFound(w http.ResponseWriter, t target) {
	fail(w, http.StatusNotFound, metav1.StatusReasonNotFound, fmt.Sprintf("%s %q not found", t.resource.name, t.name))
}

func (s *Server) serveGet(w http.ResponseWriter, r *http.Request, t target) {
	o, ok := s.store.get(t.resource, t.namespace+"/"+t.name)
	if !ok {
		notFound(w, t)
		return
	}
	encode(w, r, t.resource.gv, o.DeepCopyObject()) // an encoder sets the kind in the object, which watches share
}

func (s *Server) servePatch(w http.ResponseWriter, r *http.Request, t target) {
	o, ok := s.store.get(t.resource, t.namespace+"/"+t.name)
	if !ok {
		notFound(w, t)
		return
	}
	patch, err := io.ReadAll(r.Body)
	if err != nil {
		fail(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error())
		return
	}
	before, err := json.Marshal(o)
	if err != nil {
		fail(w, http.StatusInternalServerError, metav1.StatusReasonInternalError, err.Error())
		return
	}
	after, err := applyPatch(types.PatchType(r.Header.Get("Content-Type")), before, patch, o)
	if err != nil {
		fail(w, http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, err.Error())
		return
	}
	changed, _, err := scheme.Codecs.UniversalDeserializer().Decode(after, nil, nil)
	if err != nil {
		fail(w, http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, err.Error())
		return
	}
	if m, err := meta.Accessor(changed); err == nil {
		m.SetGeneration(m.GetGeneration() + 1)
	}
	if err := s.store.set(changed); err != nil {
		fail(w, http.StatusInternalServerError, metav1.StatusReasonInternalError, err.Error())
		return
	}
	s.serveGet(w, r, t) // with its new resource version
}

func applyPatch(kind types.PatchType, before, patch []byte, o runtime.Object) ([]byte, error) {
	switch kind {
	case types.StrategicMergePatchType:
		return strategicpatch.StrategicMergePatch(before, patch, o)
	case types.JSONPatchType:
		p, err := jsonpatch.DecodePatch(patch)
		if err != nil {
			return nil, err
		}
		return p.Apply(before)
	default:
		return jsonpatch.MergePatch(before, patch)
	}
}

func (s *Server) serveUsage(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	usage := s.usage
	s.mu.Unlock()
	if usage == nil {
		fail(w, http.StatusNotFound, metav1.StatusReasonNotFound, "the server could not find the requested resource")
		return
	}
	nodes, pods := usage()
	kind := metav1.TypeMeta{APIVersion: "metrics.k8s.io/v1beta1"}
	if strings.HasSuffix(r.URL.Path, "/nodes") {
		kind.Kind = "NodeMetricsList"
		answer(w, metricsv1beta1.NodeMetricsList{TypeMeta: kind, Items: nodes})
		return
	}
	kind.Kind = "PodMetricsList"
	answer(w, metricsv1beta1.PodMetricsList{TypeMeta: kind, Items: pods})
}

// serveDiscovery answers a request for the served resources. It returns false if the request is for something else.
func (s *Server) serveDiscovery(w http.ResponseWriter, r *http.Request) bool {
	path := strings.Trim(r.URL.Path, "/")
	groups := map[string][]metav1.APIResource{}
	for _, x := range served() {
		gv := "api/" + x.gv.Version
		if x.gv.Group != "" {
			gv = "apis/" + x.gv.String()
		}
		res := metav1.APIResource{Name: x.name, Kind: x.kind, Namespaced: x.namespaced, Verbs: metav1.Verbs{"get", "list", "watch", "patch", "delete"}}
		if x.short != "" {
			res.ShortNames = []string{x.short}
		}
		groups[gv] = append(groups[gv], res)
	}
	switch {
	case path == "api":
		answer(w, metav1.APIVersions{TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{"v1"}})
	case path == "apis":
		list := metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}}
		for gv := range groups {
			full, ok := strings.CutPrefix(gv, "apis/")
			if !ok {
				continue
			}
			name, version, _ := strings.Cut(full, "/")
			v := metav1.GroupVersionForDiscovery{GroupVersion: full, Version: version}
			list.Groups = append(list.Groups, metav1.APIGroup{Name: name, Versions: []metav1.GroupVersionForDiscovery{v}, PreferredVersion: v})
		}
		answer(w, list)
	case groups[path] != nil:
		gv := strings.TrimPrefix(strings.TrimPrefix(path, "apis/"), "api/")
		answer(w, metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: gv, APIResources: groups[path]})
	default:
		return false
	}
	return true
}

func versionText(v int64) string { return strconv.FormatInt(v, 10) }
