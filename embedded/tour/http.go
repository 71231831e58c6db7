package tour

import (
	"context"
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
	s := &http.Server{
		Handler: h, ReadHeaderTimeout: headerTimeout,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    stdlog.New(lines{log}, "", 0),
	}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	defer s.Close()
	if err := s.Serve(l); ctx.Err() == nil {
		return fmt.Errorf("serve on %s: %w", l.Addr(), err)
	}
	return nil
}

// lines is a Log as an io.Writer: what is written is one line.
type lines struct{ log *Log }

var _ io.Writer = lines{}

func (l lines) Write(p []byte) (int, error) {
	l.log.Printf("%s", strings.TrimSpace(string(p)))
	return len(p), nil
}
