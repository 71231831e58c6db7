package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/klkube/kl/cluster"

	"golang.org/x/sync/errgroup"
)

// Loaded is what became of an archive on one node.
type Loaded struct {
	Node    string   `json:"node"`
	Images  []string `json:"images"` // names, digests of nameless ones
	Skipped bool     `json:"skipped"`
	Seconds float64  `json:"seconds"`
}

// LoadImages loads the images of an archive into every node of a running cluster at once. A node that already has all of them
// is skipped.
func (h *Host) LoadImages(ctx context.Context, name string, a Archive) ([]Loaded, error) {
	images, err := a.Images()
	if err != nil {
		return nil, BadArchive(a.name(), err)
	}
	nodes, err := h.connectedNodes(ctx, name)
	if err != nil {
		return nil, err
	}
	c := cluster.NewClient(h.Home.Cluster(name))
	defer c.Close()
	loaded := make([]Loaded, len(nodes))
	g, ctx := errgroup.WithContext(ctx)
	for i, node := range nodes {
		g.Go(func() error {
			var err error
			if loaded[i], err = loadNode(ctx, c, node, a.Path, images); err != nil {
				return &cluster.Error{Op: "load " + a.name(), Node: node, Err: err}
			}
			return nil
		})
	}
	return loaded, g.Wait()
}

// BadArchive is the error for an archive that cannot be read; it names the archive once.
func BadArchive(name string, err error) error {
	var there *fs.PathError
	if errors.As(err, &there) {
		err = there.Err
	}
	return &cluster.Error{Op: "read " + name, Err: err, Hint: "save images with 'docker save', 'ctr image export' or a builder's OCI output"}
}

// connectedNodes returns the real nodes of a cluster, all of which must be reachable.
func (h *Host) connectedNodes(ctx context.Context, name string) ([]string, error) {
	info, err := h.Inspect(ctx, name)
	if err != nil {
		return nil, err
	}
	again := "'kl up --name " + name + "' brings it back"
	if info.Status == nil {
		return nil, info.unreachable(again)
	}
	var names []string
	for _, n := range info.Nodes {
		i := slices.IndexFunc(info.Status.Nodes, func(s cluster.NodeStatus) bool { return s.Name == n.Name && s.Connected })
		if i < 0 {
			return nil, &cluster.Error{Op: "reach node", Node: n.Name, Err: fmt.Errorf("it is not connected (%s)", n.State), Hint: again}
		}
		names = append(names, n.Name)
	}
	if len(names) == 0 {
		return nil, &cluster.Error{Op: "load images", Err: errors.New("cluster " + name + " has no nodes")}
	}
	return names, nil
}

// unreachable is the error for a cluster whose control plane does not answer; the hint is for one that can be started.
func (i *Info) unreachable(hint string) error {
	text := "its control plane is " + strings.ToLower(string(i.Phase))
	switch {
	case i.Reason != "":
		text += ": " + strings.SplitN(i.Reason, "\n", 2)[0]
	case len(i.Problems) > 0:
		text += ": " + i.Problems[0]
	}
	if i.Phase == cluster.PhaseDamaged || i.Phase == cluster.PhaseUnknown {
		hint = ""
	}
	return &cluster.Error{Op: "reach cluster " + i.Name, Err: errors.New(text), Hint: hint}
}

func loadNode(ctx context.Context, c *cluster.Client, node, file string, images []ArchiveImage) (Loaded, error) {
	begin := time.Now()
	l := Loaded{Node: node}
	for _, i := range images {
		l.Images = append(l.Images, i.Names...)
		if len(i.Names) == 0 {
			l.Images = append(l.Images, i.Digests...)
		}
	}
	have, err := NodeImages(ctx, c, node)
	if err != nil {
		return l, err
	}
	if !slices.ContainsFunc(images, func(i ArchiveImage) bool { return !i.onNode(have) }) {
		l.Skipped = true
		return l, nil
	}
	r, err := openArchive(file)
	if err != nil {
		return l, err
	}
	defer r.Close()
	resp, err := c.Node(ctx, node, http.MethodPost, "/v1/images", r)
	if err != nil {
		return l, err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return l, err
	}
	l.Seconds = time.Since(begin).Seconds()
	return l, nil
}

// NodeImages lists the images of a node.
func NodeImages(ctx context.Context, c *cluster.Client, node string) ([]cluster.Image, error) {
	resp, err := c.Node(ctx, node, http.MethodGet, "/v1/images", nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var images []cluster.Image
	if err := json.NewDecoder(resp.Body).Decode(&images); err != nil {
		return nil, fmt.Errorf("read images of node %s: %w", node, err)
	}
	return images, nil
}
