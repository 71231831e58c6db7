package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/host"
	"github.com/klkube/kl/cluster/images"
)

// loadNamed loads images of the engine of the first driver that can be opened and has one. Nodes read them out of the engine's directory,
// only layers that they lack, if they can; or else the engine saves them.
func (e *env) loadNamed(ctx context.Context, names []string, show func([]host.Loaded)) ([]host.Loaded, error) {
	what := strings.Join(names, ", ")
	engine, driver, err := openEngine[cluster.ImageSource](ctx, e)
	if err != nil {
		return nil, &cluster.Error{
			Op: "find " + what, Err: os.ErrNotExist, Hint: "there is no such file, and no container engine to take the image from",
		}
	}
	loaded, err := e.loadFrom(ctx, engine, names)
	err = errors.Join(err, driver.Close())
	if errors.Is(err, cluster.ErrNoImage) {
		return nil, &cluster.Error{Op: "find " + what, Err: err, Hint: "there is no such file, and no such image in " + string(driver.Name())}
	}
	if err != nil {
		return nil, err
	}
	show(loaded)
	return loaded, nil
}

// openEngine opens the first driver whose backend is a container engine that can do what T says. Without one, the error is that of the first
// driver, and wraps cluster.ErrNoEngine.
func openEngine[T any](ctx context.Context, e *env) (engine T, driver cluster.Driver, err error) {
	for _, f := range e.Drivers {
		d, openErr := f.Open(ctx, e.Logger)
		if openErr != nil {
			e.Logger.Debug("skip driver", "driver", f.Name, "err", openErr) // it may not be installed
			if err == nil && errors.Is(openErr, cluster.ErrNoEngine) {
				err = openErr
			}
			continue
		}
		if engine, ok := d.(T); ok {
			return engine, d, nil
		}
		if err := d.Close(); err != nil {
			e.Logger.Warn("close driver", "driver", f.Name, "err", err)
		}
	}
	return engine, nil, cmp.Or(err, cluster.ErrNoEngine)
}

func (e *env) loadFrom(ctx context.Context, engine cluster.ImageSource, names []string) ([]host.Loaded, error) {
	ids, dir, err := engine.ImageIDs(ctx, names)
	if err != nil {
		return nil, err
	}
	what := strings.Join(names, ", ")
	if dir != "" {
		var list []images.EngineImage
		for _, name := range names {
			list = append(list, images.EngineImage{Name: name, ID: ids[name]})
		}
		loaded, done, err := e.host(nil).LoadEngine(ctx, e.name, what, list)
		if done || err != nil {
			return loaded, err
		}
	}
	e.Logger.Debug("the engine saves whole images", "images", what)
	r, err := engine.SaveImages(ctx, names)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var temps []string
	defer func() { e.removeTemps(temps) }()
	archive, err := copyTemp(r, what, &temps)
	if err != nil {
		return nil, brokenOff(what, err)
	}
	archive.From = images.FromEngine
	return e.host(nil).LoadImages(ctx, e.name, archive)
}

// brokenOff is the error for images that an engine did not send whole.
func brokenOff(what string, err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return err
	}
	return &cluster.Error{
		Op: "take " + what + " from the container engine", Err: fmt.Errorf("it sent half of it (%w)", inner(err)), Hint: "is it still running? 'docker info' says so",
	}
}

// inner takes what was done off an error.
func inner(err error) error {
	var done *cluster.Error
	if errors.As(err, &done) {
		return done.Err
	}
	return err
}
