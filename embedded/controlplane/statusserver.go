package controlplane

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/tunnel"
)

// statusServer answers on the status socket:
//
//	GET  /v1/status          the cluster.Status as JSON
//	GET  /v1/status?watch=1  one JSON document a line, a new one whenever something changed
//	POST /v1/stop            asks for a clean stop; answers 202 at once
//	any  /v1/nodes/{node}/…  the rest of the path at the node's agent
type statusServer struct {
	board *board
	hub   *tunnel.Hub
	stop  func()
	mux   *http.ServeMux // components add to it
}

// listen serves on a unix socket until the returned function is called. Watchers get the last status before their
// connection is closed.
func (s *statusServer) listen(ctx context.Context, socket string, logger *slog.Logger) (func(), error) {
	l, err := listenUnix(ctx, socket)
	if err != nil {
		return nil, fmt.Errorf("serve status: %w", err)
	}
	serving, cancel := context.WithCancel(context.WithoutCancel(ctx)) // the last status is "stopped"
	server := &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return serving },
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			logger.Error("status socket is gone", "error", err)
		}
	}()
	return func() {
		cancel()
		grace, end := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer end()
		_ = server.Shutdown(grace)
		_ = server.Close()
		<-done
	}, nil
}

func (s *statusServer) handler() http.Handler {
	s.mux.HandleFunc("GET /v1/status", s.status)
	s.mux.HandleFunc("POST /v1/stop", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		s.stop()
	})
	s.mux.HandleFunc("/v1/nodes/{node}/{path...}", s.node)
	return s.mux
}

func (s *statusServer) status(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	watch := r.URL.Query().Get("watch") == "1"
	for {
		status, changed := s.board.read()
		status.Memory = anonymousMemory()
		if err := enc.Encode(status); err != nil || !watch {
			return
		}
		_ = http.NewResponseController(w).Flush()
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
		if p := status.Phase; p == cluster.PhaseStopped || p == cluster.PhaseFailed {
			return
		}
	}
}

// node hands a request to a node's agent.
func (s *statusServer) node(w http.ResponseWriter, r *http.Request) {
	node, path := r.PathValue("node"), r.PathValue("path")
	proxy := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host = "http", node
			p.Out.URL.Path, p.Out.URL.RawPath = "/"+path, ""
			p.Out.Host = node
		},
		Transport:     s.hub.AgentTransport(node),
		FlushInterval: -1, // logs and counters are streams
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, fmt.Sprintf("ask node %s: %v", node, err), http.StatusBadGateway)
		},
	}
	proxy.ServeHTTP(w, r)
}

// listenUnix listens on a unix socket that only this user may open, in place of one left behind by a killed process.
// The lock on the PID file makes sure that nobody else serves it.
func listenUnix(ctx context.Context, path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}
