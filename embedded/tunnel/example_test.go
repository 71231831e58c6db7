package tunnel_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"

	certutil "k8s.io/client-go/util/cert"

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

	server, trust := certificates()                                                               // of the cluster's authority
	hub := &tunnel.Hub{TLS: server, Token: func(string) (string, error) { return "secret", nil }} // in the control plane
	go hub.Serve(ctx, "n1", listener)

	agent := &tunnel.Agent{ // on the node
		Node: "n1", Token: "secret", TLS: trust, Socket: socket,
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

// certificates makes a certificate that is its own authority.
func certificates() (server, client *tls.Config) {
	cert, key, err := certutil.GenerateSelfSignedCertKey("hub", nil, nil)
	if err != nil {
		panic(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		panic(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cert)
	return &tls.Config{Certificates: []tls.Certificate{pair}}, &tls.Config{RootCAs: roots, ServerName: "hub"}
}
