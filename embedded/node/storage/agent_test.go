package storage

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestErrorsTravel: an error of the node is the same one for the caller of Agent, with the node's text.
func TestErrorsTravel(t *testing.T) {
	var answer error
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, answer.Error(), Status(answer))
	}))
	defer server.Close()
	agent := Agent{Node: server.Listener.Addr().String(), Transport: server.Client().Transport}
	other := errors.New("no space left on device")
	known := []error{ErrInUse, ErrGone, ErrInvalid, ErrExists, ErrCopying, ErrNoSpace}
	for _, answer = range append(known, other) {
		err := agent.Delete(t.Context(), NodeLocal, "pvc-1")
		var refused *AgentError
		if !errors.As(err, &refused) || refused.Node != agent.Node || refused.Text != answer.Error() {
			t.Errorf("error is %v, want %v of the node", err, answer)
		}
		for _, known := range known {
			if got, want := errors.Is(err, known), errors.Is(answer, known); got != want {
				t.Errorf("%v is %v: %v, want %v", err, known, got, want)
			}
		}
	}
}

func TestPathsAreEscaped(t *testing.T) {
	var path string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { path = r.URL.EscapedPath() }))
	defer server.Close()
	agent := Agent{Node: server.Listener.Addr().String(), Transport: server.Client().Transport}
	if err := agent.Delete(t.Context(), Shared, "../a"); err != nil || path != "/v1/storage/volumes/shared/..%2Fa" {
		t.Errorf("delete: path %s, %v", path, err)
	}
	if err := agent.Clean(t.Context(), "a/b"); err != nil || path != "/v1/storage/disks/a%2Fb/files" {
		t.Errorf("clean: path %s, %v", path, err)
	}
}

func TestUnreachableNode(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	agent := Agent{Node: server.Listener.Addr().String(), Transport: server.Client().Transport}
	server.Close()
	_, err := agent.State(t.Context())
	if err == nil || errors.As(err, new(*AgentError)) || !strings.HasPrefix(err.Error(), "call node "+agent.Node) {
		t.Errorf("error is %v, want one that is not the node's", err)
	}
}

func TestCheckID(t *testing.T) {
	for id, ok := range map[string]bool{
		"pvc-1234": true, "A.b_c": true, strings.Repeat("a", 253): true,
		"": false, ".": false, "..": false, ".deleted-a": false, "-a": false, "a/b": false, "a b": false, strings.Repeat("a", 254): false,
	} {
		if err := CheckID(id); (err == nil) != ok || err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("CheckID(%.20q) = %v, want valid %v", id, err, ok)
		}
	}
}
