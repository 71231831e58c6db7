//go:build linux

package driver

import (
	"context"
	"io/fs"
	"path/filepath"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"

	"github.com/klkube/kl/embedded/node/storage"
)

// usage returns a volume's size, use and free space, which is not more than that of the file system.
func (s *Store) usage(ctx context.Context, v storage.Volume) ([]*csi.VolumeUsage, error) {
	if v.Block {
		return s.blockUsage(v.ID)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(s.data(v.ID), &fs); err != nil {
		return nil, err
	}
	used, files, err := s.measure(ctx, s.data(v.ID))
	if err != nil {
		return nil, err
	}
	free := max(0, min(v.Size-used, int64(fs.Bavail)*int64(fs.Bsize)))
	return []*csi.VolumeUsage{
		{Unit: csi.VolumeUsage_BYTES, Total: v.Size, Used: used, Available: free},
		{Unit: csi.VolumeUsage_INODES, Total: int64(fs.Files), Used: files, Available: int64(fs.Ffree)},
	}, nil
}

// measure adds up a directory as du does, with each hard link once. The kubelet asks once a minute, and measures emptyDirs in
// the same way.
func (s *Store) measure(ctx context.Context, dir string) (bytes, files int64, err error) {
	seen := map[uint64]bool{}
	err = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		var st unix.Stat_t
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil, unix.Lstat(path, &st) != nil:
			return nil // deleted meanwhile
		case st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR:
			if seen[st.Ino] {
				return nil
			}
			seen[st.Ino] = true
		}
		bytes, files = bytes+st.Blocks*512, files+1
		return nil
	})
	if counted, ok := s.Quota.Used(dir); ok {
		bytes = counted
	}
	return bytes, files, err
}
