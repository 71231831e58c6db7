//go:build linux

package clone

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// must fails the test at the first error.
func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, text string, mode fs.FileMode) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(text), 0o600), os.Chmod(path, mode)) //nolint:gosec // modes are what is tested
}

// pair returns a directory to copy and one to copy it to.
func pair(t *testing.T) (source, target string) {
	t.Helper()
	dir := t.TempDir()
	source, target = filepath.Join(dir, "source"), filepath.Join(dir, "target")
	must(t, os.Mkdir(source, 0o755), os.Mkdir(target, 0o700))
	return source, target
}

// describe returns a line about each entry below dir: everything of it that a copy keeps.
func describe(t *testing.T, dir string) string {
	t.Helper()
	inodes, lines := map[uint64]int{}, []string{}
	must(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		var s unix.Stat_t
		if err := unix.Lstat(path, &s); err != nil {
			return err
		}
		number, seen := inodes[s.Ino]
		if !seen {
			number = len(inodes)
			inodes[s.Ino] = number
		}
		line := fmt.Sprintf("%s #%d mode %o owner %d:%d device %x time %d.%09d", rel, number, s.Mode, s.Uid, s.Gid, s.Rdev, s.Mtim.Sec, s.Mtim.Nsec)
		switch s.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %d bytes %q", len(data), strings.Trim(string(data), "\x00"))
		case unix.S_IFLNK:
			to, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += " to " + to
		}
		value := make([]byte, 100)
		if n, err := unix.Lgetxattr(path, "user.kl", value); err == nil {
			line += " user.kl " + string(value[:n])
		}
		lines = append(lines, line)
		return nil
	}))
	return strings.Join(lines, "\n")
}

func TestTree(t *testing.T) {
	source, target := pair(t)
	file := filepath.Join(source, "dir", "file")
	must(t, os.Mkdir(filepath.Join(source, "dir"), 0o700), os.Chmod(filepath.Join(source, "dir"), 0o1777|fs.ModeSticky))
	write(t, file, "text", 0o640)
	write(t, filepath.Join(source, "setuid"), "", 0o755|fs.ModeSetuid)
	must(t,
		os.Link(file, filepath.Join(source, "second name")),
		os.Symlink("/etc/passwd", filepath.Join(source, "outside")),
		os.Symlink("../dir", filepath.Join(source, "dir", "around")),
		unix.Mkfifo(filepath.Join(source, "pipe"), 0o622),
		unix.Mknod(filepath.Join(source, "socket"), unix.S_IFSOCK|0o600, 0),
		os.Mkdir(filepath.Join(source, "empty"), 0o500),
		os.Chtimes(file, time.Time{}, time.Unix(1e9, 123456789)),
		os.Chtimes(filepath.Join(source, "dir"), time.Time{}, time.Unix(1e9, 1)),
	)
	sparse, err := os.Create(filepath.Join(source, "sparse"))
	must(t, err)
	_, err = sparse.WriteAt([]byte("end"), 64<<20)
	must(t, err, sparse.Truncate(65<<20), sparse.Close())
	if err := unix.Setxattr(file, "user.kl", []byte("value"), 0); err != nil {
		t.Logf("EXTENDED ATTRIBUTES ARE NOT TESTED: %v", err)
	}
	if os.Getuid() == 0 {
		must(t, os.Lchown(file, 1234, 5678), os.Lchown(filepath.Join(source, "outside"), 1, 2),
			unix.Mknod(filepath.Join(source, "null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	} else {
		t.Log("OWNERS AND DEVICES ARE NOT TESTED: they need root")
	}
	changed, err := Tree(t.Context(), source, target)
	if err != nil || len(changed) > 0 {
		t.Fatalf("changed %v, %v", changed, err)
	}
	if d := cmp.Diff(describe(t, source), describe(t, target)); d != "" {
		t.Errorf("copy (-source +copy):\n%s", d)
	}
	var s unix.Stat_t
	must(t, unix.Stat(filepath.Join(target, "sparse"), &s))
	if s.Size != 65<<20 || s.Blocks*512 > 1<<20 {
		t.Errorf("the copy of a sparse file takes %d bytes", s.Blocks*512)
	}
}

// What changes between two passes is copied again; here each pass finds what a step before it did.
func TestChangesBetweenPasses(t *testing.T) {
	source, target := pair(t)
	must(t, os.Mkdir(filepath.Join(source, "dir"), 0o755), os.Mkdir(filepath.Join(source, "becomes file"), 0o755))
	for _, name := range []string{"dir/changes", "dir/goes", "dir/stays", "becomes dir", "becomes file/inner", "moves"} {
		write(t, filepath.Join(source, name), "old", 0o600)
	}
	<-time.After(2 * tick) // else all are copied twice
	from, err := openDir(unix.AT_FDCWD, source)
	must(t, err)
	to, err := openDir(unix.AT_FDCWD, target)
	must(t, err)
	root, err := statFile(from)
	must(t, err)
	c := &copier{device: root.Dev, target: to, done: map[string]stamp{}}
	pass := func() string {
		c.copied, c.links = map[string]bool{}, map[uint64]string{}
		must(t, c.dir(t.Context(), from, to, "."))
		return strings.Join(slices.Sorted(maps.Keys(c.copied)), "\n")
	}
	pass()
	in := func(name string) string { return filepath.Join(source, name) }
	write(t, in("dir/changes"), "new", 0o600)
	must(t, os.Remove(in("dir/goes")), os.Remove(in("becomes dir")), os.Mkdir(in("becomes dir"), 0o755),
		os.RemoveAll(in("becomes file")), os.Rename(in("moves"), in("dir/moved")))
	write(t, in("becomes dir/inner"), "new", 0o600)
	write(t, in("becomes file"), "new", 0o600)
	<-time.After(2 * tick)
	want := strings.Join([]string{
		"becomes dir", "becomes dir/inner", "becomes file", "dir/changes", "dir/goes", "dir/moved", "moves",
	}, "\n")
	if d := cmp.Diff(want, pass()); d != "" {
		t.Errorf("copied again (-want +got):\n%s", d)
	}
	if d := cmp.Diff(describe(t, source), describe(t, target)); d != "" {
		t.Errorf("copy (-source +copy):\n%s", d)
	}
	if got := pass(); got != "" {
		t.Errorf("a pass without changes copied %s", got)
	}
	must(t, from.Close(), to.Close())
}

// A file that is written to all the time is named, and the copy ends all the same.
func TestRestless(t *testing.T) {
	source, target := pair(t)
	write(t, filepath.Join(source, "quiet"), "text", 0o600)
	log := filepath.Join(source, "log")
	write(t, log, "", 0o600)
	passes := 0
	changed, err := tree(t.Context(), source, target, func() {
		passes++
		write(t, log, strings.Repeat("line\n", passes), 0o600)
	})
	if err != nil || passes != Passes {
		t.Fatalf("%d passes, %v", passes, err)
	}
	if d := cmp.Diff([]string{"log"}, changed); d != "" {
		t.Errorf("changed (-want +got):\n%s", d)
	}
	if text, err := os.ReadFile(filepath.Join(target, "quiet")); err != nil || string(text) != "text" {
		t.Errorf("quiet file: %q, %v", text, err)
	}
}

// A directory or file that a pod replaces by a symbolic link after it was looked at does not lead out.
func TestLinksLeadNowhere(t *testing.T) {
	source, target := pair(t)
	secret := t.TempDir()
	write(t, filepath.Join(secret, "file"), "secret", 0o600)
	from, err := openDir(unix.AT_FDCWD, source)
	must(t, err)
	defer from.Close()
	to, err := openDir(unix.AT_FDCWD, target)
	must(t, err)
	defer to.Close()
	var dir, file unix.Stat_t
	must(t, unix.Stat(secret, &dir), unix.Stat(filepath.Join(secret, "file"), &file),
		os.Symlink(secret, filepath.Join(source, "dir")), os.Symlink(filepath.Join(secret, "file"), filepath.Join(source, "file")))
	c := &copier{device: dir.Dev, target: to, done: map[string]stamp{}, copied: map[string]bool{}, links: map[uint64]string{}}
	if err := c.subdir(t.Context(), from, to, "dir", "dir", dir, false); err != nil {
		t.Errorf("directory: %v", err)
	}
	if err := c.leaf(t.Context(), from, to, "file", "file", file); !errors.Is(err, errOther) {
		t.Errorf("file: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(target, "*", "*")); err != nil || len(left) > 0 {
		t.Errorf("copied %v, %v", left, err)
	}
	if _, err := os.Lstat(filepath.Join(target, "file")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file was made: %v", err)
	}
}

func TestCancelled(t *testing.T) {
	source, target := pair(t)
	write(t, filepath.Join(source, "file"), "text", 0o600)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Tree(ctx, source, target); !errors.Is(err, context.Canceled) {
		t.Errorf("tree: %v", err)
	}
	if _, err := File(ctx, filepath.Join(source, "file"), filepath.Join(target, "file")); !errors.Is(err, context.Canceled) {
		t.Errorf("file: %v", err)
	}
}

// TestFull copies to a file system that is too small.
func TestFull(t *testing.T) {
	source, target := pair(t)
	if err := unix.Mount("none", target, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("A FULL FILE SYSTEM IS NOT TESTED: cannot mount here: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(target, unix.MNT_DETACH) })
	write(t, filepath.Join(source, "big"), strings.Repeat("x", 2<<20), 0o600)
	if _, err := Tree(t.Context(), source, target); !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "big") {
		t.Errorf("tree: %v", err)
	}
	if _, err := File(t.Context(), filepath.Join(source, "big"), filepath.Join(target, "file")); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("file: %v", err)
	}
}

// TestShared copies on xfs, whose files can share data.
func TestShared(t *testing.T) {
	dir := t.TempDir()
	image, mount := filepath.Join(dir, "image"), filepath.Join(dir, "mount")
	must(t, os.Mkdir(mount, 0o755))
	write(t, image, "", 0o600)
	must(t, os.Truncate(image, 320<<20))
	for _, command := range [][]string{{"mkfs.xfs", "-q", image}, {"mount", "-o", "loop", image, mount}} {
		if out, err := exec.CommandContext(t.Context(), command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Skipf("SHARED DATA IS NOT TESTED: it needs root, xfs, mkfs.xfs and loop devices: %v: %s", err, out)
		}
	}
	t.Cleanup(func() { _ = unix.Unmount(mount, unix.MNT_DETACH) })
	must(t, Shares(mount))
	big := filepath.Join(mount, "big")
	write(t, big, strings.Repeat("x", 16<<20), 0o600)
	var before, after unix.Statfs_t
	must(t, unix.Statfs(mount, &before))
	shared, err := File(t.Context(), big, filepath.Join(mount, "copy"))
	must(t, err, unix.Statfs(mount, &after))
	if used := int64(before.Bfree-after.Bfree) * before.Bsize; !shared || used > 4<<20 {
		t.Errorf("the copy takes %d bytes, shared %v", used, shared)
	}
	if err := Shares(dir); err == nil {
		t.Log("the file system of temporary files shares data, too")
	}
}

// A directory that is removed while it is copied is an error, not an empty copy.
func TestRemoved(t *testing.T) {
	source, target := pair(t)
	from, err := os.Open(source)
	must(t, err, os.Remove(source))
	defer from.Close()
	if changed, err := Tree(t.Context(), fmt.Sprintf("/proc/self/fd/%d/.", from.Fd()), target); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("changed %v, %v", changed, err)
	}
}
