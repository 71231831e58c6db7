package tunnel

import (
	"context"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"
)

// Serve, Run and ServeConnect promise that none of their goroutines is left when they return.
func TestNoGoroutinesLeft(t *testing.T) {
	t.Run("hub and agent", func(t *testing.T) { // its cleanups stop the hub and the agent while streams are open
		p := newPair(t, http.NotFoundHandler())
		for range 10 {
			conn, err := p.hub.DialNode(timeout(t), "n1", "tcp", serveTCP(t, echo))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			api, err := p.agent.DialAPI(timeout(t))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { api.Close() })
		}
		req, err := http.NewRequestWithContext(timeout(t), http.MethodGet, "http://n1/", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := p.hub.AgentTransport("n1").RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	})
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	for {
		left := goroutinesOf("libp2p/go-yamux", "tunnel.(*", "tunnel.Pipe", "tunnel.accept", "tunnel.open")
		if left == "" {
			return
		}
		select { // the echo servers of the test itself take a moment
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("goroutines left:\n%s", left)
		}
	}
}

// goroutinesOf returns the stacks that mention one of the names.
func goroutinesOf(names ...string) string {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	var left []string
	for _, stack := range strings.Split(string(buf), "\n\n") {
		for _, name := range names {
			if strings.Contains(stack, name) && !strings.Contains(stack, "goroutinesOf") {
				left = append(left, stack)
				break
			}
		}
	}
	return strings.Join(left, "\n\n")
}
