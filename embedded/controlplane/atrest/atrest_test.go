package atrest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"k8s.io/client-go/rest"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/encryption"
	"github.com/klkube/kl/embedded/controlplane/atrest"
)

// etcd is etcd with a few keys.
type etcd struct {
	mu       sync.Mutex
	values   map[string]string
	revision map[string]int64
	ranges   int
}

func newEtcd() *etcd { return &etcd{values: map[string]string{}, revision: map[string]int64{}} }

func (e *etcd) put(key, value string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.values[key] = value
	e.revision[key]++
}

func (e *etcd) Range(_ context.Context, r *etcdserverpb.RangeRequest) (*etcdserverpb.RangeResponse, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ranges++
	resp := &etcdserverpb.RangeResponse{Header: &etcdserverpb.ResponseHeader{Revision: 7}}
	var keys []string
	for k := range e.values {
		if k >= string(r.Key) && k < string(r.RangeEnd) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		if int64(len(resp.Kvs)) == r.Limit {
			resp.More = true
			break
		}
		resp.Kvs = append(resp.Kvs, &mvccpb.KeyValue{Key: []byte(k), Value: []byte(e.values[k]), ModRevision: e.revision[k]})
	}
	return resp, nil
}

const newPrefix = "k8s:enc:secretbox:v1:new:"

// api is an API server that writes every object that is patched under the key "new", unless patched says otherwise.
type api struct {
	etcd    *etcd
	patched func(key string) (status int, write bool)
	patches []string
	mu      sync.Mutex
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	switch r.URL.Path {
	case "/api":
		fmt.Fprint(w, `{"kind":"APIVersions","versions":["v1"]}`)
	case "/apis":
		fmt.Fprint(w, `{"kind":"APIGroupList","apiVersion":"v1","groups":[{"name":"example.com","versions":[{"groupVersion":"example.com/v1","version":"v1"},`+
			`{"groupVersion":"example.com/v1beta1","version":"v1beta1"}],"preferredVersion":{"groupVersion":"example.com/v1","version":"v1"}}]}`)
	case "/api/v1":
		fmt.Fprint(w, `{"kind":"APIResourceList","groupVersion":"v1","resources":[{"name":"secrets","namespaced":true,"kind":"Secret"}]}`)
	case "/apis/example.com/v1":
		fmt.Fprint(w, `{"kind":"APIResourceList","groupVersion":"example.com/v1","resources":[]}`)
	case "/apis/example.com/v1beta1":
		fmt.Fprint(w, `{"kind":"APIResourceList","groupVersion":"example.com/v1beta1","resources":[{"name":"widgets","namespaced":false,"kind":"Widget"}]}`)
	default:
		a.patch(w, r)
	}
}

func (a *api) patch(w http.ResponseWriter, r *http.Request) {
	var patch struct {
		Metadata struct{ ResourceVersion string }
	}
	if err := json.NewDecoder(r.Body).Decode(&patch); err != nil || r.Method != http.MethodPatch {
		http.Error(w, "unexpected", http.StatusTeapot)
		return
	}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	key := "/registry/example.com/widgets/" + parts[len(parts)-1]
	if len(parts) == 6 { // api/v1/namespaces/NS/secrets/NAME
		key = "/registry/secrets/" + parts[3] + "/" + parts[5]
	}
	a.etcd.mu.Lock()
	fits := patch.Metadata.ResourceVersion == fmt.Sprint(a.etcd.revision[key])
	a.etcd.mu.Unlock()
	status, write := http.StatusOK, true
	if a.patched != nil {
		status, write = a.patched(key)
	}
	if !fits {
		status, write = http.StatusConflict, false
	}
	a.mu.Lock()
	a.patches = append(a.patches, key)
	a.mu.Unlock()
	if write {
		a.etcd.put(key, newPrefix+"content")
	}
	if status != http.StatusOK {
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"no","reason":%q,"code":%d}`, reason(status), status)
		return
	}
	fmt.Fprint(w, `{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"x"}}`)
}

func reason(status int) string {
	switch status {
	case http.StatusConflict:
		return "Conflict"
	case http.StatusNotFound:
		return "NotFound"
	}
	return "Forbidden"
}

// newServer serves both etcd and the API.
func newServer(t *testing.T, e *etcd, a *api) *httptest.Server {
	t.Helper()
	backend := httptest.NewServer(a)
	t.Cleanup(backend.Close)
	l := cluster.Home(t.TempDir()).Cluster("dev")
	server := &atrest.Server{
		Layout: l, Store: func() atrest.Store { return e }, Admin: &rest.Config{Host: backend.URL, QPS: -1},
		Loaded: func() (string, float64, error) { return "sha256:one", 0, nil },
	}
	mux := http.NewServeMux()
	server.Register(mux)
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestTallies(t *testing.T) {
	e := newEtcd()
	for i := range 250 { // more than two pages
		e.put(fmt.Sprintf("/registry/secrets/default/s%d", i), "k8s:enc:secretbox:v1:old:…")
	}
	e.put("/registry/secrets/default/plain", "k8s\x00…")
	e.put("/registry/secretsofothers/x", "k8s\x00…")
	e.put("/registry/secret", "k8s\x00…")
	e.put("/registry/services/specs/default/web", "k8s\x00…")
	s := newServer(t, e, &api{etcd: e})
	status, body := get(t, s.URL+"/v1/encryption?resource=secrets&resource=services")
	var got []encryption.Tally
	if err := json.Unmarshal([]byte(body), &got); err != nil || status != http.StatusOK || len(got) != 2 {
		t.Fatalf("%d %s %v", status, body, err)
	}
	old := encryption.Key{Provider: cluster.EncryptionSecretbox, Name: "old"}
	if got[0].Objects != 251 || got[0].Plain != 1 || got[0].Under(old) != 250 || got[1].Plain != 1 {
		t.Errorf("%+v", got)
	}
	if e.ranges < 4 {
		t.Errorf("%d reads: are there pages?", e.ranges)
	}
}

func TestTalliesWithoutEtcd(t *testing.T) {
	mux := http.NewServeMux()
	(&atrest.Server{Layout: cluster.Home(t.TempDir()).Cluster("dev"), Store: func() atrest.Store { return nil }}).Register(mux)
	s := httptest.NewServer(mux)
	defer s.Close()
	if status, body := get(t, s.URL+"/v1/encryption?resource=secrets"); status != http.StatusServiceUnavailable || !strings.Contains(body, "etcd does not serve yet") {
		t.Errorf("%d %s", status, body)
	}
	if status, body := get(t, s.URL+"/v1/encryption"); status != http.StatusInternalServerError || !strings.Contains(body, "encryption.yaml") {
		t.Errorf("%d %s", status, body)
	}
}

// rewrite returns the last line of the answer.
func rewrite(t *testing.T, s *httptest.Server, targets ...encryption.RewriteTarget) encryption.RewriteProgress {
	t.Helper()
	body, err := json.Marshal(encryption.RewriteRequest{Targets: targets})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/v1/encryption/rewrite", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var last encryption.RewriteProgress
	for lines := json.NewDecoder(resp.Body); ; last = next(t, lines, last) {
		if last.Finished || last.Error != "" {
			return last
		}
	}
}

func next(t *testing.T, lines *json.Decoder, last encryption.RewriteProgress) encryption.RewriteProgress {
	t.Helper()
	var p encryption.RewriteProgress
	if err := lines.Decode(&p); err != nil {
		t.Fatalf("after %+v: %v", last, err)
	}
	if p.Done > p.Of {
		t.Errorf("%d of %d", p.Done, p.Of)
	}
	return p
}

var toNew = encryption.RewriteTarget{Resource: "secrets", Provider: cluster.EncryptionSecretbox, Key: "new"}

func TestRewrite(t *testing.T) {
	e := newEtcd()
	for i := range 120 {
		e.put(fmt.Sprintf("/registry/secrets/ns/s%d", i), "k8s:enc:secretbox:v1:old:…")
	}
	e.put("/registry/secrets/ns/already", newPrefix)
	e.put("/registry/example.com/widgets/w", "{}")
	changed, gone := "/registry/secrets/ns/s3", "/registry/secrets/ns/s4"
	first := true
	a := &api{etcd: e}
	a.patched = func(key string) (int, bool) {
		a.mu.Lock()
		defer a.mu.Unlock()
		switch {
		case key == changed && first: // somebody else writes it, with the old key: a pass more is needed
			first = false
			e.put(key, "k8s:enc:secretbox:v1:old:other")
			return http.StatusConflict, false
		case key == gone:
			e.mu.Lock()
			delete(e.values, key)
			e.mu.Unlock()
			return http.StatusNotFound, false
		}
		return http.StatusOK, true
	}
	s := newServer(t, e, a)
	last := rewrite(t, s, toNew, encryption.RewriteTarget{Resource: "widgets.example.com", Provider: cluster.EncryptionSecretbox, Key: "new"})
	if !last.Finished {
		t.Fatalf("%+v", last)
	}
	for key, value := range e.values {
		if !strings.HasPrefix(value, newPrefix) {
			t.Errorf("%s is %q", key, value)
		}
	}
	if slices.Contains(a.patches, "/registry/secrets/ns/already") {
		t.Error("an object that is under the key was written again")
	}
	if len(e.values) != 121 || len(a.patches) != 120+1+1 {
		t.Errorf("%d objects, %d patches", len(e.values), len(a.patches))
	}
}

// TestRewriteAll writes objects though they are under the key.
func TestRewriteAll(t *testing.T) {
	e := newEtcd()
	e.put("/registry/secrets/ns/a", newPrefix)
	a := &api{etcd: e}
	all := toNew
	all.All = true
	if last := rewrite(t, newServer(t, e, a), all); !last.Finished || len(a.patches) != 1 {
		t.Errorf("%+v, %v", last, a.patches)
	}
}

func TestRewriteFails(t *testing.T) {
	for name, c := range map[string]struct {
		key, want string
		target    encryption.RewriteTarget
		patched   func(string) (int, bool)
	}{
		"refused":    {"/registry/secrets/ns/a", "write secrets again: ns/a: no", toNew, func(string) (int, bool) { return http.StatusForbidden, false }},
		"no effect":  {"/registry/secrets/ns/a", "1 objects, such as ns/a, are not stored under secretbox new", toNew, func(string) (int, bool) { return http.StatusOK, false }},
		"not served": {"/registry/gone.example/things/a", "does not serve", encryption.RewriteTarget{Resource: "things.gone.example", Provider: "secretbox", Key: "new"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEtcd()
			e.put(c.key, "k8s:enc:secretbox:v1:old:…")
			last := rewrite(t, newServer(t, e, &api{etcd: e, patched: c.patched}), c.target)
			if last.Finished || !strings.Contains(last.Error, c.want) {
				t.Errorf("%+v, want %q", last, c.want)
			}
		})
	}
}

func TestLoaded(t *testing.T) {
	hash, failures := "sha256:one", 0.0
	var err error
	calls := 0
	mux := http.NewServeMux()
	(&atrest.Server{Loaded: func() (string, float64, error) {
		if calls++; calls == 4 { // the API server has looked
			if hash == "sha256:one" {
				hash = "sha256:two"
			} else {
				failures++
			}
		}
		return hash, failures, err
	}}).Register(mux)
	s := httptest.NewServer(mux)
	defer s.Close()
	if status, body := get(t, s.URL+"/v1/encryption/loaded?hash=sha256:two"); status != http.StatusNoContent {
		t.Errorf("%d %s", status, body)
	}
	calls = 0
	if status, body := get(t, s.URL+"/v1/encryption/loaded?hash=sha256:three"); status != http.StatusConflict || !strings.Contains(body, "cannot load it") {
		t.Errorf("%d %s", status, body)
	}
	err = errors.New("no metrics")
	if status, body := get(t, s.URL+"/v1/encryption/loaded?hash=sha256:two"); status != http.StatusInternalServerError || !strings.Contains(body, "no metrics") {
		t.Errorf("%d %s", status, body)
	}
}

func ExamplePrefix() {
	for _, r := range []string{"secrets", "services", "deployments.apps", "ingresses.networking.k8s.io", "widgets.example.com"} {
		fmt.Println(r, atrest.Prefix(r))
	}
	// Output:
	// secrets /registry/secrets/
	// services /registry/services/specs/
	// deployments.apps /registry/deployments/
	// ingresses.networking.k8s.io /registry/ingress/
	// widgets.example.com /registry/example.com/widgets/
}
