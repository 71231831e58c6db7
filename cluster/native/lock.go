//go:build linux

package native

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"github.com/klkube/kl/cluster/statefile"
)

// errNoNode is returned for a node that does not exist.
var errNoNode = errors.New("no such node")

// lock waits for the exclusive lock on a node's directory. It returns errNoNode if there is no such node, or if it was
// deleted in the meantime.
func (b bundle) lock(ctx context.Context) (*statefile.Lock, error) {
	if info, err := os.Lstat(b.dir); err == nil && info.Mode().IsRegular() { // somebody put a file in place of the node: it can be deleted
		return statefile.WaitLock(ctx, b.dir, nil)
	}
	l, err := statefile.WaitLockDir(ctx, b.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errNoNode
	}
	return l, err
}

// lockMachine waits for the lock that everything takes that hands out addresses, or makes or removes a network, on this
// machine. It is held on runDir, which is created if it is missing.
func lockMachine(ctx context.Context) (*statefile.Lock, error) {
	for {
		if err := os.MkdirAll(runDir, 0o711); err != nil {
			return nil, err
		}
		if l, err := statefile.WaitLockDir(ctx, runDir); !errors.Is(err, fs.ErrNotExist) {
			return l, err
		}
	}
}

// detach returns a context for cleaning up after ctx has ended.
func detach(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
}
