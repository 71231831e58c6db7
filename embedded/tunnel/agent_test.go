package tunnel

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-yamux/v5"
)

func TestAgentTransport(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/images", func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n, err)
	})
	mux.HandleFunc("GET /v1/wait", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	p := newPair(t, mux)
	client := &http.Client{Transport: p.hub.AgentTransport("n1")}
	post := func(t *testing.T) {
		body := io.LimitReader(zeros{}, 8<<20)
		req, err := http.NewRequestWithContext(timeout(t), http.MethodPost, "http://n1/v1/images", body)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if got, err := io.ReadAll(resp.Body); err != nil || string(got) != "8388608 <nil>" {
			t.Errorf("answer is %q, %v", got, err)
		}
	}
	t.Run("request with a body", post)
	t.Run("cancelled request", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://n1/v1/wait", nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Do(req); !errors.Is(err, context.DeadlineExceeded) { //nolint:bodyclose // there is none
			t.Errorf("error is %v", err)
		}
	})
	t.Run("after a restart of the hub", func(t *testing.T) {
		p.stop()
		p.startHub(t)
		waitConnected(t, p.hub, "n1")
		post(t)
	})
	t.Run("unknown node", func(t *testing.T) {
		req, err := http.NewRequestWithContext(timeout(t), http.MethodGet, "http://n9/", nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.hub.AgentTransport("n9").RoundTrip(req) //nolint:bodyclose // there is none
		if !errors.Is(err, ErrNotConnected) {
			t.Errorf("error is %v", err)
		}
	})
}

// A connection that is not admitted is refused with the reason; one that has ended makes room for the next.
func TestAgentAdmits(t *testing.T) {
	released := make(chan struct{})
	room := make(chan struct{}, 1)
	p := newPairOf(t, &Agent{Admit: func(target netip.AddrPort) (func(), error) {
		select {
		case room <- struct{}{}:
			return func() { <-room; released <- struct{}{} }, nil
		default:
			return nil, fmt.Errorf("no room at %s", target)
		}
	}})
	target := serveTCP(t, echo)
	for range 2 {
		first, err := p.hub.DialNode(timeout(t), "n1", "tcp", target)
		if err != nil {
			t.Fatal(err)
		}
		var refused *RefusedError
		if _, err := p.hub.DialNode(timeout(t), "n1", "tcp", target); !errors.As(err, &refused) || refused.Reason != "no room at "+target {
			t.Errorf("a second connection: %v", err)
		}
		checkEcho(t, first, "hello")
		<-released
	}
	if _, err := p.hub.DialNode(timeout(t), "n1", "tcp", "127.0.0.1:1"); err == nil {
		t.Error("connected to a port that nobody listens on")
	}
	<-released // what could not be connected holds no room either
}

func TestAgentWithoutHandlerRefuses(t *testing.T) {
	p := newPair(t, nil)
	req, err := http.NewRequestWithContext(timeout(t), http.MethodGet, "http://n1/", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.hub.AgentTransport("n1").RoundTrip(req) //nolint:bodyclose // there is none
	var refused *RefusedError
	if !errors.As(err, &refused) {
		t.Errorf("error is %v, want a refusal", err)
	}
}

func TestBadStreamHeaders(t *testing.T) {
	p := newPair(t, nil)
	p.hub.mu.Lock()
	session := p.hub.sessions["n1"]
	p.hub.mu.Unlock()
	tests := []struct{ name, header, want string }{
		{"unknown kind", `{"kind":"shell"}` + "\n", `stream kind "shell" is not supported`},
		{"the hub's kind", `{"kind":"api"}` + "\n", `stream kind "api" is not supported`},
		{"not JSON", "hello\n", "read header: decode line"},
		{"too long", strings.Repeat("x", maxLine+1), "read header: line is longer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			y, err := session.OpenStream(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer y.Close()
			if _, err := io.WriteString(y, tt.header); err != nil {
				t.Fatal(err)
			}
			var refused *RefusedError
			if err := readAnswer(y); !errors.As(err, &refused) || !strings.HasPrefix(refused.Reason, tt.want) {
				t.Errorf("answer is %v, want %q", err, tt.want)
			}
		})
	}
}

// An agent whose hub is down must retry neither too rarely nor in a busy loop.
func TestAgentBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dials []time.Duration
		began := time.Now()
		agent := &Agent{Node: "n1", TLS: &tls.Config{ServerName: "hub"}, Dial: func(context.Context) (net.Conn, error) {
			dials = append(dials, time.Since(began))
			return nil, errors.New("connection refused")
		}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := agent.Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Run returned %v", err)
		}
		if len(dials) < 120 || len(dials) > 260 {
			t.Errorf("%d dials in a minute, want one every %v to %v in the end", len(dials), maxBackoff/2, maxBackoff)
		}
		if second := dials[1]; second > minBackoff {
			t.Errorf("second dial after %v, want at most %v", second, minBackoff)
		}
		for i := 1; i < len(dials); i++ {
			if gap := dials[i] - dials[i-1]; gap > maxBackoff {
				t.Errorf("gap %d is %v", i, gap)
			}
		}
	})
}

func TestAgentGivesUpOnSilentHub(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		agent := &Agent{Node: "n1", TLS: &tls.Config{ServerName: "hub"}}
		ours, theirs := net.Pipe()
		defer theirs.Close()
		go func() { _, _ = io.Copy(io.Discard, theirs) }()
		agent.Dial = func(context.Context) (net.Conn, error) { return ours, nil }
		began := time.Now()
		err := agent.connect(t.Context(), newConnListener())
		var nerr net.Error
		if !errors.As(err, &nerr) || !nerr.Timeout() {
			t.Errorf("error is %v, want a timeout", err)
		}
		if took := time.Since(began); took != handshakeTimeout {
			t.Errorf("gave up after %v", took)
		}
	})
}

func TestDialAPIWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		agent := new(Agent)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		began := time.Now()
		if _, err := agent.DialAPI(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error is %v", err)
		}
		if took := time.Since(began); took != time.Hour {
			t.Errorf("waited %v", took)
		}
	})
}

// A frozen node (docker pause) acknowledges nothing: a dial must still end with its context.
func TestDialToFrozenPeer(t *testing.T) {
	ours, theirs := net.Pipe() // theirs is never read
	defer theirs.Close()
	session, err := yamux.Server(ours, yamuxConfig(loggerOr(nil)), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := open(ctx, session, header{Kind: kindAgent}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error is %v", err)
	}
}
