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

// Paths of the node's API, which package driver serves and Agent calls:
//
//	PUT    /v1/storage/volumes/{kind}/{id}   creates or grows the Volume in the body; answers with the resulting Volume
//	DELETE /v1/storage/volumes/{kind}/{id}   deletes a volume with its data; succeeds if there is none
//	DELETE /v1/storage/disks/{name}/files    deletes all files on a disk of the discovery directory
//	PUT    /v1/storage/snapshots/{kind}/{id} copies the volume that the Snapshot in the body names; answers with the resulting Snapshot
//	DELETE /v1/storage/snapshots/{kind}/{id} deletes a snapshot; succeeds if there is none
//	GET    /v1/storage/snapshots/{kind}      answers with all Snapshots that are ready
//	GET    /v1/storage                       answers with the State
const (
	StatePath     = "/v1/storage"
	VolumePath    = "/v1/storage/volumes/{kind}/{id}"
	SnapshotPath  = "/v1/storage/snapshots/{kind}/{id}"
	SnapshotsPath = "/v1/storage/snapshots/{kind}"
	FilesPath     = "/v1/storage/disks/{name}/files"
)

// maxAnswer is more bytes than any answer has.
const maxAnswer = 4 << 20

// Agent is a client of one node.
type Agent struct {
	Node      string
	Transport http.RoundTripper // through the tunnel
}

// Put creates a volume, or grows it if it is smaller; it never shrinks a volume. It returns ErrCopying while a new volume's data is
// being copied, ErrGone if its source is gone, and ErrNoSpace.
func (a Agent) Put(ctx context.Context, v Volume) (Volume, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return Volume{}, err
	}
	var got Volume
	return got, a.do(ctx, http.MethodPut, fill(VolumePath, v.Kind, v.ID), body, &got)
}

// Delete deletes a volume and its data. It returns nil if there is none, and ErrInUse if a pod of the node uses it.
func (a Agent) Delete(ctx context.Context, kind Kind, id string) error {
	return a.do(ctx, http.MethodDelete, fill(VolumePath, kind, id), nil, nil)
}

// PutSnapshot copies a volume, unless that has been done. The snapshot that it returns is not Ready while the copy goes on: call again.
// The error is ErrGone if there is no such volume, ErrExists if the ID is that of another volume's snapshot, and ErrNoSpace.
func (a Agent) PutSnapshot(ctx context.Context, kind Kind, id, volume string) (Snapshot, error) {
	body, err := json.Marshal(Snapshot{Kind: kind, ID: id, Volume: volume})
	if err != nil {
		return Snapshot{}, err
	}
	var got Snapshot
	return got, a.do(ctx, http.MethodPut, fill(SnapshotPath, kind, id), body, &got)
}

// DeleteSnapshot deletes a snapshot, or stops the copy that would make it. It returns nil if there is none, and ErrInUse while a volume
// is being made of it.
func (a Agent) DeleteSnapshot(ctx context.Context, kind Kind, id string) error {
	return a.do(ctx, http.MethodDelete, fill(SnapshotPath, kind, id), nil, nil)
}

// Snapshots returns the snapshots that are ready, sorted by ID.
func (a Agent) Snapshots(ctx context.Context, kind Kind) ([]Snapshot, error) {
	var got []Snapshot
	return got, a.do(ctx, http.MethodGet, fill(SnapshotsPath, kind, ""), nil, &got)
}

// Clean deletes all files on a disk. It returns ErrGone if the disk is not mounted, and ErrInUse if a pod uses it.
func (a Agent) Clean(ctx context.Context, disk string) error {
	return a.do(ctx, http.MethodDelete, strings.Replace(FilesPath, "{name}", url.PathEscape(disk), 1), nil, nil)
}

// State returns the node's pools and disks.
func (a Agent) State(ctx context.Context) (State, error) {
	var s State
	return s, a.do(ctx, http.MethodGet, StatePath, nil, &s)
}

// fill puts values into one of the paths.
func fill(path string, kind Kind, id string) string {
	return strings.NewReplacer("{kind}", url.PathEscape(string(kind)), "{id}", url.PathEscape(id)).Replace(path)
}

// statuses maps HTTP statuses to errors, for both sides.
func statuses() map[int]error {
	return map[int]error{
		http.StatusConflict: ErrInUse, http.StatusNotFound: ErrGone, http.StatusUnprocessableEntity: ErrInvalid,
		http.StatusPreconditionFailed: ErrExists, http.StatusTooEarly: ErrCopying, http.StatusInsufficientStorage: ErrNoSpace,
	}
}

func (a Agent) do(ctx context.Context, method, path string, body []byte, answer any) error {
	r, err := http.NewRequestWithContext(ctx, method, "http://"+a.Node+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	client := http.Client{Transport: a.Transport, Timeout: time.Minute}
	resp, err := client.Do(r)
	if err != nil {
		return fmt.Errorf("call node %s: %w", a.Node, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("call node %s: %w", a.Node, err)
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

// AgentError is an error that the node answered with.
type AgentError struct {
	Node string
	Text string
	Err  error // one of this package's, or nil
}

func (e *AgentError) Error() string { return "node " + e.Node + ": " + e.Text }

func (e *AgentError) Unwrap() error { return e.Err }

// Status returns the HTTP status for an error, from which Agent gets the error back.
func Status(err error) int {
	for code, is := range statuses() {
		if errors.Is(err, is) {
			return code
		}
	}
	return http.StatusInternalServerError
}
