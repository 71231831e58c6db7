//go:build linux

package native

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// errGone is returned for a node that is not there.
var errGone = errors.New("no such node")

// retryEvery is how often a lock or a process that is waited for is looked at.
const retryEvery = 5 * time.Millisecond

// lockDir waits for the exclusive lock of a directory, held across processes until unlock or the end of the process. It
// returns errGone if there is no such directory, or it went away while it was waited for.
func lockDir(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, errGone
	}
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	err = poll(ctx, func() (bool, error) {
		switch err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
		case err == nil:
			return true, nil
		case errors.Is(err, syscall.EWOULDBLOCK), errors.Is(err, syscall.EINTR):
			return false, nil
		default:
			return false, fmt.Errorf("lock %s: %w", path, err)
		}
	})
	if err == nil {
		err = sameDir(f, path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

// lockMade is lockDir of a directory that is made if it is missing.
func lockMade(ctx context.Context, path string) (unlock func(), err error) {
	for {
		if err := os.MkdirAll(path, 0o711); err != nil {
			return nil, fmt.Errorf("lock: %w", err)
		}
		if unlock, err = lockDir(ctx, path); !errors.Is(err, errGone) {
			return unlock, err
		}
	}
}

// sameDir tells whether an open directory is still the one at path.
func sameDir(f *os.File, path string) error {
	open, err := f.Stat()
	if err != nil {
		return err
	}
	now, err := os.Stat(path)
	if err != nil || !os.SameFile(open, now) {
		return errGone
	}
	return nil
}

// poll calls done now and then until it is true or fails, or ctx ends. The kernel has no way to wait for a file lock
// that a context could end.
func poll(ctx context.Context, done func() (bool, error)) error {
	t := time.NewTicker(retryEvery)
	defer t.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// detach returns a context for undoing things after another one has ended.
func detach(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
}
