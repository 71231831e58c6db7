//go:build linux

package driver

import (
	"errors"
	"os"
	"path/filepath"
	"sync"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/klkube/kl/embedded/node/storage"
	"github.com/klkube/kl/embedded/node/storage/loop"
)

// imageUnit is what the size of a device is a multiple of, in bytes: a block of every usual file system.
const imageUnit = 4096

// makeImage creates the sparse file of a block volume, and finds out whether the node can attach it, so that the claim says so
// if it cannot, before a pod waits for it.
func makeImage(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(imageSize(size)), f.Sync(), f.Close()); err != nil {
		return err
	}
	device, err := loop.Attach(path)
	if err != nil {
		return err
	}
	return device.Close()
}

// growImage makes the file of a block volume larger, and its devices, which pods may use.
func growImage(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && info.Size() < imageSize(size) {
		err = errors.Join(f.Truncate(imageSize(size)), f.Sync())
	}
	return errors.Join(err, f.Close(), loop.Grow(path))
}

func imageSize(size int64) int64 { return (size + imageUnit - 1) / imageUnit * imageUnit }

// devices keeps the devices of published volumes open, by target path, until the kubelet's lock on them does: see loop.Losetup.
type devices struct {
	mu   sync.Mutex
	open map[string]*os.File
}

// keep keeps a device open for a target path.
func (d *devices) keep(target string, device *os.File) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open == nil {
		d.open = map[string]*os.File{}
	}
	if old := d.open[target]; old != nil {
		_ = old.Close() // it was read from and written to by others
	}
	d.open[target] = device
}

// release closes the device of a target path, if there is one.
func (d *devices) release(target string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if device := d.open[target]; device != nil {
		_ = device.Close()
		delete(d.open, target)
	}
}

// publishBlock attaches a volume and mounts its device on the file target.
func (n *node) publishBlock(r *csi.NodePublishVolumeRequest, image string) error {
	switch mode := r.GetVolumeCapability().GetAccessMode().GetMode(); mode {
	case csi.VolumeCapability_AccessMode_UNKNOWN:
		return status.Error(codes.InvalidArgument, "the access mode is missing")
	case csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY, csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY:
		return status.Error(codes.InvalidArgument, storage.BlockReadOnly)
	}
	device, err := loop.Attach(image)
	if err != nil {
		return status.Errorf(codes.Internal, "attach volume %s: %v", r.GetVolumeId(), err)
	}
	if err := alone(r, filepath.Base(device.Name())); err != nil {
		return errors.Join(err, device.Close())
	}
	if err := bindDevice(device, r.GetTargetPath()); err != nil {
		return errors.Join(status.Errorf(codes.Internal, "mount volume %s: %v", r.GetVolumeId(), err), device.Close())
	}
	n.held.keep(r.GetTargetPath(), device)
	return nil
}

// bindDevice mounts a device on the file target, unless it is mounted there.
func bindDevice(device *os.File, target string) error {
	f, err := os.OpenFile(target, os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		err = f.Close()
	} else if errors.Is(err, os.ErrExist) {
		err = nil
	}
	if err != nil {
		return err
	}
	var want, have unix.Stat_t
	if err := errors.Join(unix.Fstat(int(device.Fd()), &want), unix.Stat(target, &have)); err != nil {
		return err
	}
	if have.Mode&unix.S_IFMT == unix.S_IFBLK {
		if have.Rdev == want.Rdev {
			return nil
		}
		if err := unix.Unmount(target, 0); err != nil { // of a device that was detached
			return err
		}
	}
	return unix.Mount(device.Name(), target, "", unix.MS_BIND, "")
}

// blockUsage returns the size of a block volume. Only its pod knows how much of it is free.
func (s *Store) blockUsage(id string) ([]*csi.VolumeUsage, error) {
	var st unix.Stat_t
	if err := unix.Stat(s.image(id), &st); err != nil {
		return nil, err
	}
	return []*csi.VolumeUsage{{Unit: csi.VolumeUsage_BYTES, Total: st.Size}}, nil
}
