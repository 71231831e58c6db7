//go:build linux

package driver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/klkube/kl/embedded/node/storage"
)

// node is the CSI node service. Nothing is staged: a volume is a directory and needs no mount of its own, and a device that is
// attached when it is published.
type node struct {
	csi.UnimplementedNodeServer
	*Server
	held devices
}

// NodeGetInfo implements CSI.
func (n *node) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{
		NodeId: n.Node, AccessibleTopology: &csi.Topology{Segments: map[string]string{storage.TopologyKey: n.Node}},
	}, nil
}

// NodeGetCapabilities implements CSI.
func (n *node) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	var list []*csi.NodeServiceCapability
	for _, c := range []csi.NodeServiceCapability_RPC_Type{
		csi.NodeServiceCapability_RPC_GET_VOLUME_STATS, csi.NodeServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
	} {
		list = append(list, &csi.NodeServiceCapability{Type: &csi.NodeServiceCapability_Rpc{Rpc: &csi.NodeServiceCapability_RPC{Type: c}}})
	}
	return &csi.NodeGetCapabilitiesResponse{Capabilities: list}, nil
}

// NodePublishVolume implements CSI: it mounts a volume for a pod.
func (n *node) NodePublishVolume(_ context.Context, r *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	if r.GetVolumeId() == "" || r.GetTargetPath() == "" || r.GetVolumeCapability() == nil {
		return nil, status.Error(codes.InvalidArgument, "volume, target path and capability are required")
	}
	store, v, err := n.volume(r.GetVolumeId(), r.GetVolumeContext()[storage.KindKey])
	if err != nil {
		return nil, err
	}
	if block := r.GetVolumeCapability().GetBlock() != nil; block != v.Block {
		return nil, status.Errorf(codes.InvalidArgument, "volume %s has another volumeMode", v.ID)
	}
	if v.Block {
		if err := n.publishBlock(r, store.image(v.ID)); err != nil {
			return nil, err
		}
		return &csi.NodePublishVolumeResponse{}, nil
	}
	flags, err := mountFlags(r)
	if err != nil {
		return nil, err
	}
	if err := alone(r, filepath.Join(v.ID, dataDir)); err != nil {
		return nil, err
	}
	mount := bind
	if r.GetVolumeCapability().GetAccessMode().GetMode() == csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY {
		mount = mountReadOnly
	}
	if err := mount(store.data(v.ID), r.GetTargetPath(), flags); err != nil {
		return nil, status.Errorf(codes.Internal, "mount volume %s: %v", r.GetVolumeId(), err)
	}
	return &csi.NodePublishVolumeResponse{}, nil
}

// alone returns an error if a volume that is for one pod is to be mounted for another one of this node. end is as for mountedFrom. What
// is mounted at the target already is: the kubelet repeats calls, and mounts devices once more itself.
func alone(r *csi.NodePublishVolumeRequest, end string) error {
	if r.GetVolumeCapability().GetAccessMode().GetMode() != csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER {
		return nil
	}
	mounted, err := mountinfo.Mounted(r.GetTargetPath())
	if mounted {
		return nil
	}
	other := ""
	if err == nil || errors.Is(err, os.ErrNotExist) {
		other, err = mountedFrom(end)
	}
	if err != nil {
		return status.Errorf(codes.Internal, "find where volume %s is mounted: %v", r.GetVolumeId(), err)
	}
	if other != "" {
		return status.Errorf(codes.FailedPrecondition, "volume %s is for one pod, and mounted at %s", r.GetVolumeId(), other)
	}
	return nil
}

// volume returns a volume of this node and its store.
func (n *node) volume(id, kind string) (*Store, storage.Volume, error) {
	store, err := n.store(kind)
	if err != nil {
		return nil, storage.Volume{}, status.Error(codes.InvalidArgument, err.Error())
	}
	if err := store.ready(); err != nil {
		return nil, storage.Volume{}, status.Error(codes.FailedPrecondition, err.Error())
	}
	v, err := store.Volume(id)
	switch {
	case errors.Is(err, storage.ErrGone):
		err = status.Errorf(codes.NotFound, "node %s has no directory of volume %s: it was removed", n.Node, id)
	case errors.Is(err, storage.ErrInvalid):
		err = status.Error(codes.InvalidArgument, err.Error())
	case err != nil:
		err = status.Error(codes.Internal, err.Error())
	}
	return store, v, err
}

// mountFlags returns the flags of the bind mount for mount(2). A volume with a read-only access mode is mounted read-only.
func mountFlags(r *csi.NodePublishVolumeRequest) (uintptr, error) {
	known := map[string]uintptr{
		"ro": unix.MS_RDONLY, "rw": 0, "noexec": unix.MS_NOEXEC, "nosuid": unix.MS_NOSUID, "nodev": unix.MS_NODEV,
		"noatime": unix.MS_NOATIME, "relatime": unix.MS_RELATIME, "nodiratime": unix.MS_NODIRATIME,
	}
	var flags uintptr
	for _, option := range r.GetVolumeCapability().GetMount().GetMountFlags() {
		flag, ok := known[option]
		if !ok {
			return 0, status.Errorf(codes.InvalidArgument, "mount option %q is not supported for a directory", option)
		}
		flags |= flag
	}
	switch r.GetVolumeCapability().GetAccessMode().GetMode() {
	case csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY, csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY:
		flags |= unix.MS_RDONLY
	case csi.VolumeCapability_AccessMode_UNKNOWN:
		return 0, status.Error(codes.InvalidArgument, "the access mode is missing")
	}
	if r.GetReadonly() {
		flags |= unix.MS_RDONLY
	}
	return flags, nil
}

// mountReadOnly mounts a directory at target so that it cannot be made writable again. A read-only bind mount is not enough:
// the runtime mounts it again for the container, read-write unless the pod says readOnly.
func mountReadOnly(source, target string, flags uintptr) error {
	if err := os.MkdirAll(target, 0o750); err != nil {
		return err
	}
	if mounted, err := mountinfo.Mounted(target); err != nil || mounted {
		return err
	}
	empty, err := os.MkdirTemp("", "kl-empty") // an overlay without a writable layer needs two lower ones
	if err != nil {
		return err
	}
	return errors.Join(unix.Mount("overlay", target, "overlay", flags, "lowerdir="+source+":"+empty), os.Remove(empty))
}

// bind mounts a directory at target unless something is mounted there.
func bind(source, target string, flags uintptr) error {
	if err := os.MkdirAll(target, 0o750); err != nil {
		return err
	}
	if mounted, err := mountinfo.Mounted(target); err != nil || mounted {
		return err
	}
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	if flags == 0 {
		return nil
	}
	var fs unix.Statfs_t // a remount must repeat the flags of the source's mount
	err := unix.Statfs(target, &fs)
	if err == nil {
		const kept = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
		err = unix.Mount("", target, "", unix.MS_BIND|unix.MS_REMOUNT|flags|uintptr(fs.Flags)&kept, "")
	}
	if err != nil {
		return errors.Join(fmt.Errorf("set mount options: %w", err), unix.Unmount(target, unix.MNT_DETACH))
	}
	return nil
}

// NodeUnpublishVolume implements CSI.
func (n *node) NodeUnpublishVolume(_ context.Context, r *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	if r.GetVolumeId() == "" || r.GetTargetPath() == "" {
		return nil, status.Error(codes.InvalidArgument, "volume and target path are required")
	}
	for {
		mounted, err := mountinfo.Mounted(r.GetTargetPath())
		if err == nil && mounted {
			if err = unix.Unmount(r.GetTargetPath(), 0); err == nil {
				continue // there may be another mount below
			}
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, status.Errorf(codes.Internal, "unmount volume %s: %v", r.GetVolumeId(), err)
		}
		break
	}
	if err := os.Remove(r.GetTargetPath()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, status.Errorf(codes.Internal, "remove mount point: %v", err)
	}
	n.held.release(r.GetTargetPath())
	return &csi.NodeUnpublishVolumeResponse{}, nil
}

// NodeGetVolumeStats implements CSI.
func (n *node) NodeGetVolumeStats(ctx context.Context, r *csi.NodeGetVolumeStatsRequest) (*csi.NodeGetVolumeStatsResponse, error) {
	if r.GetVolumeId() == "" || r.GetVolumePath() == "" {
		return nil, status.Error(codes.InvalidArgument, "volume and volume path are required")
	}
	if mounted, err := mountinfo.Mounted(r.GetVolumePath()); err != nil || !mounted {
		return nil, status.Errorf(codes.NotFound, "volume %s is not mounted at %s", r.GetVolumeId(), r.GetVolumePath())
	}
	for _, store := range n.stores() {
		v, err := store.Volume(r.GetVolumeId())
		if errors.Is(err, storage.ErrGone) {
			continue
		}
		if err != nil {
			return nil, status.Errorf(codes.Internal, "read volume %s: %v", r.GetVolumeId(), err)
		}
		usage, err := store.usage(ctx, v)
		if err != nil {
			return nil, status.Errorf(codes.Internal, "measure volume %s: %v", v.ID, err)
		}
		return &csi.NodeGetVolumeStatsResponse{Usage: usage}, nil
	}
	return nil, status.Errorf(codes.NotFound, "node %s has no directory of volume %s", n.Node, r.GetVolumeId())
}
