package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"syscall"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/lifecycle"
	"github.com/klkube/kl/embedded/node/containerd"
	"github.com/klkube/kl/embedded/node/images"
)

// pauseArchive holds the image that keeps a pod's namespaces; it comes with the node.
const pauseArchive = "/kl/images/pause.tar"

// containerRuntime waits for containerd, which PID 1 runs, and gives it the image that every pod needs.
type containerRuntime struct {
	store *images.Store
	log   *slog.Logger
}

func (r *containerRuntime) Name() cluster.ComponentName { return "containerd" }

// Run is a lifecycle.Component.
func (r *containerRuntime) Run(ctx context.Context, ready func()) error {
	err := poll(ctx, func() bool {
		if _, err := os.Stat(containerd.Socket); err != nil {
			return false
		}
		ok, err := r.store.Ready(ctx)
		return ok && err == nil
	})
	if err != nil {
		return err
	}
	if err := r.store.Pods(ctx); err != nil {
		return lifecycle.Permanent(explainCRI(err))
	}
	if err := r.importPause(ctx); err != nil {
		return fmt.Errorf("import pause image: %w", err)
	}
	ready()
	<-ctx.Done()
	return ctx.Err()
}

// explainCRI adds what to do where the machine, and not the node, has run out of something.
func explainCRI(err error) error {
	if !strings.Contains(err.Error(), syscall.EMFILE.Error()) {
		return err
	}
	return fmt.Errorf("%w: the machine has no inotify instances left: run 'sudo sysctl fs.inotify.max_user_instances=1024' "+
		"on it, then stop and start the node ('kl doctor' shows the limit)", err)
}

func (r *containerRuntime) importPause(ctx context.Context) error {
	if r.store.Has(ctx, containerd.PauseImage) {
		return nil
	}
	f, err := os.Open(pauseArchive)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the payload has no %s", pauseArchive)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	imported, err := r.store.Import(ctx, f)
	if err != nil {
		return err
	}
	if !r.store.Has(ctx, containerd.PauseImage) {
		return fmt.Errorf("%s holds %d images, none named %s", pauseArchive, len(imported), containerd.PauseImage)
	}
	return nil
}
