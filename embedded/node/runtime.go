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

// pauseArchive holds the image of the pause container. It is part of the node's root file system.
const pauseArchive = "/kl/images/pause.tar"

// containerRuntime waits for containerd, which PID 1 runs, and imports the pause image, which every pod needs.
type containerRuntime struct {
	store *images.Store
	log   *slog.Logger
}

func (r *containerRuntime) Name() cluster.ComponentName { return "containerd" }

// Run is ready once pods can be started.
func (r *containerRuntime) Run(ctx context.Context, ready func()) error {
	logged := ""
	err := poll(ctx, func(ctx context.Context) (bool, error) {
		if _, err := os.Stat(containerd.Socket); err != nil {
			return false, nil // containerd has not got that far
		}
		ok, err := r.store.Ready(ctx)
		if err != nil && err.Error() != logged {
			logged = err.Error()
			r.log.Info("containerd does not serve yet, retrying", "reason", err)
		}
		return ok && err == nil, nil
	})
	if err != nil {
		return err
	}
	if err := r.store.CheckCRI(ctx); err != nil {
		return lifecycle.Permanent(explainCRI(err))
	}
	if err := r.importPause(ctx); err != nil {
		return fmt.Errorf("import pause image: %w", err)
	}
	if err := r.store.Recover(ctx); err != nil {
		r.log.Warn("pods may not find all images: restart the node to try again", "err", err)
	}
	ready()
	<-ctx.Done()
	return ctx.Err()
}

// explainCRI adds what to do if the machine has run out of inotify instances, which containerd reports as too many files.
func explainCRI(err error) error {
	if !strings.Contains(err.Error(), syscall.EMFILE.Error()) {
		return err
	}
	return fmt.Errorf("%w: the machine has no inotify instances left: run 'sudo sysctl fs.inotify.max_user_instances=1024' "+
		"on it, then stop and start the node ('kl doctor' shows the limit)", err)
}

func (r *containerRuntime) importPause(ctx context.Context) error {
	if has, err := r.store.Has(ctx, containerd.PauseImage); err != nil || has {
		return err
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
	has, err := r.store.Has(ctx, containerd.PauseImage)
	if err != nil {
		return err
	}
	if !has {
		return fmt.Errorf("%s holds %d images, none named %s", pauseArchive, len(imported), containerd.PauseImage)
	}
	return nil
}
