//go:build linux

package quota

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// kernel is a fake file system with project quotas.
type kernel struct {
	refuses  error
	unread   error // of Project
	projects map[string]uint32
	limits   map[uint32]int64
	used     map[uint32]int64
}

func (k *kernel) Enforced(string) error { return k.refuses }
func (k *kernel) Project(dir string) (uint32, error) {
	return k.projects[dir], k.unread
}
func (k *kernel) SetProject(dir string, id uint32) error { k.projects[dir] = id; return nil }
func (k *kernel) Quota(_ string, id uint32) (int64, int64, error) {
	return k.limits[id], k.used[id], nil
}
func (k *kernel) SetLimit(_ string, id uint32, limit int64) error { k.limits[id] = limit; return nil }

func newKernel() *kernel {
	return &kernel{projects: map[string]uint32{}, limits: map[uint32]int64{}, used: map[uint32]int64{}}
}

func TestLimit(t *testing.T) {
	k := newKernel()
	l := Limiter{Dir: "/", Kernel: k}
	if err := l.Limit("/a", 1<<20); err != nil {
		t.Fatal(err)
	}
	a := k.projects["/a"]
	if a < firstProject || k.limits[a] != 1<<20 {
		t.Fatalf("project %d has limit %d", a, k.limits[a])
	}
	if err := l.Limit("/a", 2<<20); err != nil { // grows
		t.Fatal(err)
	}
	if k.projects["/a"] != a || k.limits[a] != 2<<20 || len(k.limits) != 1 {
		t.Errorf("after growing: projects %v, limits %v", k.projects, k.limits)
	}
	k.used[a] = 4711
	if used, ok := l.Used("/a"); used != 4711 || !ok {
		t.Errorf("used %d, %v", used, ok)
	}
	if err := l.Forget("/a"); err != nil || k.limits[a] != 0 {
		t.Errorf("after forgetting: %v, limit %d", err, k.limits[a])
	}
}

// Volumes of several nodes may share a file system, so a project in use must not be taken.
func TestProjectsAreNotShared(t *testing.T) {
	k := newKernel()
	l := Limiter{Dir: "/", Kernel: k}
	if err := l.Limit("/a", 1<<20); err != nil {
		t.Fatal(err)
	}
	taken := k.projects["/a"]
	for _, how := range []map[uint32]int64{k.limits, k.used} {
		clear(k.limits)
		clear(k.used)
		delete(k.projects, "/a")
		how[taken] = 1 // by a directory of the same name on another node
		if err := l.Limit("/a", 1<<20); err != nil {
			t.Fatal(err)
		}
		if k.projects["/a"] == taken {
			t.Error("took a project that is in use")
		}
	}
}

// An error must not look like a directory without a limit, whose limit would then stay in the file system forever.
func TestForgetReportsErrors(t *testing.T) {
	k := newKernel()
	l := Limiter{Dir: "/", Kernel: k}
	k.unread = os.ErrNotExist
	if err := l.Forget("/a"); err != nil {
		t.Errorf("forget a missing directory: %v", err)
	}
	k.unread = os.ErrPermission
	if err := l.Forget("/a"); !errors.Is(err, os.ErrPermission) {
		t.Errorf("forget: %v, want %v", err, os.ErrPermission)
	}
}

func TestUnsupported(t *testing.T) {
	k := newKernel()
	k.refuses = ErrUnsupported
	l := Limiter{Dir: "/", Kernel: k}
	if err := l.Limit("/a", 1); !errors.Is(err, ErrUnsupported) {
		t.Errorf("limit: %v", err)
	}
	if err := l.Forget("/a"); err != nil {
		t.Errorf("forget: %v", err)
	}
	if _, ok := l.Used("/a"); ok {
		t.Error("use is reported without quotas")
	}
}

// The sizes of the kernel's structures.
func TestLayout(t *testing.T) {
	for name, size := range map[string][2]uintptr{
		"fsxattr":       {unsafe.Sizeof(attributes{}), 28},
		"fs_quota_stat": {unsafe.Sizeof(state{}), 80},
		"fs_disk_quota": {unsafe.Sizeof(limits{}), 112},
	} {
		if size[0] != size[1] {
			t.Errorf("%s has %d bytes, want %d", name, size[0], size[1])
		}
	}
}

// TestLinux uses the file system of the machine: limits are either enforced or unsupported.
func TestLinux(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "v")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	l := Of(dir)
	err := l.Limit(dir, 1<<20)
	if errors.Is(err, ErrUnsupported) {
		t.Logf("limits are not enforced here: %v", err)
		if used, ok := l.Used(dir); ok {
			t.Errorf("used %d of a directory without quota", used)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Forget(dir) })
	if limit, _, err := (Linux{}).Quota(dir, must(Linux{}.Project(dir))); err != nil || limit != 1<<20 {
		t.Errorf("limit %d, %v", limit, err)
	}
	err = os.WriteFile(filepath.Join(dir, "big"), make([]byte, 2<<20), 0o600)
	if os.Geteuid() != 0 && !errors.Is(err, unix.EDQUOT) && !errors.Is(err, unix.ENOSPC) {
		t.Errorf("write 2 MiB into 1 MiB: %v", err)
	}
}

func must(id uint32, _ error) uint32 { return id }
