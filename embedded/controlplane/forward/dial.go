package forward

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync"
)

// NodeDialer dials ports of nodes from within the node, at the node's own address: Services of type NodePort do not answer on
// its loopback address.
type NodeDialer struct {
	// Address looks up a node's address, which is cached until a dial fails.
	Address func(ctx context.Context, node string) (string, error)
	// DialNode connects to an address as seen from a node.
	DialNode func(ctx context.Context, node, network, address string) (net.Conn, error)

	mu    sync.Mutex
	known map[string]string
}

// Dial connects to a port of a node. It is meant for Forwarder.Dial.
func (d *NodeDialer) Dial(ctx context.Context, node string, port int) (net.Conn, error) {
	address, err := d.address(ctx, node)
	if err != nil {
		return nil, fmt.Errorf("find address of node %s: %w", node, err)
	}
	conn, err := d.DialNode(ctx, node, "tcp", net.JoinHostPort(address, strconv.Itoa(port)))
	if err != nil {
		d.mu.Lock()
		delete(d.known, node)
		d.mu.Unlock()
	}
	return conn, err
}

func (d *NodeDialer) address(ctx context.Context, node string) (string, error) {
	d.mu.Lock()
	address, ok := d.known[node]
	d.mu.Unlock()
	if ok {
		return address, nil
	}
	address, err := d.Address(ctx, node)
	if err != nil {
		return "", err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.known == nil {
		d.known = map[string]string{}
	}
	d.known[node] = address
	return address, nil
}
