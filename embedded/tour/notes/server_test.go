package notes_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/rest"

	"github.com/klkube/kl/embedded/tour/notes"
	"github.com/klkube/kl/embedded/tour/tourtest"
)

var resource = schema.GroupVersionResource{Group: "tour.kl.dev", Version: "v1alpha1", Resource: "notes"}

// start runs the server and returns how users reach it.
func start(t *testing.T) (r *tourtest.Run, as func(user string) *rest.Config) {
	t.Helper()
	r = tourtest.Start(t, notes.APIServer(), "--listen", "127.0.0.1:0", "--kubeconfig", startAPI(t))
	url := "https://" + r.Wait(`https (\S+)\n`)[1]
	return r, func(user string) *rest.Config {
		return &rest.Config{Host: url, BearerToken: user, TLSClientConfig: rest.TLSClientConfig{Insecure: true}}
	}
}

func client(t *testing.T, c *rest.Config, namespace string) dynamic.ResourceInterface {
	t.Helper()
	d, err := dynamic.NewForConfig(c)
	if err != nil {
		t.Fatal(err)
	}
	return d.Resource(resource).Namespace(namespace)
}

func note(name, text string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "tour.kl.dev/v1alpha1", "kind": "Note",
		"metadata": map[string]any{"name": name}, "spec": map[string]any{"text": text},
	}}
}

func textOf(n *unstructured.Unstructured) string {
	text, _, _ := unstructured.NestedString(n.Object, "spec", "text")
	return text
}

// fetch returns what a path answers.
func fetch(t *testing.T, c *rest.Config, path, accept string) (status int, body string) {
	t.Helper()
	h, err := rest.HTTPClientFor(c)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.Host+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", accept)
	response, err := h.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(data)
}

func TestLifeOfANote(t *testing.T) {
	r, as := start(t)
	shop := client(t, as("alice"), "shop")
	created, err := shop.Create(t.Context(), note("first", "hello"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if created.GetNamespace() != "shop" || created.GetUID() == "" || created.GetResourceVersion() == "" || created.GetCreationTimestamp() == (metav1.Time{}) {
		t.Errorf("created %v", created)
	}
	if _, err := shop.Create(t.Context(), note("first", "again"), metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
		t.Errorf("create it twice: %v", err)
	}
	changed := created.DeepCopy()
	changed.Object["spec"] = map[string]any{"text": "changed"}
	updated, err := shop.Update(t.Context(), changed, metav1.UpdateOptions{})
	if err != nil || textOf(updated) != "changed" || updated.GetResourceVersion() == created.GetResourceVersion() {
		t.Errorf("updated %v, error %v", updated, err)
	}
	if _, err := shop.Update(t.Context(), changed, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("update with an old resource version: %v", err)
	}
	same, err := shop.Update(t.Context(), updated, metav1.UpdateOptions{})
	if err != nil || same.GetResourceVersion() != updated.GetResourceVersion() {
		t.Errorf("an update that changes nothing: %v, error %v", same, err)
	}
	patched, err := shop.Patch(t.Context(), "first", types.MergePatchType, []byte(`{"spec":{"text":"patched"}}`), metav1.PatchOptions{})
	if err != nil || textOf(patched) != "patched" {
		t.Errorf("patched %v, error %v", patched, err)
	}
	applied, err := shop.Apply(t.Context(), "second", note("second", "applied"), metav1.ApplyOptions{FieldManager: "test"})
	if err != nil || textOf(applied) != "applied" {
		t.Errorf("applied %v, error %v", applied, err)
	}
	if _, err := client(t, as("alice"), "other").Create(t.Context(), note("third", "elsewhere"), metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
	for namespace, want := range map[string]int{"shop": 2, "other": 1, "": 3, "sho": 0} {
		if list, err := client(t, as("alice"), namespace).List(t.Context(), metav1.ListOptions{}); err != nil || len(list.Items) != want {
			t.Errorf("namespace %q: %d notes, error %v, want %d", namespace, len(list.Items), err, want)
		}
	}
	if err := shop.Delete(t.Context(), "first", metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := shop.Get(t.Context(), "first", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("get what was deleted: %v", err)
	}
	if err := shop.DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil { // as a namespace that goes
		t.Error(err)
	}
	if list, err := client(t, as("alice"), "").List(t.Context(), metav1.ListOptions{}); err != nil || len(list.Items) != 1 {
		t.Errorf("%d notes are left, error %v, want 1", len(list.Items), err)
	}
	for _, line := range []string{"create notes shop", "get notes shop/first", "list notes", "deletecollection notes shop"} {
		r.Wait("(?m)^alice: " + line + "$")
	}
	if err := r.Stop(); err != nil {
		t.Error(err)
	}
}

// A note with a finalizer goes once the finalizer does.
func TestFinalizer(t *testing.T) {
	_, as := start(t)
	shop := client(t, as("alice"), "shop")
	n := note("first", "hello")
	n.SetFinalizers([]string{"tour.kl.dev/wait"})
	if _, err := shop.Create(t.Context(), n, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := shop.Delete(t.Context(), "first", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if n, err := shop.Get(t.Context(), "first", metav1.GetOptions{}); err != nil || n.GetDeletionTimestamp() == nil {
		t.Errorf("note %v, error %v", n, err)
	}
	if _, err := shop.Patch(t.Context(), "first", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := shop.Get(t.Context(), "first", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("error %v", err)
	}
}

func TestValidation(t *testing.T) {
	_, as := start(t)
	shop := client(t, as("alice"), "shop")
	for text, want := range map[string]string{
		"":                        `Note.tour.kl.dev "n" is invalid: spec.text: Required value: a note says something`,
		strings.Repeat("x", 1001): `Note.tour.kl.dev "n" is invalid: spec.text: Too long: may not be more than 1000 bytes`,
	} {
		if _, err := shop.Create(t.Context(), note("n", text), metav1.CreateOptions{}); !apierrors.IsInvalid(err) || err.Error() != want {
			t.Errorf("%d bytes: error %v, want %s", len(text), err, want)
		}
	}
	if _, err := shop.Create(t.Context(), note("n", "dry"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
		t.Error(err)
	}
	if list, err := shop.List(t.Context(), metav1.ListOptions{}); err != nil || len(list.Items) != 0 {
		t.Errorf("%d notes, error %v, want none", len(list.Items), err)
	}
}

// Who asks and what they may is what the API server says.
func TestAuthorization(t *testing.T) {
	_, as := start(t)
	if _, err := client(t, as("alice"), "shop").Create(t.Context(), note("first", "hello"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	bob := client(t, as("bob"), "shop")
	if n, err := bob.Get(t.Context(), "first", metav1.GetOptions{}); err != nil || textOf(n) != "hello" {
		t.Errorf("bob gets %v, error %v", n, err)
	}
	if _, err := bob.List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) ||
		!strings.HasPrefix(err.Error(), `notes.tour.kl.dev is forbidden: User "bob" cannot list resource "notes" in API group "tour.kl.dev" in the namespace "shop"`) {
		t.Errorf("bob lists: %v", err)
	}
	if err := bob.Delete(t.Context(), "first", metav1.DeleteOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("bob deletes: %v", err)
	}
	if _, err := client(t, as(""), "shop").Get(t.Context(), "first", metav1.GetOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("nobody gets: %v", err)
	}
	if status, body := fetch(t, as(""), "/readyz", ""); status != http.StatusOK || body != "ok" {
		t.Errorf("a probe: status %d, body %q", status, body)
	}
}

func TestDiscovery(t *testing.T) {
	_, as := start(t)
	_, body := fetch(t, as("alice"), "/apis/tour.kl.dev/v1alpha1", "application/json")
	var list metav1.APIResourceList
	if err := json.Unmarshal([]byte(body), &list); err != nil || len(list.APIResources) != 1 {
		t.Fatalf("%s: %v", body, err)
	}
	if r := list.APIResources[0]; r.Name != "notes" || r.SingularName != "note" || r.Kind != "Note" || !r.Namespaced ||
		strings.Join(r.Verbs, " ") != "create delete deletecollection get list patch update watch" {
		t.Errorf("resource %+v", r)
	}
	for path, want := range map[string]string{
		"/openapi/v3/apis/tour.kl.dev/v1alpha1": `"dev.kl.tour.v1alpha1.Note":`,
		"/openapi/v2":                           `"dev.kl.tour.v1alpha1.NoteSpec":`,
		"/apis":                                 `"tour.kl.dev/v1alpha1"`,
	} {
		if status, body := fetch(t, as("alice"), path, "application/json"); status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: status %d, no %s in %.200s", path, status, want, body)
		}
	}
	if _, err := client(t, as("alice"), "shop").Create(t.Context(), note("first", "hello"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	_, body = fetch(t, as("alice"), "/apis/tour.kl.dev/v1alpha1/notes", "application/json;as=Table;v=v1;g=meta.k8s.io")
	var table metav1.Table
	if err := json.Unmarshal([]byte(body), &table); err != nil || len(table.ColumnDefinitions) != 3 || len(table.Rows) != 1 || table.Rows[0].Cells[1] != "hello" {
		t.Errorf("table %s, error %v", body, err)
	}
}

// events returns the next n events of a watch as "ADDED first".
func events(t *testing.T, w watch.Interface, n int) (all []string) {
	t.Helper()
	for len(all) < n {
		select {
		case e, ok := <-w.ResultChan():
			if !ok {
				t.Fatalf("the watch ended after %q", all)
			}
			o, ok := e.Object.(*unstructured.Unstructured)
			if !ok {
				t.Fatalf("event %+v after %q", e, all)
			}
			all = append(all, strings.TrimSpace(string(e.Type)+" "+o.GetName()))
		case <-time.After(20 * time.Second):
			t.Fatalf("no event after %q", all)
		}
	}
	return all
}

func TestWatch(t *testing.T) {
	_, as := start(t)
	shop := client(t, as("alice"), "shop")
	first, err := shop.Create(t.Context(), note("first", "hello"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	yes := true
	watches := map[string]metav1.ListOptions{
		"from the beginning":     {},
		"from a version":         {ResourceVersion: first.GetResourceVersion()},
		"of one note":            {FieldSelector: "metadata.name=second"},
		"of a label":             {LabelSelector: "color=red"},
		"with all that there is": {SendInitialEvents: &yes, AllowWatchBookmarks: true, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan},
	}
	open := map[string]watch.Interface{}
	for name, options := range watches {
		w, err := shop.Watch(t.Context(), options)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		defer w.Stop()
		open[name] = w
	}
	if got := events(t, open["with all that there is"], 2); strings.Join(got, ", ") != "ADDED first, BOOKMARK" {
		t.Errorf("with all that there is: %q", got)
	}
	if _, err := client(t, as("alice"), "other").Create(t.Context(), note("second", "elsewhere"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	second := note("second", "more")
	second.SetLabels(map[string]string{"color": "red"})
	if _, err := shop.Create(t.Context(), second, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := shop.Patch(t.Context(), "second", types.MergePatchType, []byte(`{"metadata":{"labels":{"color":"blue"}}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := shop.Delete(t.Context(), "second", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := shop.Delete(t.Context(), "first", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"from the beginning":     "ADDED first, ADDED second, MODIFIED second, DELETED second, DELETED first",
		"from a version":         "ADDED second, MODIFIED second, DELETED second, DELETED first",
		"of one note":            "ADDED second, MODIFIED second, DELETED second",
		"of a label":             "ADDED second, DELETED second",
		"with all that there is": "ADDED second, MODIFIED second, DELETED second, DELETED first",
	} {
		if got := events(t, open[name], strings.Count(want, ",")+1); strings.Join(got, ", ") != want {
			t.Errorf("%s: %q, want %s", name, got, want)
		}
	}
}

// The control plane's own informers, of the garbage collector and of quotas, list and watch like this.
func TestInformer(t *testing.T) {
	_, as := start(t)
	if _, err := client(t, as("alice"), "shop").Create(t.Context(), note("first", "hello"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	d, err := dynamic.NewForConfig(as("alice"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	factory := dynamicinformer.NewDynamicSharedInformerFactory(d, 0)
	informer := factory.ForResource(resource)
	informer.Informer() // registers it
	factory.Start(ctx.Done())
	defer factory.Shutdown()
	defer cancel()
	if !factory.WaitForCacheSync(ctx.Done())[resource] {
		t.Fatal("not in sync")
	}
	if list, err := informer.Lister().List(labels.Everything()); err != nil || len(list) != 1 {
		t.Errorf("%d notes, error %v", len(list), err)
	}
}

func TestRefusedFlags(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	none := filepath.Join(t.TempDir(), "none")
	for args, want := range map[string]string{
		"--cert " + none:                    "apiserver: --cert and --key go together",
		"--cert " + none + " --key " + none: "apiserver: read " + none + " and " + none + ": open " + none + ": no such file or directory",
		"":                                  "apiserver: find the API server: unable to load in-cluster configuration",
		"--kubeconfig " + none:              "apiserver: find the API server: stat " + none + ": no such file or directory",
	} {
		if err := tourtest.Start(t, notes.APIServer(), strings.Fields(args)...).End(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: error %v, want %s", args, err, want)
		}
	}
}
