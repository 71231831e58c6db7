package node

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klkube/kl/cluster"
)

// The agent tells the last status of each component, in the order in which they were first heard of.
func TestParts(t *testing.T) {
	started := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	p := newParts(started)
	mux := http.NewServeMux()
	p.serve(mux, slog.New(slog.DiscardHandler))
	p.note(cluster.ComponentStatus{Name: cluster.Kubelet, State: cluster.ComponentWaiting, Needs: []cluster.ComponentName{"containerd"}})
	p.note(cluster.ComponentStatus{Name: "containerd", State: cluster.ComponentStarting, Began: 0.5})
	p.note(cluster.ComponentStatus{Name: "containerd", State: cluster.ComponentServing, Began: 0.5, Ready: 1})
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/components", nil))
	var got cluster.NodeProgram
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := cluster.NodeProgram{Started: started, Components: []cluster.ComponentStatus{
		{Name: cluster.Kubelet, State: cluster.ComponentWaiting, Needs: []cluster.ComponentName{"containerd"}},
		{Name: "containerd", State: cluster.ComponentServing, Began: 0.5, Ready: 1},
	}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("components (-want +got):\n%s", d)
	}
}
