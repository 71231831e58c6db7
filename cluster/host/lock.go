package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/klkube/kl/cluster"
)

const retryInterval = 20 * time.Millisecond // between attempts at what no event announces

// holder is what a lock file says about the process that holds it.
type holder struct {
	PID     int    `json:"pid"`
	Command string `json:"command"`
}

// lock is held on a cluster's name by whoever changes it. It ends with the process, however that ends.
type lock struct{ file *os.File }

// acquire takes the cluster's lock. If another process has it, waiting is called once with who that is, and acquire waits
// until the lock is free or ctx ends.
func acquire(ctx context.Context, l cluster.Layout, command string, waiting func(holder)) (*lock, error) {
	path := l.LockFile()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, &cluster.Error{Op: "lock cluster " + l.Name, Err: err}
	}
	tick := time.NewTicker(retryInterval)
	defer tick.Stop()
	told := false
	for {
		f, err := tryLock(path)
		if err == nil {
			return &lock{f}, writeHolder(f, holder{os.Getpid(), command})
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, &cluster.Error{Op: "lock cluster " + l.Name, Err: err}
		}
		if who := readHolder(path); !told && waiting != nil && who.PID != 0 { // it may be about to write that
			waiting(who)
			told = true
		}
		select {
		case <-ctx.Done():
			who := readHolder(path)
			return nil, &cluster.Error{
				Op: "lock cluster " + l.Name, Err: context.Cause(ctx),
				Hint: fmt.Sprintf("process %d (%s) is working on it", who.PID, who.Command),
			}
		case <-tick.C:
		}
	}
}

// tryLock returns EWOULDBLOCK if another process has the lock. A file that was removed between open and lock does not
// count: the next one to come would lock another file.
func tryLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	mine, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	if there, err := os.Stat(path); err != nil || !os.SameFile(mine, there) {
		f.Close()
		return nil, syscall.EWOULDBLOCK
	}
	return f, nil
}

// release removes the lock file while it is still locked, then lets it go.
func (k *lock) release() {
	os.Remove(k.file.Name())
	k.file.Close()
}

func writeHolder(f *os.File, h holder) error {
	data, err := json.Marshal(h)
	if err != nil {
		return err
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	return err
}

// readHolder returns the zero holder if the file does not tell (yet).
func readHolder(path string) holder {
	var h holder
	f, err := os.Open(path)
	if err != nil {
		return h
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 4096))
	if err == nil && json.Unmarshal(data, &h) != nil {
		return holder{}
	}
	return h
}
