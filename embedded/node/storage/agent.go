package storage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Paths of the node's API, which Agent asks and package driver serves:
//
//	PUT    /v1/storage/volumes/{kind}/{id}  a Volume in the body, made or grown; the Volume as it is now
//	DELETE /v1/storage/volumes/{kind}/{id}  with all that is in it; nothing if it is gone
//	DELETE /v1/storage/disks/{name}/files   all that is on a disk of the discovery directory
//	GET    /v1/storage                      State
const (
	StatePath  = "/v1/storage"
	VolumePath = "/v1/storage/volumes/{kind}/{id}"
	FilesPath  = "/v1/storage/disks/{name}/files"
)

// maxAnswer is far more than any answer has.
const maxAnswer = 4 << 20

// Agent asks one node.
type Agent struct {
	Node      string
	Transport http.RoundTripper // of the tunnel
}

// Put makes a volume if it is missing and grows it if it is smaller; it never shrinks.
func (a Agent) Put(ctx context.Context, v Volume) (Volume, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return Volume{}, err
	}
	var got Volume
	return got, a.do(ctx, http.MethodPut, volumePath(v.Kind, v.ID), body, &got)
}

// Delete removes a volume and its data; nil if it is gone, ErrInUse if a pod of the node has it.
func (a Agent) Delete(ctx context.Context, kind Kind, id string) error {
	return a.do(ctx, http.MethodDelete, volumePath(kind, id), nil, nil)
}

// Clean removes all files of a disk; ErrGone if it is no longer mounted, ErrInUse if a pod has it.
func (a Agent) Clean(ctx context.Context, disk string) error {
	return a.do(ctx, http.MethodDelete, strings.Replace(FilesPath, "{name}", url.PathEscape(disk), 1), nil, nil)
}

// State tells what the node has.
func (a Agent) State(ctx context.Context) (State, error) {
	var s State
	return s, a.do(ctx, http.MethodGet, StatePath, nil, &s)
}

func volumePath(kind Kind, id string) string {
	return strings.NewReplacer("{kind}", url.PathEscape(string(kind)), "{id}", url.PathEscape(id)).Replace(VolumePath)
}

// statuses are how errors travel.
func statuses() map[int]error {
	return map[int]error{http.StatusConflict: ErrInUse, http.StatusNotFound: ErrGone, http.StatusUnprocessableEntity: ErrInvalid}
}

func (a Agent) do(ctx context.Context, method, path string, body []byte, answer any) error {
	r, err := http.NewRequestWithContext(ctx, method, "http://"+a.Node+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	client := http.Client{Transport: a.Transport, Timeout: time.Minute}
	resp, err := client.Do(r)
	if err != nil {
		return fmt.Errorf("ask node %s: %w", a.Node, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("ask node %s: %w", a.Node, err)
	}
	if resp.StatusCode >= 300 {
		return &AgentError{Node: a.Node, Text: strings.TrimSpace(string(text)), Err: statuses()[resp.StatusCode]}
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return fmt.Errorf("read answer of node %s: %w", a.Node, err)
	}
	return nil
}

// AgentError is a node's refusal: it was asked, and did not do it.
type AgentError struct {
	Node string
	Text string
	Err  error // ErrInUse, ErrGone, ErrInvalid or nil
}

func (e *AgentError) Error() string { return "node " + e.Node + ": " + e.Text }

func (e *AgentError) Unwrap() error { return e.Err }

// Status is the HTTP status that tells an error to Agent.
func Status(err error) int {
	for code, is := range statuses() {
		if errors.Is(err, is) {
			return code
		}
	}
	return http.StatusInternalServerError
}
