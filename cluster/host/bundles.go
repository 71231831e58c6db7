package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/images"

	"golang.org/x/sync/errgroup"
)

// checkBundles returns archives whose content is known to be whole.
func checkBundles(archives []images.Archive) ([]images.Archive, error) {
	var checked []images.Archive
	for _, a := range archives {
		a, err := a.Checked()
		if err != nil {
			return nil, images.BadArchive(a.Title(), err)
		}
		checked = append(checked, a)
	}
	return checked, nil
}

// loadBundles loads archives into all nodes of a cluster that has come up.
func (h *Host) loadBundles(ctx context.Context, r upRequest, archives []images.Archive) error {
	for _, a := range archives {
		err := r.steps.do("images of "+a.Title(), func() (string, error) {
			loaded, err := h.LoadImages(ctx, r.want.Name, a)
			if err != nil {
				return "", err
			}
			if n := len(loaded[0].Images); n != 1 {
				return fmt.Sprintf("%d images", n), nil
			}
			return "1 image", nil
		})
		var hinted *cluster.Error
		if errors.As(err, &hinted) && hinted.Hint == "" {
			hinted.Hint = fmt.Sprintf("cluster %s is up; 'kl image load --name %s %s' loads them", r.want.Name, r.want.Name, a.Title())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// spreadImages gives nodes that were added to a cluster the images that were loaded into the others. Layers are on the machine already.
func (u *upRun) spreadImages(ctx context.Context) error {
	var old []string
	for _, name := range u.spec.NodeNames() {
		if !slices.ContainsFunc(u.made, func(n cluster.Node) bool { return n.Name == name }) {
			old = append(old, name)
		}
	}
	if u.fresh || u.opts.NoWait || len(u.made) == 0 || len(old) == 0 {
		return nil
	}
	client := cluster.NewClient(u.layout)
	defer client.Close()
	body, err := loadedImages(ctx, client, old)
	if body == nil || err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, n := range u.made {
		g.Go(func() error {
			resp, err := client.Node(ctx, n.Name, http.MethodPost, "/v1/image-parts", bytes.NewReader(body))
			if err != nil {
				return fmt.Errorf("node %s does not have the images that were loaded, 'kl image load' loads them again: %w", n.Name, err)
			}
			return resp.Body.Close()
		})
	}
	return g.Wait()
}

// loadedImages returns what the first of some nodes that answers has loaded; nil if that is nothing, or none of them can tell, since an
// older kl made them.
func loadedImages(ctx context.Context, c *cluster.Client, nodes []string) ([]byte, error) {
	var last error
	for _, node := range nodes {
		resp, err := c.Node(ctx, node, http.MethodGet, "/v1/image-parts", nil)
		var status *cluster.StatusError
		if errors.As(err, &status) && status.Code == http.StatusMethodNotAllowed {
			continue
		}
		if err != nil {
			last = err
			continue
		}
		body, err := io.ReadAll(resp.Body)
		if err = errors.Join(err, resp.Body.Close()); err != nil {
			last = err
			continue
		}
		if bytes.Equal(bytes.TrimSpace(body), []byte("[]")) {
			return nil, nil
		}
		return body, nil
	}
	if last != nil {
		return nil, fmt.Errorf("find out which images were loaded: %w", last)
	}
	return nil, nil
}
