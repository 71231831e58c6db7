package payload

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"
)

// markerName is the file written last: a directory without it is the remains of an unpacking that did not finish.
const markerName = "complete.json"

// marker is what Ensure compares when the payload is already unpacked: the size of every regular file. Only [Verify]
// compares content.
type marker struct {
	SHA   string           `json:"sha256"`
	Sizes map[string]int64 `json:"sizes"`
}

// Store unpacks payloads below a home directory.
type Store struct {
	Home     cluster.Home
	Progress func(done, total int64) // bytes unpacked; called about a hundred times from one goroutine; may be nil
}

// Ensure is [Store.Ensure] without progress.
func Ensure(ctx context.Context, home cluster.Home) (cluster.Payload, error) {
	return Store{Home: home}.Ensure(ctx)
}

// Ensure returns this program's payload and unpacks it first if it is missing or damaged (files gone or cut short). Any
// number of processes may call it at once: one unpacks, the others wait. A caller never sees a half-unpacked directory.
func (s Store) Ensure(ctx context.Context) (cluster.Payload, error) {
	src, err := findSource()
	if err != nil {
		return cluster.Payload{}, err
	}
	return s.ensure(ctx, src)
}

func (s Store) ensure(ctx context.Context, src source) (cluster.Payload, error) {
	dir, err := filepath.Abs(s.Home.PayloadDir(src.sha))
	if err != nil {
		return cluster.Payload{}, fmt.Errorf("unpack payload: %w", err)
	}
	p := cluster.Payload{
		SHA:    src.sha,
		Dir:    dir,
		Rootfs: filepath.Join(dir, RootfsName),
		Engine: filepath.Join(dir, RootfsName, "usr/local/bin/kl-engine"),
		Runc:   filepath.Join(dir, RootfsName, "usr/local/bin/runc"),
	}
	if src.engine != "" {
		p.Engine = src.engine
	}
	if complete(dir, src.sha) {
		return p, nil
	}
	if err := s.unpackLocked(ctx, src, dir); err != nil {
		e := &cluster.Error{Op: "unpack payload to " + dir, Err: err}
		if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, errSpace) {
			e.Hint = "free some disk space, or set KL_HOME to a directory on another disk"
		}
		return cluster.Payload{}, e
	}
	return p, nil
}

func (s Store) unpackLocked(ctx context.Context, src source, dir string) (err error) {
	parent := filepath.Dir(dir)
	if err := statefile.MkdirAll(parent, 0o700); err != nil {
		return err
	}
	lock, err := statefile.WaitLock(ctx, filepath.Join(parent, lockName), nil)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	if complete(dir, src.sha) { // unpacked by another process while this one waited
		return nil
	}
	if err := removeTemp(parent); err != nil { // of a process that was killed: a live one would hold the lock
		return err
	}
	tmp, err := os.MkdirTemp(parent, tempPrefix)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, removeAll(tmp)) }() // of a failed attempt: the rename leaves nothing
	if err := s.fill(ctx, src, tmp); err != nil {
		return err
	}
	if err := removeAll(dir); err != nil { // damaged
		return err
	}
	return os.Rename(tmp, dir)
}

// fill unpacks into dir and marks it as complete.
func (s Store) fill(ctx context.Context, src source, dir string) error {
	r, err := src.open()
	if err != nil {
		return err
	}
	defer r.Close()
	m, err := Unpack(ctx, r, src.sha, dir, s.Progress)
	if err != nil {
		return err
	}
	mark := marker{SHA: src.sha, Sizes: map[string]int64{}}
	for _, f := range m.Files {
		if f.Mode.IsRegular() {
			mark.Sizes[f.Path] = f.Size
		}
	}
	b, err := json.Marshal(mark)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, markerName), b, 0o644); err != nil {
		return err
	}
	return os.Chmod(dir, 0o755)
}

// complete reports whether dir holds the payload, and if so records the use for [Prune].
func complete(dir, sha string) bool {
	path := filepath.Join(dir, markerName)
	b, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	var m marker
	if json.Unmarshal(b, &m) != nil || m.SHA != sha || len(m.Sizes) == 0 {
		return false
	}
	for name, size := range m.Sizes {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil || !info.Mode().IsRegular() || info.Size() != size {
			return false
		}
	}
	now := time.Now()
	_ = os.Chtimes(path, now, now) // a read-only home is usable, too
	return true
}
