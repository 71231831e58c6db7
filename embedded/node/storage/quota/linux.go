//go:build linux

package quota

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// From the kernel's include/uapi/linux: quota.h, dqblk_xfs.h, fs.h.
const (
	projectQuota = 2
	xGetQuota    = 'X'<<8 + 3
	xSetLimit    = 'X'<<8 + 4
	xGetState    = 'X'<<8 + 5

	stateCounted  = 1 << 4 // FS_QUOTA_PDQ_ACCT
	stateEnforced = 1 << 5 // FS_QUOTA_PDQ_ENFD

	quotaVersion = 1
	ofProject    = 2      // FS_PROJ_QUOTA
	hardBlocks   = 1 << 3 // FS_DQ_BHARD
	softBlocks   = 1 << 2 // FS_DQ_BSOFT
	block        = 512    // limits are in basic blocks

	getAttributes = 0x801c581f // FS_IOC_FSGETXATTR
	setAttributes = 0x401c5820 // FS_IOC_FSSETXATTR
	inherit       = 0x200      // FS_XFLAG_PROJINHERIT
)

// attributes is struct fsxattr.
type attributes struct {
	flags, extentSize, extents, project, cowExtentSize uint32
	_                                                  [8]byte
}

// state is struct fs_quota_stat.
type state struct {
	version int8
	flags   uint16
	_       int8
	_       [2][3]uint64 // fs_qfilestat: inode, blocks, extents and padding
	_       uint32
	_       [3]int32
	_       [2]uint16
}

// limits is struct fs_disk_quota.
type limits struct {
	version                              int8
	kind                                 int8
	fields                               uint16
	id                                   uint32
	hardBlocks, softBlocks               uint64
	hardInodes, softInodes               uint64
	blocks, inodes                       uint64
	inodeTimer, blockTimer               int32
	inodeWarnings, blockWarnings         uint16
	inodeTimerHigh, blockTimerHigh       int8
	realtimeTimerHigh, _                 int8
	realtimeHard, realtimeSoft, realtime uint64
	realtimeTimer                        int32
	realtimeWarnings                     uint16
	_                                    int16
	_                                    [8]byte
}

// quotactl is quotactl_fd(2) for the file system of fd. Unlike quotactl(2) it does not need the path of the device, which may
// not exist in a container.
func quotactl(fd int, command int, id uint32, data unsafe.Pointer) error {
	_, _, errno := unix.Syscall6(unix.SYS_QUOTACTL_FD, uintptr(fd), uintptr(uint32(command)<<8|projectQuota), uintptr(id), uintptr(data), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// Enforced implements Kernel.
func (Linux) Enforced(dir string) error {
	return withDir(dir, func(fd int) error {
		var s state
		err := quotactl(fd, xGetState, 0, unsafe.Pointer(&s))
		switch {
		case errors.Is(err, unix.ENOSYS) && s.flags == 0:
			return fmt.Errorf("%w: it has no quota, or the kernel is older than 5.14", ErrUnsupported)
		case err != nil:
			return fmt.Errorf("%w: %w", ErrUnsupported, err)
		case s.flags&stateCounted == 0:
			return fmt.Errorf("%w: it is not mounted with prjquota", ErrUnsupported)
		case s.flags&stateEnforced == 0:
			return fmt.Errorf("%w: it counts usage without enforcing limits", ErrUnsupported)
		}
		return nil
	})
}

// Project implements Kernel.
func (Linux) Project(dir string) (id uint32, err error) {
	err = withDir(dir, func(fd int) error {
		a, err := readAttributes(fd)
		id = a.project
		return err
	})
	return id, err
}

// SetProject implements Kernel.
func (Linux) SetProject(dir string, id uint32) error {
	return withDir(dir, func(fd int) error {
		a, err := readAttributes(fd)
		if err != nil {
			return err
		}
		a.project, a.flags = id, a.flags|inherit
		return ioctl(fd, setAttributes, unsafe.Pointer(&a))
	})
}

func readAttributes(fd int) (attributes, error) {
	var a attributes
	return a, ioctl(fd, getAttributes, unsafe.Pointer(&a))
}

func ioctl(fd int, request uintptr, data unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(data)); errno != 0 {
		return errno
	}
	return nil
}

// Quota implements Kernel.
func (Linux) Quota(dir string, id uint32) (limit, used int64, err error) {
	err = withDir(dir, func(fd int) error {
		var q limits
		err := quotactl(fd, xGetQuota, id, unsafe.Pointer(&q))
		if errors.Is(err, unix.ENOENT) { // xfs has no record of the project
			return nil
		}
		limit, used = int64(q.hardBlocks)*block, int64(q.blocks)*block
		return err
	})
	return limit, used, err
}

// SetLimit implements Kernel.
func (Linux) SetLimit(dir string, id uint32, limit int64) error {
	return withDir(dir, func(fd int) error {
		blocks := uint64(limit+1023) / 1024 * 2
		q := limits{version: quotaVersion, kind: ofProject, fields: hardBlocks | softBlocks, id: id, hardBlocks: blocks, softBlocks: blocks}
		return quotactl(fd, xSetLimit, id, unsafe.Pointer(&q))
	})
}
