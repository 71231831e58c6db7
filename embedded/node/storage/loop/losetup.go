//go:build linux

package loop

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Before it starts a pod, the kubelet attaches a second loop device to the pod's block device, so that this one stays while the
// kubelet restarts. It uses the program losetup, whose devices outlive the node: Losetup is put in its place.
const (
	holder     = "sleep"
	forever    = "2147483647" // seconds
	holderFD   = 3            // the first after the standard ones: exec.Cmd.ExtraFiles
	endTimeout = 5 * time.Second
)

// Losetup is what the kubelet uses of the program losetup. A device that it attaches stays until it is detached by Losetup, or
// the node ends.
//
//	losetup -f FILE     attaches a file or device
//	losetup -d DEVICE   detaches it
func Losetup(args []string) error {
	if len(args) == 2 && args[0] == "-f" {
		device, err := attach(args[1])
		if err != nil {
			return err
		}
		return errors.Join(hold(device), device.Close())
	}
	if len(args) == 2 && args[0] == "-d" {
		return detach(args[1])
	}
	return errors.New("usage: losetup -f FILE, or losetup -d DEVICE")
}

// Shadow makes the programs that this process starts use Losetup: it writes a program losetup that calls engine into dir, and
// puts dir first in PATH.
func Shadow(dir, engine string) error {
	script := "#!/bin/sh\nexec '" + engine + "' losetup \"$@\"\n"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "losetup"), []byte(script), 0o755); err != nil { //nolint:gosec // a program
		return err
	}
	return os.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

// hold starts a process that has the device open.
func hold(device *os.File) error {
	cmd := exec.Command(holder, forever) //nolint:noctx // it stays when this process ends
	cmd.ExtraFiles = []*os.File{device}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("hold %s: %w", device.Name(), err)
	}
	return cmd.Process.Release()
}

// detach ends the process that holds a device, with which the kernel detaches it.
func detach(device string) error {
	held, err := filepath.Glob("/proc/[0-9]*/fd/" + strconv.Itoa(holderFD))
	if err != nil {
		return err
	}
	for _, fd := range held {
		proc := filepath.Dir(filepath.Dir(fd))
		pid, err := strconv.Atoi(filepath.Base(proc))
		if err != nil {
			continue
		}
		if err := end(pid, func() bool {
			target, _ := os.Readlink(fd)
			args, _ := os.ReadFile(filepath.Join(proc, "cmdline"))
			return target == device && strings.HasSuffix(string(args), holder+"\x00"+forever+"\x00")
		}); err != nil {
			return fmt.Errorf("release %s: %w", device, err)
		}
	}
	return nil
}

// end kills a process, if it is the right one, and waits until it has gone.
func end(pid int, right func() bool) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if !right() { // asked once the descriptor stands for the process, whose number may be reused
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(endTimeout.Milliseconds()))
	if err == nil && n == 0 {
		err = fmt.Errorf("process %d did not end in %s after being killed", pid, endTimeout)
	}
	return err
}
