//go:build e2e

package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
)

// diskCommand gives $KL_HOME a disk of its own:
//
//	disk SIZE  makes a file system of that size, as truncate(1) takes it, with nothing but the payload that all homes share
//	disk fill  takes every free byte, and every inode
//	disk free  gives them back
func diskCommand(ts *testscript.TestScript, _ bool, args []string) {
	home := ts.Getenv("KL_HOME")
	ballast := filepath.Join(home, "ballast")
	switch {
	case len(args) != 1:
		ts.Fatalf("usage: disk SIZE|fill|free")
	case args[0] == "fill":
		ts.Check(fill(ballast))
	case args[0] == "free":
		ts.Check(os.RemoveAll(ballast))
	default:
		makeDisk(ts, home, args[0])
	}
}

func makeDisk(ts *testscript.TestScript, home, size string) {
	image := ts.MkAbs("disk.img")
	payload, err := os.Readlink(filepath.Join(home, "payload"))
	ts.Check(err)
	ts.Check(ts.Exec("truncate", "-s", size, image))
	ts.Check(ts.Exec("mkfs.ext4", "-q", "-m", "0", "-N", "30000", image)) // -m 0: nothing is reserved for root
	ts.Check(ts.Exec("mount", "-o", "loop", image, home))
	s := scriptOf(ts)
	ts.Defer(func() { // before the script's own clean-up, which removes the directory
		if s.t.Failed() {
			showLogs(s.t, home)
		}
		_ = os.RemoveAll(filepath.Join(home, "ballast"))
		if err := ts.Exec("kl", "down", "--name", ts.Getenv("CLUSTER")); err != nil {
			s.t.Errorf("clean up: kl down: %v", err)
		}
		if text, err := exec.Command("umount", home).CombinedOutput(); err != nil {
			s.t.Errorf("clean up: %v: %s", err, text)
			_ = exec.Command("umount", "-l", home).Run()
		}
	})
	ts.Check(os.RemoveAll(filepath.Join(home, "lost+found")))
	ts.Check(os.Symlink(payload, filepath.Join(home, "payload")))
}

// fill makes a directory of files that take all of the free space.
func fill(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(dir, "bytes"))
	if err != nil {
		return err
	}
	defer f.Close()
	for i := 0; ; i++ {
		g, err := os.Create(filepath.Join(dir, strconv.Itoa(i)))
		if errors.Is(err, syscall.ENOSPC) {
			break
		}
		if err != nil {
			return err
		}
		g.Close()
	}
	for size := int64(1 << 30); size >= 4<<10; {
		info, err := f.Stat()
		if err != nil {
			return err
		}
		switch err := syscall.Fallocate(int(f.Fd()), 0, info.Size(), size); {
		case errors.Is(err, syscall.ENOSPC):
			size /= 2
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return err
		}
	}
	return f.Sync()
}
