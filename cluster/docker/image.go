package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"

	"github.com/klkube/kl/cluster"
)

// repository of node images. A tag is the payload's hash and the owner: homes share an image, and each takes away its own tag
// alone. The image is gone once it has no tag.
const repository = "kl.local/node"

const path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func (d *Driver) imageTag(p cluster.Payload) string  { return p.SHA + d.suffix() }
func (d *Driver) imageName(p cluster.Payload) string { return repository + ":" + d.imageTag(p) }

// Prepare imports the node image if the engine does not have it, and gives it a tag of this home.
func (d *Driver) Prepare(ctx context.Context, _ string, p cluster.Payload) error {
	unlock, err := d.images.lock(ctx, p.SHA)
	if err != nil {
		return err
	}
	defer unlock()
	_, err = d.client.ImageInspect(ctx, d.imageName(p))
	if err == nil || !errdefs.IsNotFound(err) {
		return wrap("look for the node image", err)
	}
	if shared, err := d.shareImage(ctx, p); err != nil || shared {
		return wrap("look for the node image", err)
	}
	d.log.Info("import node image", "image", d.imageName(p))
	return wrap("import the node image", d.importImage(ctx, p))
}

// shareImage gives the image that another home has imported a tag of this one, if there is one.
func (d *Driver) shareImage(ctx context.Context, p cluster.Payload) (bool, error) {
	images, err := d.nodeImages(ctx, labelPayload+"="+p.SHA)
	if err != nil {
		return false, err
	}
	for _, i := range images {
		err := d.client.ImageTag(ctx, i.ID, d.imageName(p))
		if !errdefs.IsNotFound(err) { // it may be gone since
			return err == nil, err
		}
	}
	return false, nil
}

func (d *Driver) nodeImages(ctx context.Context, label string) ([]image.Summary, error) {
	return d.client.ImageList(ctx, image.ListOptions{Filters: filters.NewArgs(filters.Arg("label", label))})
}

// importImage streams the payload's root file system to the engine: no temporary file, no build.
func (d *Driver) importImage(ctx context.Context, p cluster.Payload) error {
	total, err := treeSize(p.Rootfs)
	if err != nil {
		return err
	}
	r, w := io.Pipe()
	packed := make(chan error, 1)
	go func() {
		err := writeTree(ctx, w, p.Rootfs, func(done int64) { d.progress(done, total) })
		w.CloseWithError(err)
		packed <- err
	}()
	answer, err := d.client.ImageImport(ctx, image.ImportSource{Source: r, SourceName: "-"}, repository, image.ImportOptions{
		Tag: d.imageTag(p), Message: "imported by kl",
		Changes: []string{"LABEL " + labelPayload + "=" + p.SHA, "ENV PATH=" + path, `ENTRYPOINT ["/usr/local/bin/kl-init"]`},
	})
	if err == nil {
		err = errors.Join(streamError(answer), answer.Close())
	}
	r.Close() // ends the writer if the engine has not read everything
	if packErr := <-packed; packErr != nil && !errors.Is(packErr, io.ErrClosedPipe) {
		return packErr
	}
	return err
}

// streamError reads the engine's progress messages to the end and returns the error among them, if there is one.
func streamError(r io.Reader) error {
	for dec := json.NewDecoder(r); ; {
		var message struct {
			Error string `json:"error"`
		}
		switch err := dec.Decode(&message); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read the engine's answer: %w", err)
		case message.Error != "":
			return errors.New(message.Error)
		}
	}
}

// Purge removes this home's tags of node images that none of its nodes uses, also of other versions of kl, and with the last
// tag the image.
func (d *Driver) Purge(ctx context.Context) error { return d.purge(ctx, labelPayload) }

// purge is Purge of the images with a label.
func (d *Driver) purge(ctx context.Context, label string) error {
	nodes, err := d.List(ctx, "")
	if err != nil {
		return err
	}
	used := map[string]bool{}
	for _, n := range nodes {
		used[n.PayloadSHA] = true
	}
	images, err := d.nodeImages(ctx, label)
	if err != nil {
		return wrap("list node images", err)
	}
	var errs []error
	for _, i := range images {
		if used[i.Labels[labelPayload]] {
			continue
		}
		for _, ref := range d.refs(i) {
			_, err := d.client.ImageRemove(ctx, ref, image.RemoveOptions{PruneChildren: true})
			if err != nil && !errdefs.IsNotFound(err) && !errdefs.IsConflict(err) { // conflict: in use
				errs = append(errs, wrap("remove image "+ref, err))
			}
		}
	}
	return errors.Join(errs...)
}

// refs returns the names of an image that this home may remove: its own tag, and what has no owner. That is the tag that a kl
// before there were owners gave it, or its ID, if it lost its tags to an import made at the same time.
func (d *Driver) refs(i image.Summary) []string {
	if len(i.RepoTags) == 0 || i.RepoTags[0] == "<none>:<none>" {
		return []string{i.ID}
	}
	p := cluster.Payload{SHA: i.Labels[labelPayload]}
	return slices.DeleteFunc(slices.Clone(i.RepoTags), func(tag string) bool {
		return tag != d.imageName(p) && tag != repository+":"+p.SHA
	})
}

// wrap adds what was tried to an error. It returns nil for nil.
func wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", op, err)
}
