//go:build linux

package loop

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// disk returns a file to attach, or skips the test where devices cannot be attached.
func disk(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kl-loop-test")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := attach(path)
	if err != nil {
		t.Skipf("LOOP DEVICES ARE NOT TESTED: they need root and the kernel's loop driver: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	detached(t, path)
	return path
}

// detached waits until a file is not attached: the kernel detaches after the last close.
func detached(t *testing.T, path string) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		is, err := Attached(path)
		if err != nil {
			t.Fatal(err)
		}
		if !is {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is still attached", path)
		}
	}
}

func size(t *testing.T, d *os.File) int64 {
	t.Helper()
	n, err := d.Seek(0, 2)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestAttach(t *testing.T) {
	path := disk(t)
	one, err := Attach(path)
	if err != nil {
		t.Fatal(err)
	}
	two, err := Attach(path)
	if err != nil {
		t.Fatal(err)
	}
	if one.Name() != two.Name() {
		t.Errorf("one file is attached twice: %s and %s", one.Name(), two.Name())
	}
	other := disk(t) // of the same name, elsewhere
	three, err := Attach(other)
	if err != nil || three.Name() == one.Name() {
		t.Errorf("another file: %v, %v", three, err)
	}
	if err := three.Close(); err != nil {
		t.Error(err)
	}
	text := []byte("written through the device")
	if _, err := one.WriteAt(text, 4096); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 2<<20); err != nil {
		t.Fatal(err)
	}
	if err := Grow(path); err != nil || size(t, two) != 2<<20 {
		t.Errorf("grown device has %d bytes, %v", size(t, two), err)
	}
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	if is, err := Attached(path); err != nil || !is {
		t.Errorf("attached while open: %v, %v", is, err)
	}
	if err := two.Close(); err != nil {
		t.Fatal(err)
	}
	detached(t, path)
	if data, err := os.ReadFile(path); err != nil || !bytes.Equal(data[4096:4096+len(text)], text) {
		t.Errorf("the file does not hold what was written: %v", err)
	}
}

// What the kubelet attaches stays without it, and goes with the process that holds it, however that ends.
func TestLosetup(t *testing.T) {
	for name, release := range map[string]func(device string) error{
		"detached": func(device string) error { return Losetup([]string{"-d", device}) },
		"killed": func(device string) error {
			fds, _ := filepath.Glob("/proc/[0-9]*/fd/3")
			for _, fd := range fds {
				if target, _ := os.Readlink(fd); target == device {
					return exec.Command("kill", "-9", strings.Split(fd, "/")[2]).Run()
				}
			}
			return errors.New("nothing holds it")
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := disk(t)
			below, err := Attach(path)
			if err != nil {
				t.Fatal(err)
			}
			defer below.Close()
			lock := filepath.Join(t.TempDir(), "kl-lock-test")
			var s unix.Stat_t
			if err := errors.Join(unix.Fstat(int(below.Fd()), &s), unix.Mknod(lock, unix.S_IFBLK|0o600, int(s.Rdev))); err != nil {
				t.Fatal(err)
			}
			if err := Losetup([]string{"-f", lock}); err != nil {
				t.Fatal(err)
			}
			devices, err := attached(lock)
			if err != nil || len(devices) != 1 {
				t.Fatalf("devices of the lock: %v, %v", devices, err)
			}
			device := devices[0].Name()
			if err := errors.Join(closeAll(devices), below.Close()); err != nil {
				t.Fatal(err)
			}
			if is, err := Attached(path); err != nil || !is {
				t.Errorf("the lock does not keep the device: %v, %v", is, err)
			}
			if err := release(device); err != nil {
				t.Fatal(err)
			}
			detached(t, lock)
			detached(t, path)
		})
	}
}

func TestBadUse(t *testing.T) {
	for _, args := range [][]string{nil, {"-f"}, {"-a"}, {"-d", "/dev/loop0", "x"}} {
		if err := Losetup(args); err == nil || !strings.Contains(err.Error(), "usage") {
			t.Errorf("%v: %v", args, err)
		}
	}
	if _, err := Attach(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// Without the device or the right to it, the error says what is missing. It becomes an event of the claim.
func TestNotPermitted(t *testing.T) {
	dir, err := os.MkdirTemp("", "kl-loop") // t.TempDir is not for everybody
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "file")
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chmod(path, 0o666), os.Chmod(dir, 0o755)); err != nil { //nolint:gosec // on purpose
		t.Fatal(err)
	}
	refused := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread, which alone becomes nobody's, ends with the goroutine
		const nobody = 65534
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, nobody, nobody, nobody); errno != 0 && os.Getuid() == 0 {
			refused <- errno
			return
		}
		_, err := Attach(path)
		refused <- err
	}()
	err = <-refused
	if want := "block volumes need the kernel's loop driver (modprobe loop) and privileged nodes: "; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestShadow(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bin")
	t.Setenv("PATH", os.Getenv("PATH"))
	for range 2 {
		if err := Shadow(dir, "/bin/echo"); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command("losetup", "-f", "a b").CombinedOutput()
	if err != nil || string(out) != "losetup -f a b\n" {
		t.Errorf("%q, %v", out, err)
	}
	if !slices.Contains(filepath.SplitList(os.Getenv("PATH")), dir) {
		t.Error("PATH is lost")
	}
}
