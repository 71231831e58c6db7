package cloud

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

// Board answers on the control plane's socket what load balancers there are, and connects to them. It outlives the
// Controllers that it is given to, of which one runs at a time.
type Board struct {
	mu  sync.Mutex
	now *balancing // nil before the first
}

func (b *Board) show(now *balancing) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = now
}

func (b *Board) balancing() *balancing {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}

// dialTimeout is how long a connection to a load balancer may take.
const dialTimeout = 10 * time.Second

// Register adds what is answered:
//
//	GET  /v1/balancers                      []cluster.LoadBalancer
//	POST /v1/balancers/NAMESPACE/NAME/PORT  a TCP connection to its address, made on a node; 101 and then its bytes
func (b *Board) Register(mux *http.ServeMux) {
	mux.HandleFunc("GET /v1/balancers", b.list)
	mux.HandleFunc("POST /v1/balancers/{namespace}/{name}/{port}", b.dial)
}

func (b *Board) list(w http.ResponseWriter, _ *http.Request) {
	now := b.balancing()
	if now == nil {
		http.Error(w, "load balancers are disabled, or not up yet", http.StatusServiceUnavailable)
		return
	}
	list := []cluster.LoadBalancer{}
	for a, key := range now.balancers.addresses() {
		node, _ := now.holders.on(a)
		list = append(list, cluster.LoadBalancer{Namespace: key.Namespace, Name: key.Name, Address: a.String(), Node: node})
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(list) // the asker is gone
}

func (b *Board) dial(w http.ResponseWriter, r *http.Request) {
	now := b.balancing()
	if now == nil {
		http.Error(w, "load balancers are disabled, or not up yet", http.StatusServiceUnavailable)
		return
	}
	key := types.NamespacedName{Namespace: r.PathValue("namespace"), Name: r.PathValue("name")}
	port, err := strconv.ParseUint(r.PathValue("port"), 10, 16)
	if err != nil {
		http.Error(w, fmt.Sprintf("%q is not a port", r.PathValue("port")), http.StatusBadRequest)
		return
	}
	addr, ok := now.balancers.address(key)
	if !ok {
		http.Error(w, "Service "+key.String()+" has no load balancer address", http.StatusNotFound)
		return
	}
	server, err := now.dial(r.Context(), netip.AddrPortFrom(addr, uint16(port)))
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
	if n := buffered.Reader.Buffered(); n > 0 { // what came with the request
		early, _ := buffered.Peek(n)
		if _, err := server.Write(early); err != nil {
			return
		}
	}
	tunnel.Pipe(r.Context(), client, server)
}

// dial connects from the node that holds the address, where kube-proxy balances it like anywhere else.
func (b *balancing) dial(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
	node, ok := b.holders.on(addr.Addr())
	if !ok {
		return nil, errors.New("no node holds " + addr.Addr().String() + " at present: the Service has no ready endpoint, or no node is up")
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	return b.hub.DialNode(ctx, node, "tcp", addr.String())
}
