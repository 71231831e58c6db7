package host

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/config"
	"github.com/klkube/kl/cluster/images"
)

// RemovedImage is what RemoveImages removed from one node.
type RemovedImage struct {
	Node  string   `json:"node"`
	Names []string `json:"names"`
}

// RemoveImages removes images, named as images.Find understands it, from all nodes of a running cluster. If one of them is unknown, or
// pods use it and force is not set, nothing is removed.
func (h *Host) RemoveImages(ctx context.Context, name string, texts []string, force bool) ([]RemovedImage, error) {
	nodes, err := h.connectedNodes(ctx, name)
	if err != nil {
		return nil, err
	}
	all, err := h.imagesOf(ctx, name, nodes)
	if err != nil {
		return nil, err
	}
	removals := make([]RemovedImage, len(nodes))
	for _, text := range texts {
		if err := plan(text, all, force, removals); err != nil {
			return nil, err
		}
	}
	client := cluster.NewClient(h.Home.Cluster(name))
	defer client.Close()
	g, ctx := errgroup.WithContext(ctx)
	for i, node := range nodes {
		removals[i].Node = node
		if len(removals[i].Names) == 0 {
			continue
		}
		g.Go(func() error {
			if err := removeFrom(ctx, client, node, removals[i].Names); err != nil {
				return &cluster.Error{Op: "remove images", Node: node, Err: err}
			}
			return nil
		})
	}
	err = g.Wait()
	return slices.DeleteFunc(removals, func(r RemovedImage) bool { return len(r.Names) == 0 }), err
}

// plan adds what one argument stands for to the names that each node is to remove.
func plan(text string, all [][]cluster.Image, force bool, removals []RemovedImage) error {
	op := "remove " + text
	var users []string
	found := false
	for i, list := range all {
		matches, err := images.Find(list, text)
		if err != nil {
			return &cluster.Error{Op: op, Err: err}
		}
		for _, m := range matches {
			found = true
			if slices.Contains(m.Named, cluster.PauseImage) {
				return &cluster.Error{Op: op, Err: errors.New("every pod needs it, and nodes bring it along")}
			}
			users = append(users, usersOf(m)...)
			removals[i].Names = append(removals[i].Names, m.Named...)
		}
	}
	slices.Sort(users)
	users = slices.Compact(users)
	switch {
	case !found:
		return unknownImage(op, slices.Concat(all...), text)
	case len(users) > 0 && !force:
		return &cluster.Error{
			Op: op, Err: fmt.Errorf("it is used by %s", enumerate("pod", users)),
			Hint: "--force removes it all the same: containers run on, and need it again when they are restarted",
		}
	}
	return nil
}

// usersOf returns the pods that use an image, unless it keeps names that they can start its containers by.
func usersOf(m images.Match) []string {
	var users []string
	for _, use := range m.Uses {
		named := slices.ContainsFunc(m.Named, func(name string) bool { return images.Same(name, use.Name) })
		if named || len(kept(m)) == 0 {
			users = append(users, use.Pod)
		}
	}
	return users
}

// kept returns the names that an image keeps if those that match go.
func kept(m images.Match) []string {
	var names []string
	for _, name := range m.Names {
		repository, _, byDigest := strings.Cut(name, "@")
		goesAlong := byDigest && slices.ContainsFunc(m.Named, func(n string) bool { return strings.HasPrefix(n, repository+":") })
		if !slices.Contains(m.Named, name) && !goesAlong {
			names = append(names, name)
		}
	}
	return names
}

// enumerate writes a noun before things: "pod a", "pods a, b, c", at most five of them.
func enumerate(noun string, things []string) string {
	const most = 5
	if len(things) > 1 {
		noun += "s"
	}
	if n := len(things) - most; n > 0 {
		things = append(slices.Clone(things[:most]), fmt.Sprintf("and %d more", n))
	}
	return noun + " " + strings.Join(things, ", ")
}

// unknownImage is the error for a text that stands for no image of a list.
func unknownImage(op string, list []cluster.Image, text string) error {
	e := &cluster.Error{Op: op, Err: errors.New("no node has such an image"), Hint: "'kl image ls' lists the images"}
	var near []string
	for _, name := range images.Like(list, text) {
		near = append(near, images.Short(name))
	}
	if near == nil {
		var names []string
		for _, image := range list {
			for _, name := range listedNames(image) {
				if !strings.Contains(name, "@") {
					names = append(names, images.Short(name))
				}
			}
		}
		if n := config.Nearest(text, names); n != "" {
			near = []string{n}
		}
	}
	if near != nil {
		e.Hint = "did you mean " + strings.Join(near[:min(3, len(near))], ", ") + "?"
	}
	return e
}

func removeFrom(ctx context.Context, c *cluster.Client, node string, names []string) error {
	resp, err := c.Node(ctx, node, http.MethodDelete, "/v1/images?"+url.Values{"name": names}.Encode(), nil)
	var status *cluster.StatusError
	if errors.As(err, &status) && status.Code == http.StatusMethodNotAllowed {
		return errors.New("the node is of an older kl, which cannot remove images; 'kl up' upgrades it")
	}
	if err != nil {
		return err
	}
	return resp.Body.Close()
}
