package tunnel

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
)

// ask sends a request of the node to the hub's handler.
func (p *pair) ask(t *testing.T, body io.Reader) (int, string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(timeout(t), http.MethodPost, "http://host/v1/find", body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := p.agent.HostTransport().RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

// waitSession waits until the agent, too, knows that it is connected.
func (p *pair) waitSession(t *testing.T) {
	t.Helper()
	c, err := p.agent.DialAPI(timeout(t))
	if err != nil {
		t.Fatal(err)
	}
	checkEcho(t, c, "hello")
}

func TestHostTransport(t *testing.T) {
	p := newPair(t, nil)
	p.waitSession(t)
	if status, text, err := p.ask(t, http.NoBody); err != nil || status != http.StatusServiceUnavailable {
		t.Errorf("without a handler: %d %q, %v, want status 503", status, text, err)
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, NodeOf(r.Context()), " ", n, err)
	})
	p.hub.Handle(handler)
	const want = "n1 8388608 <nil>"
	for range 3 {
		if status, text, err := p.ask(t, io.LimitReader(zeros{}, 8<<20)); err != nil || status != http.StatusOK || text != want {
			t.Errorf("answer is %d %q, %v, want %q", status, text, err, want)
		}
	}
	p.stop()
	for {
		_, text, err := p.ask(t, http.NoBody) // does not wait for a session
		if errors.Is(err, ErrNotConnected) {
			break
		}
		if err == nil {
			t.Fatalf("without a hub the answer is %q", text)
		}
	}
	p.startHub(t)
	p.waitSession(t)
	if status, text, err := p.ask(t, io.LimitReader(zeros{}, 8<<20)); err != nil || status != http.StatusOK || text != want {
		t.Errorf("after a restart of the hub: %d %q, %v, want %q", status, text, err, want)
	}
}
