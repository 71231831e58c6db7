package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"
)

// pollInterval is the pause between two looks at what sends no event.
const pollInterval = 20 * time.Millisecond

// holder is what a lock file says about the process that holds the lock.
type holder struct {
	PID     int    `json:"pid"`
	Command string `json:"command"`
}

func (h holder) String() string {
	if h.PID == 0 { // it has the lock, and is about to write this
		return "another process"
	}
	return fmt.Sprintf("process %d (%s)", h.PID, h.Command)
}

// release gives a cluster's lock back. Its file stays as long as the cluster does: on a full disk there may be no new one.
func release(l cluster.Layout, lock *statefile.Lock) {
	if _, err := os.Lstat(l.Dir()); errors.Is(err, fs.ErrNotExist) {
		lock.Remove()
		return
	}
	_ = lock.Write(nil) // the holder; a stale one does no harm, since readers check the lock first
	lock.Unlock()
}

// acquire takes a cluster's lock, which a verb holds from its first look at the cluster to its last write. If another
// process has the lock, acquire tells steps and waits until the lock is free or ctx ends. The caller releases the lock.
func acquire(ctx context.Context, l cluster.Layout, command string, steps *recorder) (*statefile.Lock, error) {
	fail := func(err error, hint string) (*statefile.Lock, error) {
		return nil, &cluster.Error{Op: "lock cluster " + l.Name, Err: err, Hint: hint}
	}
	path := l.LockFile()
	for _, dir := range []string{string(l.Home), l.Home.ClustersDir(), filepath.Dir(path), l.Dir()} {
		if _, err := statefile.Follow(dir); err != nil { // a link of another user, which could lead root anywhere
			return fail(err, "remove the link")
		}
	}
	if err := anothers(l); err != nil {
		return fail(err, "run kl as that user, such as with sudo")
	}
	if err := statefile.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fail(err, "")
	}
	if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() { // no kl made that, and no kl can lock it
		if err := os.RemoveAll(path); err != nil {
			return fail(err, "")
		}
	}
	lock, err := statefile.WaitLock(ctx, path, func() bool {
		who := readHolder(path)
		if who.PID == 0 { // it has just taken the lock, and is about to write this
			return false
		}
		steps.say(cluster.StepLock, cluster.StepWarning, fmt.Sprintf("%s is working on cluster %s: waiting for it to finish", who, l.Name))
		return true
	})
	switch {
	case err != nil && ctx.Err() != nil:
		return fail(context.Cause(ctx), readHolder(path).String()+" is working on it")
	case err != nil:
		return fail(err, "")
	}
	data, err := json.Marshal(holder{os.Getpid(), command})
	if err == nil {
		err = lock.Write(data)
	}
	if err != nil && !cluster.DiskFull(err) { // who has the lock is told to others; what frees space must not depend on it
		release(l, lock)
		return fail(err, "")
	}
	return lock, nil
}

// readHolder returns the zero holder if the file does not tell, or not yet.
func readHolder(path string) holder {
	var h holder
	if statefile.ReadJSON(path, &h) != nil {
		return holder{}
	}
	return h
}
