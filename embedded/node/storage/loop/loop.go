//go:build linux

// Package loop attaches files as block devices with the kernel's loop driver.
//
// Loop devices belong to the machine, not to a container: one that a killed node leaves would stay for ever. So every device is
// attached with the kernel's autoclear flag, which detaches it when the last process closes it, and what needs a device keeps it
// open: a pod, the agent ([Attach]), or the process that [Losetup] starts for the kubelet. All of them end with the node.
//
//	device, err := loop.Attach("/kl/volumes/pvc-1/disk") // device.Name() is /dev/loop7
//	defer device.Close()                                 // detaches it, unless somebody else has it open
package loop

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	controlPath  = "/dev/loop-control"
	controlMajor = 10
	controlMinor = 237
	loopMajor    = 7
)

// Attach makes a block device of a file and returns it, open. A file that is attached already, in this node or another one, gets
// the same device, so that all nodes see the same data. The device is detached when nothing has it open.
func Attach(path string) (*os.File, error) {
	lock, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer lock.Close() // not the file that is attached: the kernel keeps that open, and its lock with it
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	devices, err := attached(path)
	if err != nil {
		return nil, err
	}
	if len(devices) > 0 {
		return devices[0], closeAll(devices[1:])
	}
	return attach(path)
}

// Attached reports whether a file is attached in any node of the machine.
func Attached(path string) (bool, error) {
	devices, err := attached(path)
	return len(devices) > 0, errors.Join(err, closeAll(devices))
}

// Flush writes to a file what was written to its devices and is not in the file yet.
func Flush(path string) error {
	devices, err := attached(path)
	for _, d := range devices {
		err = errors.Join(err, d.Sync())
	}
	return errors.Join(err, closeAll(devices))
}

// Grow makes the devices of a file as large as it is now.
func Grow(path string) error {
	devices, err := attached(path)
	for _, d := range devices {
		err = errors.Join(err, unix.IoctlSetInt(int(d.Fd()), unix.LOOP_SET_CAPACITY, 0))
	}
	return errors.Join(err, closeAll(devices))
}

func closeAll(files []*os.File) error {
	var errs []error
	for _, f := range files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// attach makes a new device of a file.
func attach(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	control, err := openNode(controlPath, unix.S_IFCHR, controlMajor, controlMinor)
	if err != nil {
		return nil, fmt.Errorf("block volumes need the kernel's loop driver (modprobe loop) and privileged nodes: %w", err)
	}
	defer control.Close()
	for {
		number, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("find a free loop device: %w", err)
		}
		device, err := open(number)
		if err != nil {
			return nil, err
		}
		err = unix.IoctlLoopConfigure(int(device.Fd()), &unix.LoopConfig{
			Fd: uint32(file.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR},
		})
		if err == nil {
			return device, nil
		}
		_ = device.Close()
		if !errors.Is(err, unix.EBUSY) { // otherwise somebody else was faster
			return nil, fmt.Errorf("attach %s to %s: %w", path, device.Name(), err)
		}
	}
}

// attached returns the devices of a file, open. Between the list and opening one, it can be detached and attached to another
// file: only what an open device says about itself is certain.
func attached(path string) ([]*os.File, error) {
	var want unix.Stat_t
	if err := unix.Stat(path, &want); err != nil {
		return nil, fmt.Errorf("stat %s: %w", path, err)
	}
	list, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return nil, err
	}
	var devices []*os.File
	for _, name := range list {
		text, err := os.ReadFile(name)
		backing := strings.TrimSuffix(strings.TrimSpace(string(text)), " (deleted)")
		if err != nil || filepath.Base(backing) != filepath.Base(path) { // the directories are those of another mount namespace
			continue
		}
		number, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(filepath.Dir(filepath.Dir(name))), "loop"))
		if err != nil {
			continue
		}
		device, err := open(number)
		if err != nil {
			return nil, errors.Join(err, closeAll(devices))
		}
		info, err := unix.IoctlLoopGetStatus64(int(device.Fd()))
		if err != nil || info.Device != want.Dev || info.Inode != want.Ino {
			_ = device.Close()
			continue
		}
		devices = append(devices, device)
	}
	return devices, nil
}

// open opens a loop device. A container's /dev has those that existed when it was started; others are made here.
func open(number int) (*os.File, error) {
	return openNode(fmt.Sprintf("/dev/loop%d", number), unix.S_IFBLK, loopMajor, uint32(number))
}

func openNode(path string, kind, major, minor uint32) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if !errors.Is(err, os.ErrNotExist) {
		return f, err
	}
	err = unix.Mknod(path, kind|0o600, int(unix.Mkdev(major, minor)))
	if err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("make %s: %w", path, err)
	}
	return os.OpenFile(path, os.O_RDWR, 0)
}
