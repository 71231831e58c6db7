package host

import (
	"context"
	"errors"
	"fmt"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/images"
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
			return fmt.Sprintf("%d images", len(loaded[0].Images)), nil
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
