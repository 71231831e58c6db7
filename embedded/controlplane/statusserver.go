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
//	any  /v1/nodes/{node}/…  the rest of the path, answered by the node's agent
//
// Extra components add routes of their own to mux.
type statusServer struct {
	status planeStatus
	hub    *tunnel.Hub
	mux    *http.ServeMux
}

// listen serves on a unix socket until the returned function is called. Watchers receive the last status before their
// connections are closed.
func (s *statusServer) listen(ctx context.Context, socket string, logger *slog.Logger) (func(), error) {
	l, err := listenUnix(ctx, socket)
	if err != nil {
		return nil, fmt.Errorf("serve status: %w", err)
	}
	serving, cancel := context.WithCancel(context.WithoutCancel(ctx)) // outlives ctx: the last status is Stopped
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
			logger.Error("serve status socket", "error", err)
		}
	}()
	return func() {
		cancel()
		grace, end := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer end()
		if err := server.Shutdown(grace); err != nil { // a watcher that does not read
			logger.Warn("close status socket", "error", errors.Join(err, server.Close()))
		}
		<-done
	}, nil
}

func (s *statusServer) handler() http.Handler {
	s.mux.HandleFunc("GET /v1/status", s.serveStatus)
	s.mux.HandleFunc("/v1/nodes/{node}/{path...}", s.serveNode)
	return s.mux
}

func (s *statusServer) serveStatus(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	watch := r.URL.Query().Get("watch") == "1"
	for {
		status, changed := s.status.Get()
		status.Memory = anonymousMemory()
		if err := enc.Encode(status); err != nil || !watch {
			return
		}
		if err := http.NewResponseController(w).Flush(); err != nil { // the watcher has gone
			return
		}
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

// serveNode hands a request to a node's agent.
func (s *statusServer) serveNode(w http.ResponseWriter, r *http.Request) {
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

// listenUnix listens on a unix socket that only this user may open, and replaces one that a killed process left behind.
// The lock on the PID file guarantees that no other process serves it.
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
