package tunnel_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"github.com/klkube/kl/embedded/tunnel"
)

// A node offers an HTTP handler to the control plane.
func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	dir, err := os.MkdirTemp("", "tunnel")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "tunnel.sock")
	listener, err := new(net.ListenConfig).Listen(ctx, "unix", socket)
	if err != nil {
		panic(err)
	}

	hub := &tunnel.Hub{Token: func(string) (string, error) { return "secret", nil }} // in the control plane
	go hub.Serve(ctx, listener)

	agent := &tunnel.Agent{ // on the node
		Node: "n1", Token: "secret", Socket: socket,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "asked for ", r.URL.Path) }),
	}
	go agent.Run(ctx) // reconnects by itself until ctx is done

	for nodes, changed := hub.Watch(); len(nodes) == 0; nodes, changed = hub.Watch() {
		<-changed
	}
	client := http.Client{Transport: hub.AgentTransport("n1")}
	resp, err := client.Get("http://n1/v1/info")
	if err != nil {
		panic(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	fmt.Println(string(body), err)
	// Output: asked for /v1/info <nil>
}
