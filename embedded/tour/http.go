package tour

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"strings"
	"time"
)

// headerTimeout is how long a client may take for the header of a request.
const headerTimeout = 10 * time.Second

// Listen listens on a TCP address such as ":8080".
func Listen(ctx context.Context, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, ListenError(addr, err)
	}
	return l, nil
}

// ListenError says in one line why an address cannot be listened on.
func ListenError(addr string, err error) error {
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		err = op.Err
	}
	return fmt.Errorf("listen on %s: %w", addr, err)
}

// ServeHTTP answers requests that l accepts until ctx is done. It then closes l and all connections at once and returns nil.
func ServeHTTP(ctx context.Context, l net.Listener, h http.Handler, log *Log) error {
	return serve(ctx, l, h, log, (*http.Server).Serve)
}

// ServeHTTPS is ServeHTTP with a certificate.
func ServeHTTPS(ctx context.Context, l net.Listener, cert tls.Certificate, h http.Handler, log *Log) error {
	return serve(ctx, l, h, log, func(s *http.Server, l net.Listener) error {
		s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
		return s.ServeTLS(l, "", "")
	})
}

func serve(ctx context.Context, l net.Listener, h http.Handler, log *Log, run func(*http.Server, net.Listener) error) error {
	s := &http.Server{
		Handler: h, ReadHeaderTimeout: headerTimeout,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    stdlog.New(lines{log}, "", 0),
	}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	defer s.Close()
	if err := run(s, l); ctx.Err() == nil {
		return fmt.Errorf("serve on %s: %w", l.Addr(), err)
	}
	return nil
}

// ReadJSON decodes the body of a POST request, of at most limit bytes, into v. If that fails, it answers with one line that says why, and
// returns false.
func ReadJSON(w http.ResponseWriter, r *http.Request, limit int64, v any) bool {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, r.Method+" "+r.URL.Path+": want POST", http.StatusMethodNotAllowed)
		return false
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err == nil {
		err = json.Unmarshal(data, v)
	}
	if err == nil {
		return true
	}
	status := http.StatusBadRequest
	if errors.As(err, new(*http.MaxBytesError)) {
		status = http.StatusRequestEntityTooLarge
	}
	http.Error(w, fmt.Sprintf("read the body of %s: %v", r.URL.Path, err), status)
	return false
}

// WriteJSON answers with v.
func WriteJSON(w http.ResponseWriter, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(data, '\n'))
}

// lines is a Log as an io.Writer: what is written is one line.
type lines struct{ log *Log }

var _ io.Writer = lines{}

func (l lines) Write(p []byte) (int, error) {
	l.log.Printf("%s", strings.TrimSpace(string(p)))
	return len(p), nil
}
