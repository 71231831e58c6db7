package host

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/images"

	"golang.org/x/sync/errgroup"
)

// Loaded is what became of an archive on one node.
type Loaded struct {
	Node    string   `json:"node"`
	Images  []string `json:"images"` // names, digests of nameless ones
	Skipped bool     `json:"skipped"`
	Layers  *int     `json:"newLayers,omitempty"` // how many were unpacked for all nodes; nil if the node was sent a whole archive
	Seconds float64  `json:"seconds"`
}

// LoadImages loads the images of an archive into every node of a running cluster at once. A node that already has all of them
// is skipped. Layers that a node of this machine has unpacked before are not read; others are unpacked by one node for all.
func (h *Host) LoadImages(ctx context.Context, name string, a images.Archive) ([]Loaded, error) {
	found, err := a.Images()
	if err != nil {
		return nil, images.BadArchive(a.Title(), err)
	}
	l, err := h.newLoad(ctx, name, a.Title(), a.Source(), found)
	if err != nil {
		return nil, err
	}
	defer l.client.Close()
	shared, err := l.canShare(ctx)
	if err == nil && shared {
		shared, err = l.shareArchive(ctx, a)
	}
	if shared || err != nil {
		return l.loaded, err
	}
	return l.loaded, l.each(ctx, func(ctx context.Context, n *Loaded) error { return l.send(ctx, n, a.Path) })
}

// LoadEngine is LoadImages for images of the machine's container engine, which nodes read out of its directory. It returns false if one of
// them cannot, since its engine is another or an older kl made it: they need an archive.
func (h *Host) LoadEngine(ctx context.Context, name, title string, list []images.EngineImage) ([]Loaded, bool, error) {
	l, err := h.newLoad(ctx, name, title, images.FromEngine, nil)
	if err != nil {
		return nil, false, err
	}
	defer l.client.Close()
	l.progress.update(func() {})
	err = l.all(ctx, func(ctx context.Context, n *Loaded) error { return l.fromEngine(ctx, n, list) })
	var status *cluster.StatusError
	if errors.As(err, &status) && (status.Code == http.StatusNotFound || status.Code == http.StatusNotImplemented) {
		return nil, false, nil
	}
	return l.loaded, err == nil, err
}

// fromEngine has a node take images out of the engine's directory.
func (l *load) fromEngine(ctx context.Context, n *Loaded, list []images.EngineImage) error {
	n.Layers, n.Skipped = new(int), true
	for _, image := range list {
		body, err := json.Marshal(image)
		if err != nil {
			return err
		}
		resp, err := l.client.Node(ctx, n.Node, http.MethodPost, "/v1/engine-image", bytes.NewReader(body))
		if err != nil {
			return err
		}
		var got struct {
			Image     string `json:"image"`
			Source    string `json:"source"`
			NewLayers int    `json:"newLayers"`
		}
		if err := errors.Join(json.NewDecoder(resp.Body).Decode(&got), resp.Body.Close()); err != nil {
			return fmt.Errorf("read the node's answer: %w", err)
		}
		n.Images = append(n.Images, got.Image)
		*n.Layers += got.NewLayers
		n.Skipped = n.Skipped && got.Source == images.FromNode
	}
	return nil
}

// load is one run of LoadImages or LoadEngine.
type load struct {
	client *cluster.Client
	title  string // what messages call the images' source
	from   string // cluster.Image's Source
	found  []images.ArchiveImage
	loaded []Loaded // of each node

	progress *loading
	began    time.Time
}

func (h *Host) newLoad(ctx context.Context, name, title, from string, found []images.ArchiveImage) (*load, error) {
	nodes, err := h.connectedNodes(ctx, name)
	if err != nil {
		return nil, err
	}
	l := &load{
		client: cluster.NewClient(h.Home.Cluster(name)), title: title, from: from, found: found, loaded: make([]Loaded, len(nodes)), began: time.Now(),
		progress: &loading{show: h.Loading, now: Loading{Title: title}},
	}
	if err := l.ask(ctx, nodes); err != nil {
		l.client.Close()
		return nil, err
	}
	return l, nil
}

// ask finds out which nodes have the images.
func (l *load) ask(ctx context.Context, nodes []string) error {
	var names []string
	for _, i := range l.found {
		names = append(names, i.Names...)
		if len(i.Names) == 0 {
			names = append(names, i.Digests...)
		}
	}
	for i, node := range nodes {
		l.loaded[i] = Loaded{Node: node, Images: names}
	}
	return l.each(ctx, func(ctx context.Context, n *Loaded) error {
		have, err := NodeImages(ctx, l.client, n.Node)
		n.Skipped = err == nil && !slices.ContainsFunc(l.found, func(i images.ArchiveImage) bool { return !i.OnNode(have) })
		return err
	})
}

// each calls a function for each node that is not skipped, side by side.
func (l *load) each(ctx context.Context, do func(context.Context, *Loaded) error) error {
	return l.all(ctx, func(ctx context.Context, n *Loaded) error {
		if n.Skipped {
			return nil
		}
		return do(ctx, n)
	})
}

// all calls a function for each node, side by side.
func (l *load) all(ctx context.Context, do func(context.Context, *Loaded) error) error {
	g, ctx := errgroup.WithContext(ctx)
	for i := range l.loaded {
		n := &l.loaded[i]
		g.Go(func() error {
			if err := do(ctx, n); err != nil {
				return l.failed(n.Node, err)
			}
			n.Seconds = time.Since(l.began).Seconds()
			return nil
		})
	}
	return g.Wait()
}

// failed is the error for a node that did not take the images.
func (l *load) failed(node string, err error) error {
	e := &cluster.Error{Op: "load " + l.title, Node: node, Err: plainly(err)}
	if strings.Contains(e.Err.Error(), "no space left on device") { // its number does not come through the tunnel
		e.Hint = "make room on the disk of KL_HOME; 'kl image prune --all' removes images that no pod uses"
	}
	return e
}

// plainly takes the request out of an error: what matters is what the node said, or what was wrong with what it was sent.
func plainly(err error) error {
	var status *cluster.StatusError
	var request *url.Error
	switch {
	case errors.As(err, &status) && status.Reason != "":
		return &said{status}
	case errors.As(err, &request):
		return request.Err
	}
	return err
}

// said is an answer without the request.
type said struct{ status *cluster.StatusError }

func (s *said) Error() string { return firstLine(s.status.Reason) }
func (s *said) Unwrap() error { return s.status }

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// send sends the whole archive to a node, which unpacks it.
func (l *load) send(ctx context.Context, n *Loaded, file string) error {
	r, err := images.OpenArchive(file)
	if err != nil {
		return err
	}
	defer r.Close()
	return l.request(ctx, n.Node, http.MethodPost, "/v1/images", l.progress.count(r))
}

func (l *load) request(ctx context.Context, node, method, path string, body io.Reader) error {
	resp, err := l.client.Node(ctx, node, method, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
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
