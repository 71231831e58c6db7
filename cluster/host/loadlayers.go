package host

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/images"

	"github.com/opencontainers/go-digest"
)

// canShare reports whether all nodes share layers: those that an older kl made share none.
func (l *load) canShare(ctx context.Context) (bool, error) {
	for _, n := range l.loaded {
		_, err := nodeLayers(ctx, l.client, n.Node)
		if errors.Is(err, errNoLayers) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
	return true, nil
}

// shareArchive is share for an archive. It returns false if its images cannot be taken apart.
func (l *load) shareArchive(ctx context.Context, a images.Archive) (bool, error) {
	source, err := a.Open()
	if err != nil {
		return false, images.BadArchive(a.Title(), err)
	}
	defer source.Close()
	list, err := source.Images(ctx)
	if errors.Is(err, images.ErrParts) {
		return false, nil
	}
	if err != nil {
		return false, images.BadArchive(a.Title(), err)
	}
	return true, l.share(ctx, source, list)
}

// share has one node unpack the layers that are not on the machine, and then all nodes make the images of their layers. Those that have the
// images do so, too: from then on these are younger than what the engine has under the same names.
func (l *load) share(ctx context.Context, source images.Source, list []images.Image) error {
	unpacked := 0
	if i := slices.IndexFunc(l.loaded, func(n Loaded) bool { return !n.Skipped }); i >= 0 {
		var err error
		if unpacked, err = l.unpack(ctx, source, list, l.loaded[i].Node); err != nil {
			return l.failed(l.loaded[i].Node, err)
		}
	}
	var parts []cluster.ImageParts
	for _, image := range list {
		image.Source = l.from
		parts = append(parts, image.ImageParts)
	}
	body, err := json.Marshal(parts)
	if err != nil {
		return err
	}
	return l.all(ctx, func(ctx context.Context, n *Loaded) error {
		if !n.Skipped {
			n.Layers = &unpacked
		}
		return l.request(ctx, n.Node, http.MethodPost, "/v1/image-parts", bytes.NewReader(body))
	})
}

// unpack has a node unpack the layers that are not there, and returns how many these were.
func (l *load) unpack(ctx context.Context, source images.Source, list []images.Image, node string) (int, error) {
	have, err := nodeLayers(ctx, l.client, node)
	if err != nil {
		return 0, err
	}
	var missing [][]digest.Digest // with the layers below
	for _, image := range list {
		for i, id := range image.Layers {
			if !slices.Contains(have, id) {
				missing = append(missing, image.Layers[:i+1])
				have = append(have, id)
			}
		}
	}
	for i, layer := range missing {
		l.progress.layer(i+1, len(missing))
		if err := l.layer(ctx, source, node, layer); err != nil {
			return i, err
		}
	}
	return len(missing), nil
}

// layer has a node unpack the last of some layers.
func (l *load) layer(ctx context.Context, source images.Source, node string, ids []digest.Digest) error {
	var below []string
	for _, id := range slices.Backward(ids[:len(ids)-1]) {
		below = append(below, id.String())
	}
	id := ids[len(ids)-1]
	r, err := source.Layer(ctx, id)
	if err != nil {
		return err
	}
	defer r.Close()
	query := url.Values{"below": {strings.Join(below, ",")}}
	return l.request(ctx, node, http.MethodPut, "/v1/layers/"+id.String()+"?"+query.Encode(), l.progress.count(r))
}

// errNoLayers is returned for a node that shares no layers with others.
var errNoLayers = errors.New("the node shares no layers")

// nodeLayers lists the layers that a node finds on its machine.
func nodeLayers(ctx context.Context, c *cluster.Client, node string) ([]digest.Digest, error) {
	resp, err := c.Node(ctx, node, http.MethodGet, "/v1/layers", nil)
	var status *cluster.StatusError
	if errors.As(err, &status) && status.Code == http.StatusNotFound {
		return nil, errNoLayers
	}
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var ids []digest.Digest
	if err := json.NewDecoder(resp.Body).Decode(&ids); err != nil {
		return nil, fmt.Errorf("read layers of node %s: %w", node, err)
	}
	return ids, nil
}
