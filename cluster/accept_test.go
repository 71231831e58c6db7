package cluster_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klkube/kl/cluster"
)

// scriptedListener returns the errors and connections of its script one after another, and then blocks until it is closed.
type scriptedListener struct {
	script []any // error or net.Conn
	at     []time.Duration
	began  time.Time
	once   sync.Once
	closed chan struct{}
}

func (l *scriptedListener) Accept() (net.Conn, error) {
	l.at = append(l.at, time.Since(l.began))
	if len(l.script) == 0 {
		<-l.closed
		return nil, net.ErrClosed
	}
	next := l.script[0]
	l.script = l.script[1:]
	if err, ok := next.(error); ok {
		return nil, err
	}
	return next.(net.Conn), nil
}

func (l *scriptedListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *scriptedListener) Addr() net.Addr { return nil }

// A listener without a free file descriptor is asked again, ever more slowly, and serves once there is one.
func TestAcceptSurvivesErrors(t *testing.T) {
	for _, cause := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		t.Run(cause.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				short := &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", cause)}
				a, b := net.Pipe()
				c, d := net.Pipe()
				defer b.Close()
				defer d.Close()
				l := &scriptedListener{began: time.Now(), closed: make(chan struct{})}
				for range 12 {
					l.script = append(l.script, short)
				}
				l.script = append(l.script, a, short, c)
				ctx, cancel := context.WithCancel(t.Context())
				served, failures := make(chan net.Conn, 2), 0
				done := make(chan error)
				go func() {
					done <- cluster.Accept(ctx, l, func(err error) {
						failures++
						if !errors.Is(err, cause) {
							t.Errorf("failed got %v, want %v", err, cause)
						}
					}, func(ctx context.Context, conn net.Conn) { served <- conn; <-ctx.Done(); conn.Close() })
				}()
				if got := []net.Conn{<-served, <-served}; !slices.Contains(got, a) || !slices.Contains(got, c) {
					t.Error("a connection was lost")
				}
				cancel()
				if err := <-done; !errors.Is(err, context.Canceled) {
					t.Errorf("Accept returned %v, want the context's error", err)
				}
				if failures != 2 {
					t.Errorf("failed was called %d times, want once for each row of errors", failures)
				}
				var pauses []time.Duration
				for i := 1; i <= 14; i++ {
					pauses = append(pauses, l.at[i]-l.at[i-1])
				}
				want := []time.Duration{5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000, 1000, 0, 5}
				for i := range want {
					want[i] *= time.Millisecond
				}
				if !slices.Equal(pauses, want) {
					t.Errorf("pauses are %v, want %v", pauses, want)
				}
			})
		})
	}
}

func TestAcceptEndsWithItsListener(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a local call that does not wait
	if err != nil {
		t.Fatal(err)
	}
	accepted, ended := make(chan struct{}), false
	done := make(chan error)
	go func() {
		done <- cluster.Accept(t.Context(), l, nil, func(ctx context.Context, conn net.Conn) {
			close(accepted)
			<-ctx.Done()
			conn.Close()
			ended = true
		})
	}()
	client, err := net.Dial("tcp", l.Addr().String()) //nolint:noctx // a local call that does not wait
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	<-accepted
	l.Close()
	if err := <-done; !errors.Is(err, net.ErrClosed) || !ended {
		t.Errorf("Accept returned %v, and serve had returned: %t; want net.ErrClosed and true", err, ended)
	}
}

// TestOneAcceptLoop checks that Accept is the only loop of its kind: one that ends with the first error serves nobody afterwards.
func TestOneAcceptLoop(t *testing.T) {
	exempt := []string{"cluster/accept.go", "cluster/clustertest", "embedded/tunnel"} // the tunnel imports nothing of kl
	for _, p := range packages(t) {
		for _, name := range p.GoFiles {
			source, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if path := p.path() + "/" + name; strings.Contains(string(source), ".Accept()") && !within(path, exempt...) {
				t.Errorf("%s calls Accept of a listener: use cluster.Accept", path)
			}
		}
	}
}
