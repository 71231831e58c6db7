package observe_test

import (
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/observe"
	"github.com/klkube/kl/cluster/policy"
)

// statusSocket serves a mux as the status socket of a cluster until the test ends or stop is called.
func statusSocket(t *testing.T, mux *http.ServeMux) (l cluster.Layout, stop func()) {
	t.Helper()
	home, err := os.MkdirTemp("", "kl") // short: the path of a socket has a limit
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(home) })
	l = cluster.Home(home).Cluster("c")
	if err := os.MkdirAll(l.RunDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	socket, err := new(net.ListenConfig).Listen(t.Context(), "unix", l.StatusSocket())
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() { _ = srv.Serve(socket) }() // always returns an error
	stop = func() { _ = srv.Close() }
	t.Cleanup(stop)
	return l, stop
}

// stream writes what arrives on a channel as JSON lines until the client is gone or the channel is closed.
func stream[T any](w http.ResponseWriter, r *http.Request, values <-chan T) {
	_ = http.NewResponseController(w).Flush()
	for {
		select {
		case <-r.Context().Done():
			return
		case v, ok := <-values:
			if !ok {
				return
			}
			_ = json.NewEncoder(w).Encode(v)
			_ = http.NewResponseController(w).Flush()
		}
	}
}

func TestFollowDenials(t *testing.T) {
	states := make(chan cluster.Status, 1)
	streams := make(chan chan policy.Denial, 1) // what the next stream sends
	gone := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, r *http.Request) { stream(w, r, states) })
	mux.HandleFunc("GET /v1/nodes/n1"+policy.DenialsPath, func(w http.ResponseWriter, r *http.Request) {
		stream(w, r, <-streams)
		if r.Context().Err() != nil {
			close(gone)
		}
	})
	l, stop := statusSocket(t, mux)
	client := cluster.NewClient(l)
	defer client.Close()
	seen, ended := make(chan policy.Denial), make(chan error, 1)
	go func() {
		ended <- observe.FollowDenials(t.Context(), client, slog.New(slog.DiscardHandler), func(d policy.Denial) { seen <- d })
	}()
	expect := func(seq uint64) {
		t.Helper()
		select {
		case d := <-seen:
			if d.Seq != seq {
				t.Errorf("denial %d, want %d", d.Seq, seq)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("no denial %d", seq)
		}
	}

	states <- cluster.Status{Nodes: []cluster.NodeStatus{{Name: "n1"}}}
	states <- cluster.Status{Nodes: []cluster.NodeStatus{{Name: "n1", Connected: true}}}
	first := make(chan policy.Denial)
	streams <- first
	first <- policy.Denial{Seq: 1}
	expect(1)
	close(first) // the node's agent restarts
	second := make(chan policy.Denial)
	streams <- second
	second <- policy.Denial{Seq: 1}
	second <- policy.Denial{Seq: 2}
	expect(1)
	expect(2)
	states <- cluster.Status{Nodes: []cluster.NodeStatus{{Name: "n1"}}}
	select {
	case <-gone:
	case <-time.After(30 * time.Second):
		t.Fatal("a node that is not connected is still followed")
	}
	stop() // the control plane
	if err := <-ended; err == nil {
		t.Error("no error when the control plane stops")
	}
}

func TestReadDenialsReportsANodeThatDoesNotAnswer(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/nodes/n1"+policy.DenialsPath, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("{\"seq\": 1}\nnot JSON"))
	})
	l, _ := statusSocket(t, mux)
	client := cluster.NewClient(l)
	defer client.Close()
	for _, node := range []string{"n1", "n2"} {
		var seen int
		if err := observe.ReadDenials(t.Context(), client, node, func(policy.Denial) { seen++ }); err == nil {
			t.Errorf("node %s: no error", node)
		}
		if want := map[string]int{"n1": 1}[node]; seen != want {
			t.Errorf("node %s: %d denials, want %d", node, seen, want)
		}
	}
}
