package balance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/tunnel"
)

// Handler serves the load balancers on the status socket, and connections to them. It outlives Balancers, of which one runs
// at a time. The zero value serves none.
type Handler struct {
	mu       sync.Mutex
	balancer *Balancer // nil before the first Serve
}

// Serve makes the handler answer for a Balancer.
func (h *Handler) Serve(b *Balancer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.balancer = b
}

func (h *Handler) current() *Balancer {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.balancer
}

// dialTimeout is how long connecting to a load balancer may take.
const dialTimeout = 10 * time.Second

// Register adds the routes:
//
//	GET  /v1/balancers                      []cluster.LoadBalancer
//	POST /v1/balancers/NAMESPACE/NAME/PORT  101, and then a TCP connection to the address, dialed from a node
func (h *Handler) Register(mux *http.ServeMux) {
	mux.HandleFunc("GET /v1/balancers", h.list)
	mux.HandleFunc("POST /v1/balancers/{namespace}/{name}/{port}", h.dial)
}

func (h *Handler) list(w http.ResponseWriter, _ *http.Request) {
	b := h.current()
	if b == nil {
		http.Error(w, "load balancers are disabled, or not up yet", http.StatusServiceUnavailable)
		return
	}
	list := []cluster.LoadBalancer{}
	for a, key := range b.Addresses.all() {
		node, _ := b.announcer.holder(a)
		list = append(list, cluster.LoadBalancer{Namespace: key.Namespace, Name: key.Name, Address: a.String(), Node: node})
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(list) // fails if the client has gone
}

func (h *Handler) dial(w http.ResponseWriter, r *http.Request) {
	b := h.current()
	if b == nil {
		http.Error(w, "load balancers are disabled, or not up yet", http.StatusServiceUnavailable)
		return
	}
	key := types.NamespacedName{Namespace: r.PathValue("namespace"), Name: r.PathValue("name")}
	port, err := strconv.ParseUint(r.PathValue("port"), 10, 16)
	if err != nil {
		http.Error(w, fmt.Sprintf("%q is not a port", r.PathValue("port")), http.StatusBadRequest)
		return
	}
	addr, ok := b.Addresses.Of(key)
	if !ok {
		http.Error(w, "Service "+key.String()+" has no load balancer address", http.StatusNotFound)
		return
	}
	server, err := b.dial(r.Context(), netip.AddrPortFrom(addr, uint16(port)))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer server.Close()
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer client.Close()
	if _, err := io.WriteString(client, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"); err != nil {
		return
	}
	if n := buffered.Reader.Buffered(); n > 0 { // sent together with the request
		early, _ := buffered.Peek(n)
		if _, err := server.Write(early); err != nil {
			return
		}
	}
	tunnel.Pipe(r.Context(), client, server)
}

// dial connects from the node that holds the address; its kube-proxy balances the connection.
func (b *Balancer) dial(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
	node, ok := b.announcer.holder(addr.Addr())
	if !ok {
		return nil, errors.New("no node holds " + addr.Addr().String() + " at present: the Service has no ready endpoint, or no node is up")
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	return b.Hub.DialNode(ctx, node, "tcp", addr.String())
}
