//go:build linux

package driver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/klkube/kl/embedded/node/storage"
)

// Disks is the discovery directory: each entry that is a writable mount point is a disk.
type Disks struct{ Dir string }

// List returns the disks, sorted by name.
func (d Disks) List() ([]storage.Disk, error) {
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		return filepath.Dir(m.Mountpoint) != d.Dir || slices.Contains(strings.Split(m.Options, ","), "ro"), false
	})
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	disks := []storage.Disk{}
	for _, m := range mounts {
		name := filepath.Base(m.Mountpoint)
		var fs unix.Statfs_t
		if storage.CheckID(name) != nil || unix.Statfs(m.Mountpoint, &fs) != nil ||
			slices.ContainsFunc(disks, func(d storage.Disk) bool { return d.Name == name }) { // another mount on top
			continue
		}
		disks = append(disks, storage.Disk{Name: name, Path: m.Mountpoint, Capacity: int64(fs.Blocks) * int64(fs.Bsize)})
	}
	slices.SortFunc(disks, func(a, b storage.Disk) int { return strings.Compare(a.Name, b.Name) })
	return disks, nil
}

// Clean deletes all files on a disk: see storage.Agent.
func (d Disks) Clean(ctx context.Context, name string) error {
	disks, err := d.List()
	if err != nil {
		return err
	}
	at := slices.IndexFunc(disks, func(d storage.Disk) bool { return d.Name == name })
	if at < 0 {
		return fmt.Errorf("%w: nothing is mounted on %s", storage.ErrGone, filepath.Join(d.Dir, name))
	}
	if used, err := usedByPods(disks[at].Path); err != nil || used {
		return errors.Join(err, storage.ErrInUse)
	}
	entries, err := os.ReadDir(disks[at].Path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := os.RemoveAll(filepath.Join(disks[at].Path, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// usedByPods reports whether the file system mounted at path is also mounted for a pod.
func usedByPods(path string) (bool, error) {
	mounts, err := mountinfo.GetMounts(nil)
	if err != nil {
		return false, err
	}
	at := slices.IndexFunc(mounts, func(m *mountinfo.Info) bool { return m.Mountpoint == path })
	if at < 0 {
		return false, nil
	}
	own := mounts[at]
	return slices.ContainsFunc(mounts, func(m *mountinfo.Info) bool {
		return strings.HasPrefix(m.Mountpoint, podsDir) && m.Major == own.Major && m.Minor == own.Minor && m.Root == own.Root
	}), nil
}

// podsDir is where the kubelet mounts volumes for pods.
const podsDir = "/var/lib/kubelet/pods/"
