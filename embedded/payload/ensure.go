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
)

// markerName is written last: a directory without it is the rest of an unpacking that did not finish.
const markerName = "complete.json"

// marker tells what Ensure looks at when the payload is already there: the size of every regular file. Content is
// compared by [Verify] alone.
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

// Ensure returns this program's payload and unpacks it first if it is not there yet or damaged (files missing or cut
// short). Any number of processes may call it at once: one unpacks, the others wait for it. A caller never sees a
// half-unpacked directory.
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

func (s Store) unpackLocked(ctx context.Context, src source, dir string) error {
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return err
	}
	unlock, err := lockFile(ctx, filepath.Join(parent, "lock"))
	if err != nil {
		return err
	}
	defer unlock()
	if complete(dir, src.sha) { // somebody else did it while we waited
		return nil
	}
	if err := removeTemp(parent); err != nil { // left by one that was killed: nobody else holds the lock
		return err
	}
	tmp, err := os.MkdirTemp(parent, tempPrefix)
	if err != nil {
		return err
	}
	defer removeAll(tmp) // gone after the rename
	if err := s.fill(ctx, src, tmp); err != nil {
		return err
	}
	if err := removeAll(dir); err != nil { // a damaged one
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

// complete tells whether dir holds the payload, and notes that it was used, for [Prune].
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
	_ = os.Chtimes(path, now, now) // a read-only home is no reason to fail
	return true
}
