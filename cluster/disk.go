package cluster

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/klkube/kl/cluster/statefile"
)

// Limits of free disk space, in bytes.
const (
	// FullDisk is what is as good as nothing: with less, whatever fails is taken to fail for that reason.
	FullDisk = 16 << 20
	// MinDisk is what a cluster's control plane needs to be started: etcd makes a log file of 64 MB beside the one it has.
	MinDisk = 64<<20 + FullDisk
	// NewDisk is what a new cluster needs: payload, data of etcd, images of its nodes.
	NewDisk = 1 << 30
	// AmpleDisk is enough not to be mentioned.
	AmpleDisk = 5 << 30
)

// DiskFree returns how many bytes this user can still write to the file system of dir or, if there is no such directory, of the
// nearest one above it.
func DiskFree(dir string) (int64, error) {
	for {
		var s syscall.Statfs_t
		err := syscall.Statfs(dir, &s)
		if err == nil {
			return int64(s.Bavail) * int64(s.Bsize), nil //nolint:unconvert // the types differ between systems
		}
		parent := filepath.Dir(dir)
		if parent == dir || !errors.Is(err, os.ErrNotExist) {
			return 0, &os.PathError{Op: "look for free space", Path: dir, Err: err}
		}
		dir = parent
	}
}

// DiskFull reports whether an error means that the disk, or the user's share of it, is full.
func DiskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// CheckDisk returns an error if the file system of dir is full. If its free space is unknown, it is not full.
func CheckDisk(dir string) error {
	if free, err := DiskFree(dir); err == nil && free < FullDisk {
		return fmt.Errorf("the disk of %s is full: %d MB free", dir, free>>20)
	}
	return nil
}

const (
	maxLog  = 8 << 20 // bytes of a log at which TrimLog cuts it
	keptLog = 1 << 20 // bytes that are left then
)

// TrimLog cuts a log that has grown beyond 8 MB to its last megabyte, in place, so that processes that append to it go on. Lines that they
// write in that moment may be lost. It needs no disk space. A log that does not exist is short enough.
func TrimLog(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) || err == nil && (!info.Mode().IsRegular() || info.Size() <= maxLog) {
		return nil
	}
	if err != nil {
		return err
	}
	f, err := statefile.OpenLog(path, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	last, err := io.ReadAll(io.NewSectionReader(f, info.Size()-keptLog, keptLog))
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = f.Write(last)
	}
	return err
}
