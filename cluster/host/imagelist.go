package host

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/klkube/kl/cluster"
)

// ListedImage is an image under one of its names, and the nodes that have it so.
type ListedImage struct {
	Name   string             `json:"name"` // as container runtimes write it; empty for an image that has an ID alone
	ID     string             `json:"id"`
	Digest string             `json:"digest"`
	Size   int64              `json:"size"` // bytes
	Source string             `json:"source,omitempty"`
	Nodes  []string           `json:"nodes"`
	Uses   []cluster.ImageUse `json:"uses,omitempty"`
}

// ImageList is what ListImages has found.
type ImageList struct {
	Images []ListedImage
	Nodes  []string // that were asked
	Absent []string // nodes that are not connected
}

// ListImages lists the images of all connected nodes, ordered by name. Nodes that have different images under one name make several
// entries. The name of an image by digest is listed where it has no tag of the same repository.
func (h *Host) ListImages(ctx context.Context, name string) (*ImageList, error) {
	info, err := h.Inspect(ctx, name)
	if err != nil {
		return nil, err
	}
	if info.Status == nil {
		return nil, info.unreachable("'kl up --name " + name + "' brings it back")
	}
	list := &ImageList{Images: []ListedImage{}}
	for _, n := range info.Nodes {
		if slices.ContainsFunc(info.Status.Nodes, func(s cluster.NodeStatus) bool { return s.Name == n.Name && s.Connected }) {
			list.Nodes = append(list.Nodes, n.Name)
		} else {
			list.Absent = append(list.Absent, n.Name)
		}
	}
	all, err := h.imagesOf(ctx, name, list.Nodes)
	if err != nil {
		return nil, err
	}
	for i, node := range list.Nodes {
		for _, image := range all[i] {
			list.add(node, image)
		}
	}
	slices.SortStableFunc(list.Images, func(a, b ListedImage) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Nodes[0], b.Nodes[0]))
	})
	return list, nil
}

// add adds an image of a node.
func (l *ImageList) add(node string, image cluster.Image) {
	for _, name := range listedNames(image) {
		i := slices.IndexFunc(l.Images, func(have ListedImage) bool { return have.Name == name && have.ID == image.ID() })
		if i < 0 {
			i = len(l.Images)
			l.Images = append(l.Images, ListedImage{Name: name, ID: image.ID(), Digest: image.Digest, Size: image.Size, Source: image.Source})
		}
		have := &l.Images[i]
		have.Nodes = append(have.Nodes, node)
		for _, use := range image.Uses {
			if !slices.Contains(have.Uses, use) {
				have.Uses = append(have.Uses, use)
			}
		}
	}
}

// listedNames returns the names of an image without those by digest that go with a tag. One without a name has an empty one.
func listedNames(image cluster.Image) []string {
	var names []string
	for _, name := range image.Names {
		repository, _, byDigest := strings.Cut(name, "@")
		tagged := slices.ContainsFunc(image.Names, func(n string) bool { return strings.HasPrefix(n, repository+":") && !strings.Contains(n, "@") })
		if !byDigest || !tagged {
			names = append(names, name)
		}
	}
	if names == nil {
		return []string{""}
	}
	return names
}

// imagesOf lists the images of nodes, in their order.
func (h *Host) imagesOf(ctx context.Context, name string, nodes []string) ([][]cluster.Image, error) {
	client := cluster.NewClient(h.Home.Cluster(name))
	defer client.Close()
	all := make([][]cluster.Image, len(nodes))
	g, ctx := errgroup.WithContext(ctx)
	for i, node := range nodes {
		g.Go(func() (err error) {
			if all[i], err = NodeImages(ctx, client, node); err != nil {
				return &cluster.Error{Op: "list images", Node: node, Err: err}
			}
			return nil
		})
	}
	return all, g.Wait()
}
