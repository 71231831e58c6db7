package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// Client is the client of a control plane's status socket. It is safe for concurrent use.
type Client struct {
	socket string
	http   *http.Client
}

// NewClient returns a client for the cluster; nothing is dialed yet. Close it.
func NewClient(l Layout) *Client {
	c := &Client{socket: l.StatusSocket()}
	c.http = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx) },
	}}
	return c
}

func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", c.socket)
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Status returns the current status.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	resp, err := c.Do(ctx, http.MethodGet, "/v1/status", nil)
	if err != nil {
		return s, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil {
		return s, fmt.Errorf("read status: %w", err)
	}
	return s, nil
}

// Watch calls see with the current status and then with each new one. It returns nil once see returns false, and an
// error when ctx ends or the control plane goes away.
func (c *Client) Watch(ctx context.Context, see func(Status) bool) error {
	resp, err := c.Do(ctx, http.MethodGet, "/v1/status?watch=1", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	for lines := json.NewDecoder(resp.Body); ; {
		var s Status
		if err := lines.Decode(&s); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return fmt.Errorf("watch status: %w", err)
		}
		if !see(s) {
			return nil
		}
	}
}

// Node sends a request to a node's agent through the control plane. The caller closes the response's body.
func (c *Client) Node(ctx context.Context, node, method, path string, body io.Reader) (*http.Response, error) {
	return c.Do(ctx, method, "/v1/nodes/"+url.PathEscape(node)+path, body)
}

// NodeProgram asks a node's agent for the parts of its program.
func (c *Client) NodeProgram(ctx context.Context, node string) (p NodeProgram, err error) {
	resp, err := c.Node(ctx, node, http.MethodGet, "/v1/components", nil)
	if err != nil {
		return p, err
	}
	defer resp.Body.Close()
	return p, json.NewDecoder(resp.Body).Decode(&p)
}

// Do sends a request. An answer other than 2xx is an error with its text. The caller closes the response's body.
func (c *Client) Do(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://kl"+path, body)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		defer resp.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		reason := strings.TrimSpace(string(text))
		return nil, &StatusError{Code: resp.StatusCode, Reason: reason, text: fmt.Sprintf("%s %s: %s: %s", method, path, resp.Status, reason)}
	}
	return resp, nil
}

// StatusError is an answer other than 2xx.
type StatusError struct {
	Code   int    // of HTTP
	Reason string // as the one who answered gave it
	text   string
}

func (e *StatusError) Error() string { return e.text }
