package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/klkube/kl/cluster/statefile"
)

const (
	turnInterval    = 200 * time.Millisecond // between looks whether the process that serves is still there
	collectInterval = time.Hour
	portTries       = 100             // ports from the wanted one on
	portGrace       = 2 * time.Second // until the kernel gives back the port of a process that was killed
	portInterval    = 50 * time.Millisecond
	headerTimeout   = 30 * time.Second
	closeTimeout    = 2 * time.Second
)

// ports are those that the registry listens on and has listened on.
type ports struct {
	Wanted int   `json:"wanted"` // by the kl.yaml of the cluster that served last
	Port   int   `json:"port"`
	Former []int `json:"former,omitempty"`
}

// ports returns what was noted last; nothing if there is no note that can be read.
func (s *Store) ports() ports {
	var p ports
	_ = statefile.ReadJSON(s.path("port"), &p) // a damaged one is written anew by who serves next
	return p
}

// has reports whether the registry listens on a port, or has.
func (p ports) has(port int) bool {
	return port != 0 && (port == p.Port || slices.Contains(p.Former, port))
}

// Port is the port on 127.0.0.1 that the registry listens on, or did last; 0 if it never has.
func (s *Store) Port() int { return s.ports().Port }

// Serve waits for its turn, since one process of a home serves the registry, and then does so on 127.0.0.1 until ctx ends. When a process
// that serves ends, however it does, another one's turn comes within a moment. wanted is the port; if another program has it, the next
// one that is free is taken, and kept for as long as the same one is wanted.
func (s *Store) Serve(ctx context.Context, wanted int) error {
	turn, err := s.turn(ctx)
	if err != nil {
		return err
	}
	defer turn.Unlock()
	l, err := s.listen(ctx, wanted)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler: s.Handler(), ReadHeaderTimeout: headerTimeout, ErrorLog: slog.NewLogLogger(s.log().Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	hour := time.NewTicker(collectInterval)
	defer hour.Stop()
	for {
		select {
		case err := <-served:
			return fmt.Errorf("serve registry: %w", err)
		case <-ctx.Done():
			closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
			defer cancel()
			_ = server.Shutdown(closing) // requests that take longer are cut off; clients send them again
			_ = server.Close()
			if err := <-served; !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serve registry: %w", err)
			}
			return ctx.Err()
		case <-hour.C:
			if freed, err := s.Collect(ctx); err != nil {
				s.log().Warn("the registry is not cleaned", "err", err)
			} else if freed > 0 {
				s.log().Info("cleaned the registry", "bytes", freed)
			}
		}
	}
}

// turn waits until no other process serves.
func (s *Store) turn(ctx context.Context) (*statefile.Lock, error) {
	if err := statefile.MkdirAll(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("serve registry: %w", err)
	}
	tick := time.NewTicker(turnInterval)
	defer tick.Stop()
	for {
		l, err := statefile.TryLock(s.path("serving"))
		if !errors.Is(err, statefile.ErrLocked) && !errors.Is(err, fs.ErrNotExist) {
			return l, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
	}
}

// listen listens on the port of last time, if the same one is wanted as then, else on the wanted one or the next that is free.
func (s *Store) listen(ctx context.Context, wanted int) (net.Listener, error) {
	last := s.ports()
	order := make([]int, 0, portTries+1)
	if last.Port != 0 && last.Wanted == wanted {
		order = append(order, last.Port)
	}
	for port := wanted; port < wanted+portTries && port <= 65535; port++ {
		order = append(order, port)
	}
	for i, port := range order {
		grace := time.Duration(0)
		if i == 0 && port == last.Port {
			grace = portGrace
		}
		l, err := listenOn(ctx, port, grace)
		if err == nil {
			if err := s.notePort(last, wanted, port); err != nil {
				return nil, errors.Join(err, l.Close())
			}
			return l, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) && !errors.Is(err, syscall.EACCES) {
			return nil, fmt.Errorf("serve registry: %w", err)
		}
	}
	return nil, fmt.Errorf("serve registry: none of the ports from %d on is free: set registries.port in kl.yaml", wanted)
}

func listenOn(ctx context.Context, port int, grace time.Duration) (net.Listener, error) {
	var config net.ListenConfig
	for end := time.Now().Add(grace); ; {
		l, err := config.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil || !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(end) {
			return l, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(portInterval):
		}
	}
}

// notePort notes where the registry listens. Images keep the names that they were pushed under.
func (s *Store) notePort(last ports, wanted, port int) error {
	now := ports{Wanted: wanted, Port: port, Former: last.Former}
	if last.Port != 0 && last.Port != port && !slices.Contains(now.Former, last.Port) {
		now.Former = append(slices.Clone(now.Former), last.Port)
	}
	if last.Wanted == wanted && last.Port == port {
		return nil
	}
	data, err := json.Marshal(now)
	if err != nil {
		return err
	}
	return statefile.Write(s.path("port"), data, 0o600)
}
