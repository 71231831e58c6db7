package host

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/images"
)

// PulledImage is what a node has of an image after PullImages or RefreshImages.
type PulledImage struct {
	Node      string  `json:"node"`
	Image     string  `json:"image"`  // as container runtimes write it
	Source    string  `json:"source"` // images.FromNode if the node had it
	ID        string  `json:"id"`
	NewLayers int     `json:"newLayers"` // how many were unpacked, which other nodes share
	Seconds   float64 `json:"seconds"`
}

// Renewed reports whether the node has another image than before.
func (p PulledImage) Renewed() bool { return p.Source != images.FromNode }

// PullImages has all nodes of a running cluster get images, as a pod would with imagePullPolicy Always: from the machine's container
// engine, kl's registry, or registries of the network. Show is called for each node and image, not twice at a time; it may be nil.
func (h *Host) PullImages(ctx context.Context, name string, texts []string, show func(PulledImage)) ([]PulledImage, error) {
	nodes, err := h.connectedNodes(ctx, name)
	if err != nil {
		return nil, err
	}
	p := newPulls(h.Home.Cluster(name), false, show)
	defer p.client.Close()
	for _, text := range texts {
		if _, err := images.FullName(text); err != nil {
			return nil, &cluster.Error{Op: "pull " + text, Err: err}
		}
	}
	for _, text := range texts {
		if err := p.everywhere(ctx, text, nodes); err != nil {
			return nil, err
		}
	}
	return p.done, nil
}

// RefreshImages has nodes look whether the machine's container engine or kl's registry has a newer build of images that they have: of all
// that have a tag, or of those that are named as images.Find understands it. Registries of the network are not asked. What is nowhere else
// stays as it is.
func (h *Host) RefreshImages(ctx context.Context, name string, texts []string, show func(PulledImage)) ([]PulledImage, error) {
	nodes, err := h.connectedNodes(ctx, name)
	if err != nil {
		return nil, err
	}
	all, err := h.imagesOf(ctx, name, nodes)
	if err != nil {
		return nil, err
	}
	having, err := whoHas(nodes, all, texts)
	if err != nil {
		return nil, err
	}
	p := newPulls(h.Home.Cluster(name), true, show)
	defer p.client.Close()
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(refreshAtOnce)
	for image, nodes := range having {
		g.Go(func() error { return p.everywhere(gctx, image, nodes) })
	}
	err = g.Wait()
	slices.SortFunc(p.done, func(a, b PulledImage) int {
		return strings.Compare(a.Image+" "+a.Node, b.Image+" "+b.Node)
	})
	return p.done, err
}

const refreshAtOnce = 4 // images

// whoHas returns the tags that nodes have, or of these the ones that are asked for, with the nodes.
func whoHas(nodes []string, all [][]cluster.Image, texts []string) (map[string][]string, error) {
	having := map[string][]string{}
	add := func(node string, names []string) {
		for _, name := range names {
			if !strings.Contains(name, "@") && name != cluster.PauseImage && !slices.Contains(having[name], node) {
				having[name] = append(having[name], node)
			}
		}
	}
	for i, list := range all {
		for _, image := range list {
			if len(texts) == 0 {
				add(nodes[i], image.Names)
			}
		}
		for _, text := range texts {
			matches, err := images.Find(list, text)
			if err != nil {
				return nil, &cluster.Error{Op: "refresh " + text, Err: err}
			}
			for _, m := range matches {
				add(nodes[i], m.Named)
			}
		}
	}
	for _, text := range texts {
		flat := slices.Concat(all...)
		if found, err := images.Find(flat, text); err == nil && len(found) == 0 {
			return nil, unknownImage("refresh "+text, flat, text)
		}
	}
	return having, nil
}

// pulls are those of one command.
type pulls struct {
	client  *cluster.Client
	refresh bool

	mu   sync.Mutex
	show func(PulledImage)
	done []PulledImage
}

func newPulls(l cluster.Layout, refresh bool, show func(PulledImage)) *pulls {
	if show == nil {
		show = func(PulledImage) {}
	}
	return &pulls{client: cluster.NewClient(l), refresh: refresh, show: show, done: []PulledImage{}}
}

// everywhere has nodes get an image. The first one does so alone: the others find its layers on the machine.
func (p *pulls) everywhere(ctx context.Context, image string, nodes []string) error {
	if err := p.one(ctx, image, nodes[0]); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, node := range nodes[1:] {
		g.Go(func() error { return p.one(ctx, image, node) })
	}
	return g.Wait()
}

func (p *pulls) one(ctx context.Context, image, node string) error {
	began := time.Now()
	op := "pull " + images.Short(image)
	body, err := json.Marshal(map[string]any{"name": image, "refresh": p.refresh})
	if err != nil {
		return err
	}
	resp, err := p.client.Node(ctx, node, http.MethodPost, "/v1/pull", bytes.NewReader(body))
	var status *cluster.StatusError
	if errors.As(err, &status) {
		switch {
		case status.Code == http.StatusNotFound && strings.HasPrefix(status.Reason, "404 page not found"):
			return &cluster.Error{Op: op, Node: node, Err: errors.New("the node is of an older kl, which cannot do that"), Hint: "'kl up' upgrades it"}
		case status.Code == http.StatusNotFound && p.refresh:
			return nil // nothing but the node has it
		case status.Reason != "":
			return &cluster.Error{Op: op, Node: node, Err: errors.New(strings.SplitN(status.Reason, "\n", 2)[0])}
		}
	}
	if err != nil {
		return &cluster.Error{Op: op, Node: node, Err: err}
	}
	pulled := PulledImage{Node: node}
	if err := errors.Join(json.NewDecoder(resp.Body).Decode(&pulled), resp.Body.Close()); err != nil {
		return &cluster.Error{Op: op, Node: node, Err: fmt.Errorf("read the node's answer: %w", err)}
	}
	pulled.Node, pulled.Seconds = node, time.Since(began).Seconds()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done = append(p.done, pulled)
	p.show(pulled)
	return nil
}
