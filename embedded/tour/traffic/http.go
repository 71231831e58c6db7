package traffic

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/klkube/kl/embedded/tour"
	"github.com/klkube/kl/embedded/tour/resources"
)

// maxWork is the longest time that one request may keep a processor busy.
const maxWork = time.Minute

func (s *server) serveHTTP(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", s.healthz)
	mux.HandleFunc("/header", func(w http.ResponseWriter, r *http.Request) {
		s.answer("http", r.RemoteAddr, r.Method+" "+r.URL.Path)
		writeHeader(w, r)
	})
	mux.HandleFunc("/version", func(w http.ResponseWriter, r *http.Request) {
		s.answer("http", r.RemoteAddr, r.Method+" "+r.URL.Path)
		fmt.Fprintln(w, s.name)
	})
	mux.HandleFunc("/work", s.work)
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, s.answer("http", r.RemoteAddr, r.Method+" "+r.URL.Path))
	})
	return tour.ServeHTTP(ctx, l, mux, s.log)
}

// healthz is not logged: probes come every second.
func (s *server) healthz(w http.ResponseWriter, _ *http.Request) {
	switch left := time.Until(s.readyAt); {
	case s.stopping.Load():
		http.Error(w, s.name+" is stopping", http.StatusServiceUnavailable)
	case left > 0:
		http.Error(w, fmt.Sprintf("%s is ready in %s", s.name, left.Round(time.Millisecond)), http.StatusServiceUnavailable)
	default:
		fmt.Fprintln(w, "ok")
	}
}

// writeHeader writes the header of a request, sorted, as it was sent.
func writeHeader(w io.Writer, r *http.Request) {
	fmt.Fprintf(w, "Host: %s\n", r.Host)
	for _, key := range slices.Sorted(maps.Keys(r.Header)) {
		for _, value := range r.Header[key] {
			fmt.Fprintf(w, "%s: %s\n", key, value)
		}
	}
}

func (s *server) work(w http.ResponseWriter, r *http.Request) {
	text := r.FormValue("ms")
	ms, err := strconv.Atoi(text)
	if err != nil || ms < 0 || ms > int(maxWork.Milliseconds()) {
		http.Error(w, fmt.Sprintf("ms is %q: want milliseconds from 0 to %d, as in /work?ms=100", text, maxWork.Milliseconds()), http.StatusBadRequest)
		return
	}
	resources.Spin(r.Context(), time.Duration(ms)*time.Millisecond)
	_, _ = io.WriteString(w, s.answer("http", r.RemoteAddr, r.Method+" "+r.URL.RequestURI()))
}
