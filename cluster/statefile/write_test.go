package statefile_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/klkube/kl/cluster/statefile"
)

func ExampleWrite() {
	dir, _ := os.MkdirTemp("", "")
	defer os.RemoveAll(dir)
	_ = os.Symlink("target", filepath.Join(dir, "link"))
	fmt.Println(statefile.Write(filepath.Join(dir, "link"), []byte("content"), 0o600))
	data, _ := os.ReadFile(filepath.Join(dir, "target"))
	fmt.Printf("%s\n", data)
	// Output:
	// <nil>
	// content
}

func TestWrite(t *testing.T) {
	for _, tt := range []struct {
		name string
		make func(dir string) error // makes what is at dir/file
		at   string                 // the file that holds the content afterwards; empty means file
		mode fs.FileMode
	}{
		{name: "no file", make: func(string) error { return nil }, mode: 0o600},
		{name: "a file keeps its mode", make: func(dir string) error { return put(dir+"/file", 0o640) }, mode: 0o640},
		{name: "a long name", make: func(string) error { return nil }, at: strings.Repeat("n", 255), mode: 0o600},
		{name: "a link to a file", at: "real", mode: 0o640, make: func(dir string) error {
			return errors.Join(put(dir+"/real", 0o640), os.Symlink("real", dir+"/file"))
		}},
		{name: "a dangling link", at: "real", mode: 0o600, make: func(dir string) error {
			return os.Symlink(dir+"/real", dir+"/file")
		}},
		{name: "a chain of links that dangles", at: "sub/real", mode: 0o600, make: func(dir string) error {
			return errors.Join(os.Mkdir(dir+"/sub", 0o700), os.Symlink("sub/second", dir+"/file"), os.Symlink("real", dir+"/sub/second"))
		}},
		{name: "a link through the parent of a linked directory", at: "sub/real", mode: 0o600, make: func(dir string) error {
			return errors.Join(os.MkdirAll(dir+"/sub/deep", 0o700), os.Symlink("sub/deep", dir+"/short"), os.Symlink("short/../real", dir+"/file"))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			must(t, tt.make(dir))
			file, at := filepath.Join(dir, "file"), filepath.Join(dir, "file")
			if tt.at != "" {
				at = filepath.Join(dir, tt.at)
			}
			if len(tt.at) > 200 {
				file = at
			}
			was, _ := os.Readlink(file)
			must(t, statefile.Check(file))
			for _, text := range []string{"one", "two"} {
				must(t, statefile.Write(file, []byte(text), 0o600))
				data, err := os.ReadFile(at)
				info, serr := os.Lstat(at)
				if err != nil || serr != nil || string(data) != text || info.Mode() != tt.mode {
					t.Fatalf("%s holds %q (%v), mode %v, want %s with mode %v", at, data, err, info.Mode(), text, tt.mode)
				}
			}
			if is, _ := os.Readlink(file); is != was {
				t.Errorf("the link leads to %q, want %q", is, was)
			}
			checkNoTemp(t, dir)
		})
	}
}

// A temporary file of a writer that was killed is removed by the next one, at once; that of a writer at work is not, nor is another file.
func TestWriteSweeps(t *testing.T) {
	dir := t.TempDir()
	left := map[string]bool{".file-" + strings.Repeat("A", 26): false, ".file-" + strings.Repeat("B", 26): true, ".file-old": true, ".filed-" + strings.Repeat("A", 26): true}
	for name := range left {
		must(t, put(filepath.Join(dir, name), 0o600))
	}
	working, err := os.Open(filepath.Join(dir, ".file-"+strings.Repeat("B", 26)))
	must(t, err)
	defer working.Close()
	must(t, syscall.Flock(int(working.Fd()), syscall.LOCK_EX))
	must(t, statefile.Write(filepath.Join(dir, "file"), nil, 0o600))
	for name, want := range left {
		if _, err := os.Stat(filepath.Join(dir, name)); (err == nil) != want {
			t.Errorf("%s: %v, want it there: %t", name, err, want)
		}
	}
}

// Writers of one file do not take each other's temporary files for ones that were left.
func TestWritersAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if err := statefile.Write(path, []byte("whole"), 0o600); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	checkNoTemp(t, filepath.Dir(path))
}

// What is not a regular file, and what is read-only, stays as it is, and Check says so beforehand.
func TestWriteRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		make func(path string) error
		want string
	}{
		"a directory":           {func(p string) error { return os.Mkdir(p, 0o700) }, "is a directory, not a regular file"},
		"a pipe":                {func(p string) error { return syscall.Mkfifo(p, 0o600) }, "is a named pipe, not a regular file"},
		"a socket":              {func(p string) error { return syscall.Mknod(p, syscall.S_IFSOCK|0o600, 0) }, "is a socket, not a regular file"},
		"a device":              {mknodNull, "is a character device, not a regular file"},
		"a link to a pipe":      {func(p string) error { return errors.Join(syscall.Mkfifo(p+"2", 0o600), os.Symlink(p+"2", p)) }, "is a named pipe"},
		"links in a circle":     {func(p string) error { return os.Symlink(p, p) }, "too many levels of symbolic links"},
		"a read-only file":      {func(p string) error { return put(p, 0o400) }, "is read-only (mode 0400)"},
		"a read-only directory": {func(p string) error { return os.Chmod(filepath.Dir(p), 0o500) }, "is read-only (mode 0500)"},
		"a file as directory": {func(p string) error {
			return errors.Join(os.Remove(filepath.Dir(p)), put(filepath.Dir(p), 0o600))
		}, "not a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "dir")
			must(t, os.Mkdir(dir, 0o700))
			t.Cleanup(func() { _ = os.Chmod(dir, 0o700) })
			path := filepath.Join(dir, "file")
			if err := tt.make(path); errors.Is(err, syscall.EPERM) {
				t.Skip("SKIPPED: only root can make devices")
			} else if err != nil {
				t.Fatal(err)
			}
			before := describe(dir)
			for what, err := range map[string]error{"Check": statefile.Check(path), "Write": statefile.Write(path, []byte("x"), 0o600)} {
				if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path) {
					t.Errorf("%s returned %v, want an error with %s and %q", what, err, path, tt.want)
				}
			}
			if after := describe(dir); after != before {
				t.Errorf("the directory has changed:\n%s\nwas\n%s", after, before)
			}
			if _, err := statefile.Read(path); err == nil && name != "a read-only file" {
				t.Error("Read read it")
			}
		})
	}
}

func TestCheckOfDirectoriesThatAreMissing(t *testing.T) {
	dir := t.TempDir()
	if err := statefile.Check(filepath.Join(dir, "a/b/file")); err != nil {
		t.Error(err)
	}
	must(t, os.Chmod(dir, 0o500))
	defer func() { _ = os.Chmod(dir, 0o700) }()
	if err := statefile.Check(filepath.Join(dir, "a/b/file")); err == nil {
		t.Error("nothing can be made in a read-only directory")
	}
}

func TestReplaceDoesNotFollowLinks(t *testing.T) {
	dir := t.TempDir()
	must(t, put(dir+"/precious", 0o600))
	must(t, os.Symlink("precious", dir+"/file"))
	must(t, statefile.Replace(dir+"/file", []byte("new"), 0o600))
	if got := describe(dir); got != "file -rw------- new\nprecious -rw------- old\n" {
		t.Error(got)
	}
}

// Root's changes leave a user's files to the user, and what root makes beside them is the user's, too.
func TestOwners(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: only root can give files away")
	}
	const user, group = 12345, 23456
	dir := t.TempDir()
	must(t, os.Chown(dir, user, group))
	must(t, put(dir+"/file", 0o640))
	must(t, os.Chown(dir+"/file", user, group+1))
	must(t, statefile.Write(dir+"/file", []byte("x"), 0o600))
	checkOwner(t, dir+"/file", user, group+1)
	must(t, statefile.Write(dir+"/new", []byte("x"), 0o600))
	checkOwner(t, dir+"/new", user, group)
	must(t, statefile.MkdirAll(dir+"/a/b", 0o700))
	checkOwner(t, dir+"/a/b", user, group)

	for name, open := range map[string]func(string) error{"lock": takeLock, "log": appendLine} {
		must(t, open(dir+"/"+name))
		checkOwner(t, dir+"/"+name, user, group)
	}

	// A user's link must not make root write elsewhere.
	other := t.TempDir()
	must(t, put(other+"/precious", 0o600))
	for name, target := range map[string]string{"there": other + "/precious", "missing": other + "/new"} {
		must(t, os.Symlink(target, dir+"/"+name))
		must(t, os.Lchown(dir+"/"+name, user, group))
		if err := statefile.Write(dir+"/"+name, []byte("x"), 0o600); err == nil || !strings.Contains(err.Error(), "is a link of user 12345 to what belongs to root") {
			t.Errorf("Write through %s returned %v", name, err)
		}
	}
	for name, open := range map[string]func(string) error{"lock": takeLock, "log": appendLine} {
		must(t, os.Remove(dir+"/"+name))
		must(t, os.Symlink(other+"/precious", dir+"/"+name))
		if err := open(dir + "/" + name); !errors.Is(err, syscall.ELOOP) {
			t.Errorf("%s through a link returned %v", name, err)
		}
	}
	if got := describe(other); got != "precious -rw------- old\n" {
		t.Error(got)
	}
	checkOwner(t, other+"/precious", 0, 0)
}

func takeLock(path string) error {
	l, err := statefile.TryLock(path)
	if err == nil {
		err = l.Write([]byte("x"))
		l.Unlock()
	}
	return err
}

func appendLine(path string) error {
	f, err := statefile.OpenLog(path, 0o600)
	if err == nil {
		_, err = f.WriteString("x")
		err = errors.Join(err, f.Close())
	}
	return err
}

func checkOwner(t *testing.T, path string, uid, gid int) {
	t.Helper()
	info, err := os.Stat(path)
	must(t, err)
	s := info.Sys().(*syscall.Stat_t)
	if int(s.Uid) != uid || int(s.Gid) != gid {
		t.Errorf("%s belongs to %d:%d, want %d:%d", path, s.Uid, s.Gid, uid, gid)
	}
}

// mknodNull makes another null device: the machine's own must never be at risk.
func mknodNull(path string) error { return syscall.Mknod(path, syscall.S_IFCHR|0o666, 1<<8|3) }

func put(path string, mode fs.FileMode) error {
	return errors.Join(os.WriteFile(path, []byte("old"), 0o600), os.Chmod(path, mode))
}

// describe lists what is in a directory: name, mode, and the content of files.
func describe(dir string) string {
	var b strings.Builder
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		info, _ := e.Info()
		fmt.Fprintf(&b, "%s %v", e.Name(), info.Mode())
		if info.Mode().IsRegular() {
			data, _ := os.ReadFile(filepath.Join(dir, e.Name()))
			fmt.Fprintf(&b, " %s", data)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func checkNoTemp(t *testing.T, dir string) {
	t.Helper()
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("temporary files are left: %q", left)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWriteWhole(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "b")
	if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := statefile.WriteWhole(path, 0o600, func(w io.Writer) error {
		_, err := io.WriteString(w, "half")
		return errors.Join(err, errors.New("no space left on device"))
	})
	data, _ := os.ReadFile(path)
	if err == nil || string(data) != "old" {
		t.Errorf("%v, file is %q", err, data)
	}
	size, err := statefile.WriteWhole(path, 0o600, func(w io.Writer) error {
		_, err := io.WriteString(w, "whole")
		return err
	})
	data, _ = os.ReadFile(path)
	entries, _ := os.ReadDir(dir)
	if err != nil || string(data) != "whole" || size != 5 || len(entries) != 1 {
		t.Errorf("%v, %d bytes, %d files, file is %q", err, size, len(entries), data)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, mode %v", err, info.Mode())
	}
}
