package controlplane

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"os"
	"testing"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/tunnel"
)

// TestHubFollowsDirectories removes a node's directory and makes it again at once, as removing and adding a node does: the hub
// listens in the new one.
func TestHubFollowsDirectories(t *testing.T) {
	l := cluster.Home(t.TempDir()).Cluster("c")
	h := &hub{layout: l, logger: slog.New(slog.NewTextHandler(t.Output(), nil)), hub: &tunnel.Hub{
		TLS: &tls.Config{MinVersion: tls.VersionTLS13}, Token: func(string) (string, error) { return "", errors.New("no token") },
	}}
	if err := os.MkdirAll(l.TunnelDir("n1"), 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- h.Run(ctx, func() { close(served) }) }()
	<-served
	for i := range 50 {
		if err := os.RemoveAll(l.TunnelDir("n1")); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(l.TunnelDir("n1"), 0o700); err != nil {
			t.Fatal(err)
		}
		dialUntil(t, l.TunnelSocket("n1"), i)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Run: %v", err)
	}
}

// dialUntil waits until a socket is listened on.
func dialUntil(t *testing.T, socket string, round int) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		conn, err := new(net.Dialer).DialContext(t.Context(), "unix", socket)
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-deadline:
			t.Fatalf("round %d: nobody listens in the new directory: %v", round, err)
		case <-time.After(time.Millisecond):
		}
	}
}
