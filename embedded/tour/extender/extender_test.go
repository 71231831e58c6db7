package extender_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	scheduler "k8s.io/kube-scheduler/extender/v1"

	"github.com/klkube/kl/embedded/tour/extender"
	"github.com/klkube/kl/embedded/tour/tourtest"
)

// api is the part of an API server that an extender asks: nodes, and bindings of pods. It refuses to bind the pod "bound".
type api struct {
	mu    sync.Mutex
	bound []corev1.Binding
}

// startAPI returns an API server and a kubeconfig for it.
func startAPI(t *testing.T) (a *api, kubeconfig string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a = &api{}
	s := &http.Server{Handler: a}
	served := make(chan struct{})
	go func() { defer close(served); _ = s.Serve(l) }()
	t.Cleanup(func() { s.Close(); <-served })
	kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"c","clusters":[{"name":"c","cluster":{"server":"http://%s"}}],
		"contexts":[{"name":"c","context":{"cluster":"c","user":""}}]}`, l.Addr())
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return a, kubeconfig
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if name, ok := strings.CutPrefix(r.URL.Path, "/api/v1/nodes/"); ok && r.Method == http.MethodGet {
		_ = json.NewEncoder(w).Encode(node(name, "disk", "ssd"))
		return
	}
	var b corev1.Binding
	data, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(data, &b)
	}
	if err != nil || r.Method != http.MethodPost || r.URL.Path != "/api/v1/namespaces/shop/pods/"+b.Name+"/binding" {
		http.Error(w, fmt.Sprintf("unexpected %s %s: %v", r.Method, r.URL.Path, err), http.StatusTeapot)
		return
	}
	status := metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusSuccess, Code: http.StatusCreated}
	if b.Name == "bound" {
		status.Status, status.Code, status.Message = metav1.StatusFailure, http.StatusConflict, "pod bound is already assigned"
	} else {
		a.mu.Lock()
		a.bound = append(a.bound, b)
		a.mu.Unlock()
	}
	w.WriteHeader(int(status.Code))
	_ = json.NewEncoder(w).Encode(status)
}

func node(name string, labels ...string) corev1.Node {
	n := corev1.Node{TypeMeta: metav1.TypeMeta{Kind: "Node", APIVersion: "v1"}, ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{}}}
	for i := 0; i < len(labels); i += 2 {
		n.Labels[labels[i]] = labels[i+1]
	}
	return n
}

func scored(n corev1.Node, score string) corev1.Node {
	n.Annotations = map[string]string{"tour.kl.dev/score": score}
	return n
}

func start(t *testing.T, args ...string) (r *tourtest.Run, a *api, url string) {
	t.Helper()
	a, kubeconfig := startAPI(t)
	r = tourtest.Start(t, extender.Extender(), append([]string{"--listen", "127.0.0.1:0", "--kubeconfig", kubeconfig}, args...)...)
	return r, a, "http://" + r.Wait(`http (\S+)\n`)[1]
}

// call posts args as the scheduler does, and decodes what comes back if the status is 200.
func call(t *testing.T, url string, args, result any) (status int, body string) {
	t.Helper()
	data, err := json.Marshal(args)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	status, body = tourtest.Do(t, r)
	if status == http.StatusOK {
		if err := json.Unmarshal([]byte(body), result); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
	}
	return status, body
}

func pod(name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
}

func TestFilter(t *testing.T) {
	r, _, url := start(t, "--label", "disk=ssd")
	nodes := &corev1.NodeList{Items: []corev1.Node{node("n1", "disk", "ssd"), node("n2", "disk", "hdd"), node("n3")}}
	var result scheduler.ExtenderFilterResult
	call(t, url+"/filter", scheduler.ExtenderArgs{Pod: pod("web"), Nodes: nodes}, &result)
	reason := "the extender wants the label disk=ssd"
	want := scheduler.ExtenderFilterResult{
		Nodes:                      &corev1.NodeList{Items: []corev1.Node{node("n1", "disk", "ssd")}},
		FailedAndUnresolvableNodes: scheduler.FailedNodesMap{"n2": reason, "n3": reason},
	}
	if diff := cmp.Diff(want, result); diff != "" {
		t.Error(diff)
	}
	r.Wait("(?m)^filter pod shop/web: 1 of 3 nodes fit: n1$")

	nodes.Items = nodes.Items[1:]
	result = scheduler.ExtenderFilterResult{}
	call(t, url+"/filter", scheduler.ExtenderArgs{Pod: pod("web"), Nodes: nodes}, &result)
	if result.Nodes == nil || len(result.Nodes.Items) != 0 || len(result.FailedAndUnresolvableNodes) != 2 {
		t.Errorf("no node fits: %+v", result)
	}
	r.Wait("(?m)^filter pod shop/web: 0 of 2 nodes fit: none$")
	if err := r.Stop(); err != nil {
		t.Error(err)
	}
}

// With nodeCacheCapable the scheduler sends names, and wants names.
func TestFilterNames(t *testing.T) {
	_, _, url := start(t, "--label", "disk=ssd")
	var result scheduler.ExtenderFilterResult
	call(t, url+"/filter", scheduler.ExtenderArgs{Pod: pod("web"), NodeNames: &[]string{"n1", "n2"}}, &result)
	if result.Nodes != nil || result.NodeNames == nil || !cmp.Equal(*result.NodeNames, []string{"n1", "n2"}) {
		t.Errorf("result %+v", result)
	}
}

func TestPrioritize(t *testing.T) {
	r, _, url := start(t)
	nodes := &corev1.NodeList{Items: []corev1.Node{scored(node("n1"), "7"), node("n2"), scored(node("n3"), "11"), scored(node("n4"), "much"), scored(node("n5"), "10")}}
	var got scheduler.HostPriorityList
	call(t, url+"/prioritize", scheduler.ExtenderArgs{Pod: pod("web"), Nodes: nodes}, &got)
	want := scheduler.HostPriorityList{{Host: "n1", Score: 7}, {Host: "n2"}, {Host: "n3"}, {Host: "n4"}, {Host: "n5", Score: 10}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	r.Wait(`(?m)^node n3: annotation tour.kl.dev/score is "11": want a number from 0 to 10$`)
	r.Wait("(?m)^prioritize pod shop/web: n1 7, n2 0, n3 0, n4 0, n5 10$")
}

func TestBind(t *testing.T) {
	r, a, url := start(t)
	var result scheduler.ExtenderBindingResult
	call(t, url+"/bind", scheduler.ExtenderBindingArgs{PodName: "web", PodNamespace: "shop", PodUID: "u-1", Node: "n1"}, &result)
	if result.Error != "" {
		t.Errorf("error %s", result.Error)
	}
	if len(a.bound) != 1 || a.bound[0].UID != "u-1" || a.bound[0].Target.Name != "n1" || a.bound[0].Target.Kind != "Node" {
		t.Errorf("bound %+v", a.bound)
	}
	r.Wait("(?m)^bind pod shop/web to n1: ok$")
	call(t, url+"/bind", scheduler.ExtenderBindingArgs{PodName: "bound", PodNamespace: "shop", Node: "n1"}, &result)
	if result.Error != "pod bound is already assigned" {
		t.Errorf("error %q", result.Error)
	}
	r.Wait("(?m)^bind pod shop/bound to n1: pod bound is already assigned$")
}

func TestBadCalls(t *testing.T) {
	_, _, url := start(t)
	for path, want := range map[string]string{
		"/filter":     "/filter: the body has no Pod, or neither Nodes nor NodeNames\n",
		"/prioritize": "/prioritize: the body has no Pod, or neither Nodes nor NodeNames\n",
		"/bind":       "/bind: the body lacks PodName, PodNamespace or Node\n",
	} {
		if status, body := call(t, url+path, struct{}{}, nil); status != http.StatusBadRequest || body != want {
			t.Errorf("%s: status %d, body %q", path, status, body)
		}
	}
}

func TestRefusedFlags(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	for args, want := range map[string]string{
		"--label disk":       `extender: --label is "disk": want KEY=VALUE, as in disk=ssd`,
		"--label =ssd":       `extender: --label is "=ssd": want KEY=VALUE, as in disk=ssd`,
		"--label a=b=c":      `extender: --label is "a=b=c": want KEY=VALUE, as in disk=ssd`,
		"":                   "extender: find the API server: unable to load in-cluster configuration",
		"--kubeconfig /none": "extender: find the API server: stat /none: no such file or directory",
	} {
		if err := tourtest.Start(t, extender.Extender(), strings.Fields(args)...).End(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: error %v, want %s", args, err, want)
		}
	}
}
