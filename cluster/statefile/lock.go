package statefile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// lockRetry is the pause between attempts at a lock: the kernel has no way to wait for one that a context could end.
const lockRetry = 10 * time.Millisecond

// ErrLocked is returned by TryLock for a file that another process, or another Lock of this one, holds.
var ErrLocked = errors.New("locked by another process")

// Lock is an exclusive lock on a file or directory (flock(2)). The kernel releases it when the process ends, however
// that happens.
type Lock struct{ file *os.File }

// TryLock locks a regular file, which is created with mode 0600 if it is missing. It returns ErrLocked if somebody else holds
// the lock. A symbolic link is not followed: what is locked is also written to.
func TryLock(path string) (*Lock, error) {
	for {
		f, err := open("lock", path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		if l, err := lock(f, path); !errors.Is(err, fs.ErrNotExist) {
			return l, err
		}
	}
}

// TryLockDir locks a directory. The error is fs.ErrNotExist if it is missing, or was removed or replaced on the way.
func TryLockDir(path string) (*Lock, error) {
	f, err := openAs("lock", path, syscall.O_DIRECTORY, 0, fs.FileMode.IsDir, "directory")
	if err != nil {
		return nil, err
	}
	return lock(f, path)
}

// claimTime is how long Claim tries: a look at a lock by Locked takes much less.
const claimTime = 300 * time.Millisecond

// Claim is TryLock for a process that holds the lock for as long as it lives: unlike TryLock, it is not turned away by
// somebody who only looks whether the lock is taken.
func Claim(path string) (*Lock, error) {
	for end := time.Now().Add(claimTime); ; <-time.After(lockRetry) {
		l, err := TryLock(path)
		if !errors.Is(err, ErrLocked) || time.Now().After(end) {
			return l, err
		}
	}
}

// WaitLock is TryLock that waits for whoever holds the lock until ctx ends. waiting is called before each wait
// until it returns true; nil is ignored.
func WaitLock(ctx context.Context, path string, waiting func() (done bool)) (*Lock, error) {
	return wait(ctx, path, TryLock, waiting)
}

// WaitLockDir is TryLockDir that waits for whoever holds the lock until ctx ends.
func WaitLockDir(ctx context.Context, path string) (*Lock, error) {
	return wait(ctx, path, TryLockDir, nil)
}

func wait(ctx context.Context, path string, try func(string) (*Lock, error), waiting func() (done bool)) (*Lock, error) {
	tick := time.NewTicker(lockRetry)
	defer tick.Stop()
	for {
		l, err := try(path)
		if !errors.Is(err, ErrLocked) {
			return l, err
		}
		if waiting != nil && waiting() {
			waiting = nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for lock %s: %w", path, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// Locked reports whether somebody holds the lock of an existing file or directory, without taking it.
func Locked(path string) (bool, error) {
	lockable := func(mode fs.FileMode) bool { return mode.IsRegular() || mode.IsDir() }
	f, err := openAs("look at lock", path, 0, 0, lockable, "regular file")
	if err != nil {
		return false, err
	}
	defer f.Close() // which gives a shared lock back
	switch err := flock(f, syscall.LOCK_SH|syscall.LOCK_NB); {
	case err == nil:
		return false, nil
	case errors.Is(err, syscall.EWOULDBLOCK):
		return true, nil
	default:
		return false, fmt.Errorf("look at lock %s: %w", path, err)
	}
}

// File is the locked file, open for reading and writing. It stays the Lock's: do not close it.
func (l *Lock) File() *os.File { return l.file }

// Write makes the locked file hold data, in place: the file must stay the one that is locked.
func (l *Lock) Write(data []byte) error {
	if err := l.file.Truncate(0); err != nil {
		return err
	}
	_, err := l.file.WriteAt(data, 0)
	return err
}

// Unlock gives the lock back and leaves the file.
func (l *Lock) Unlock() { l.file.Close() }

// Remove removes the file while it is still locked, then gives the lock back.
func (l *Lock) Remove() {
	os.Remove(l.file.Name())
	l.file.Close()
}

// lock locks an open file, and closes it if that fails. A file that is no longer the one at path does not count, and is
// fs.ErrNotExist: whoever comes next would lock another file of that name.
func lock(f *os.File, path string) (*Lock, error) {
	err := flockExclusive(f)
	switch {
	case errors.Is(err, syscall.EWOULDBLOCK):
		err = ErrLocked
	case err != nil:
		err = fmt.Errorf("lock %s: %w", path, err)
	default:
		err = same(f, path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &Lock{f}, nil
}

const (
	lookPause    = time.Millisecond
	lookAttempts = 1000
)

// flockExclusive is flock(LOCK_EX|LOCK_NB) that is not deceived by Locked, which holds a shared lock while it looks: a `kl
// status` must not keep a control plane from starting. If a shared lock can be had, nobody has the exclusive one.
func flockExclusive(f *os.File) error {
	for range lookAttempts {
		err := flock(f, syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		if err := flock(f, syscall.LOCK_SH|syscall.LOCK_NB); err != nil {
			return err
		}
		if err := flock(f, syscall.LOCK_UN); err != nil {
			return err
		}
		<-time.After(lookPause)
	}
	return syscall.EWOULDBLOCK
}

// same returns fs.ErrNotExist unless f is still the file at path.
func same(f *os.File, path string) error {
	mine, err := f.Stat()
	if err != nil {
		return err
	}
	there, err := os.Stat(path)
	if err == nil && !os.SameFile(mine, there) {
		err = &fs.PathError{Op: "lock", Path: path, Err: fs.ErrNotExist}
	}
	return err
}

func flock(f *os.File, how int) error {
	for {
		if err := syscall.Flock(int(f.Fd()), how); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
