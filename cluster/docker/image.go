package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"

	"github.com/klkube/kl/cluster"
)

// repository of the node image; its tag is the payload's hash.
const repository = "kl.local/node"

const path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func imageName(p cluster.Payload) string { return repository + ":" + p.SHA }

// Prepare imports the node image if the engine does not have it.
func (d *Driver) Prepare(ctx context.Context, _ string, p cluster.Payload) error {
	unlock, err := d.images.lock(ctx, p.SHA)
	if err != nil {
		return err
	}
	defer unlock()
	_, err = d.client.ImageInspect(ctx, imageName(p))
	if err == nil || !errdefs.IsNotFound(err) {
		return wrap("look for the node image", err)
	}
	d.log.Info("import node image", "image", imageName(p))
	return wrap("import the node image", d.importImage(ctx, p))
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
		Tag: p.SHA, Message: "imported by kl",
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

// Purge removes node images that no container uses, also those of other versions of kl.
func (d *Driver) Purge(ctx context.Context) error { return d.purge(ctx, labelPayload) }

// purge removes the images with a label that no container uses.
func (d *Driver) purge(ctx context.Context, label string) error {
	images, err := d.client.ImageList(ctx, image.ListOptions{Filters: filters.NewArgs(filters.Arg("label", label))})
	if err != nil {
		return wrap("list node images", err)
	}
	var errs []error
	for _, i := range images {
		refs := i.RepoTags
		if len(refs) == 0 || refs[0] == "<none>:<none>" {
			refs = []string{i.ID} // two processes imported it at the same time, and the other import has the name
		}
		for _, ref := range refs {
			_, err := d.client.ImageRemove(ctx, ref, image.RemoveOptions{PruneChildren: true})
			if err != nil && !errdefs.IsNotFound(err) && !errdefs.IsConflict(err) { // conflict: in use
				errs = append(errs, wrap("remove image "+ref, err))
			}
		}
	}
	return errors.Join(errs...)
}

// wrap adds what was tried to an error. It returns nil for nil.
func wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", op, err)
}
