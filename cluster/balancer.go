package cluster

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// LoadBalancer is a Service that has an address: GET /v1/balancers is a list of them.
type LoadBalancer struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Address   string `json:"address"`
	Node      string `json:"node,omitempty"` // that holds the address; empty if none does
}

// DialBalancer connects to a TCP port of a Service's load balancer address, from one of the cluster's nodes. The
// connection has CloseWrite.
func (c *Client) DialBalancer(ctx context.Context, namespace, service string, port int) (net.Conn, error) {
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // which ends the exchange below
	path := "/v1/balancers/" + strings.Join([]string{namespace, service, strconv.Itoa(port)}, "/")
	stream, err := upgrade(ctx, conn, path)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return stream, nil
}

// upgrade turns a connection to the status socket into the stream of what path leads to.
func upgrade(ctx context.Context, conn net.Conn, path string) (net.Conn, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://kl"+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "tcp")
	if err := req.Write(conn); err != nil {
		return nil, err
	}
	buffered := bufio.NewReader(conn)
	resp, err := http.ReadResponse(buffered, req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		defer resp.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		return nil, fmt.Errorf("%s", strings.TrimSpace(string(text)))
	}
	return &upgraded{conn, buffered}, nil
}

// upgraded is a connection whose first bytes may have come with the response.
type upgraded struct {
	net.Conn
	buffered *bufio.Reader
}

func (u *upgraded) Read(p []byte) (int, error) { return u.buffered.Read(p) }

func (u *upgraded) CloseWrite() error { return u.Conn.(*net.UnixConn).CloseWrite() }
