package dns

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	// ReadyURL is where CoreDNS's plugin ready listens.
	ReadyURL = "http://127.0.0.1:8181/ready"

	readyHold    = 10 * time.Second        // how long a probe is held that has nothing new to hear; the kubelet's timeout is longer
	readyGap     = 1200 * time.Millisecond // after which a probe is another kubelet's, which does not know yet: one asks every second
	readyTimeout = time.Second             // of one look at the plugin
	minReadyLook = 5 * time.Millisecond
	maxReadyLook = 100 * time.Millisecond
)

// Inherited returns the socket that this process was started with (sd_listen_fds(3)), nil if there is none.
func Inherited() (net.Listener, error) {
	if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) || os.Getenv("LISTEN_FDS") != "1" {
		return nil, nil
	}
	f := os.NewFile(3, "socket for probes")
	defer f.Close() // the listener has its own
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("take over the socket for probes: %w", err)
	}
	return l, nil
}

// ServeReadiness answers readiness probes until ctx is done. A kubelet asks once a second at most, so a server that starts in a third of
// that would be taken for not ready during a second: here a probe is held, and answered in the moment in which CoreDNS is ready. Later
// ones are held for ten seconds: so often is enough, and costs less. url is that of CoreDNS's plugin ready.
func ServeReadiness(ctx context.Context, l net.Listener, url string) {
	ready := newReadiness(url)
	server := &http.Server{Handler: ready, ReadHeaderTimeout: readyTimeout, BaseContext: func(net.Listener) context.Context { return ctx }}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	_ = server.Serve(l) // it ends when it is closed; without it the pod is not ready, and says why
}

// readiness answers one kubelet.
type readiness struct {
	url    string
	hold   time.Duration
	client *http.Client
	told   atomic.Int64 // when the last answer was that CoreDNS is ready, in nanoseconds since 1970; 0 if it was another
}

func newReadiness(url string) *readiness {
	return &readiness{url: url, hold: readyHold, client: &http.Client{Timeout: readyTimeout}}
}

func (s *readiness) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	var status int
	var text string
	if time.Since(time.Unix(0, s.told.Load())) < readyGap {
		sleep(ctx, s.hold)
		status, text = s.look(ctx)
	} else {
		end := time.Now().Add(s.hold)
		status, text = s.look(ctx)
		for pause := minReadyLook; status != http.StatusOK && time.Now().Before(end) && sleep(ctx, pause); pause = min(2*pause, maxReadyLook) {
			status, text = s.look(ctx)
		}
	}
	var told int64
	if status == http.StatusOK && ctx.Err() == nil { // else nobody has heard it
		told = time.Now().UnixNano()
	}
	s.told.Store(told)
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text)
}

// look asks the plugin.
func (s *readiness) look(ctx context.Context) (status int, text string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, http.NoBody)
	if err != nil {
		return http.StatusInternalServerError, err.Error()
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return http.StatusServiceUnavailable, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if err != nil {
		return http.StatusServiceUnavailable, err.Error()
	}
	return resp.StatusCode, string(body)
}

// sleep reports whether ctx lasted as long.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
