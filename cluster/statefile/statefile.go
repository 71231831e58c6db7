// Package statefile reads, writes and locks the files that hold state and configuration. What it writes survives a power
// failure: a reader sees the old content or the new one, never a part of it. Files keep their owner, group and mode, and
// whatever is not a regular file is left as it is.
//
//	err := statefile.Write(layout.SpecFile(), data, 0o600)
package statefile

import (
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Create creates a file that must not exist yet and syncs it to disk: for a directory that is renamed when it is complete.
func Create(path string, data []byte, mode os.FileMode) error {
	dir, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	if err := own(f, dir); err != nil {
		return errors.Join(err, f.Close())
	}
	return errors.Join(fill(f, data), f.Close())
}

// Write makes path hold data: a reader, and a machine that loses power, see the old content or the new one. A symbolic
// link is followed, and its target made if it is missing. A file that exists keeps its owner, group and mode; a new one
// gets mode and, if root writes into the directory of another user, that user as its owner. The error names the path.
func Write(path string, data []byte, mode os.FileMode) error {
	target, err := follow(path)
	if err == nil {
		err = replace(target, data, mode)
	}
	return named("write", path, err)
}

// Replace is Write for a directory that others can write to, such as one that is mounted into a node: a symbolic link there
// is not followed, because it could lead anywhere, but replaced.
func Replace(path string, data []byte, mode os.FileMode) error {
	if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	return named("write", path, replace(path, data, mode))
}

// Check returns the error that Write would return because of what is at path now, or because of its directory, and changes
// nothing. Missing directories do not count, if MkdirAll could make them.
func Check(path string) error {
	target, err := follow(path)
	if err == nil {
		err = check(target)
	}
	return named("write", path, err)
}

func check(target string) error {
	old, err := existing(target, os.Lstat)
	if err == nil && old != nil {
		err = syscall.Access(target, mayWrite) // also fails for an immutable file, and for one that is mounted read-only
	}
	if err != nil {
		return err
	}
	dir, _ := split(target)
	for {
		_, err := os.Stat(dir)
		if !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			return errors.Join(err, CheckDir(dir))
		}
		dir = filepath.Dir(dir)
	}
}

// WriteWhole is Write for what does not fit into memory: path holds what write writes, once that is complete. The file gets that mode, also
// if it exists. It returns the file's size in bytes.
func WriteWhole(path string, mode os.FileMode, write func(io.Writer) error) (size int64, err error) {
	target, err := follow(path)
	if err == nil {
		err = place(target, func(os.FileMode) os.FileMode { return mode }, mode, func(f *os.File) error {
			if err := write(f); err != nil {
				return err
			}
			size, err = f.Seek(0, io.SeekCurrent)
			return errors.Join(err, f.Sync())
		})
	}
	return size, named("write", path, err)
}

// replace replaces a regular file, or makes it.
func replace(path string, data []byte, mode os.FileMode) error {
	keep := func(old os.FileMode) os.FileMode { return old }
	return place(path, keep, mode, func(f *os.File) error { return fill(f, data) })
}

// place replaces a regular file, whose mode becomes what change makes of it, or makes one with that mode. It works through the open
// directory, which stays the same one if somebody renames or replaces it meanwhile. The function write syncs what it writes.
func place(path string, change func(os.FileMode) os.FileMode, mode os.FileMode, write func(*os.File) error) error {
	parent, name := split(path)
	if err := CheckDir(parent); err != nil {
		return err
	}
	dir, err := os.OpenRoot(parent)
	if err != nil {
		return err
	}
	defer dir.Close()
	old, err := existing(name, dir.Lstat)
	if err != nil {
		return err
	}
	if old != nil {
		mode = change(old.Mode().Perm())
	} else if old, err = dir.Stat("."); err != nil {
		return err
	}
	prefix := "." + name[:min(len(name), maxName)] + "-"
	f, temp, err := temporary(dir, prefix)
	if err != nil {
		return err
	}
	defer f.Close() // write has synced it
	err = own(f, old)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = write(f)
	}
	if err == nil {
		err = dir.Rename(temp, name)
	}
	if err != nil {
		_ = dir.Remove(temp) // what went wrong first is what counts
		return err
	}
	sweep(parent, dir, prefix)
	return sync(dir)
}

// temporary makes a file to write to, and locks it for as long as it is open: that tells it from one whose writer was killed.
func temporary(dir *os.Root, prefix string) (*os.File, string, error) {
	for {
		name := prefix + rand.Text()
		f, err := dir.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return nil, "", err
		}
		err = flock(f, syscall.LOCK_EX)
		if unsupported(err) {
			return f, name, nil
		}
		var info fs.FileInfo
		if err == nil {
			info, err = f.Stat()
		}
		if err != nil {
			_ = dir.Remove(name) // what went wrong first is what counts
			return nil, "", errors.Join(err, f.Close())
		}
		if st, ok := info.Sys().(*syscall.Stat_t); !ok || st.Nlink > 0 {
			return f, name, nil
		}
		f.Close() // another writer took it for one that was left, before it was locked
	}
}

// unsupported reports whether a file system has no locks.
func unsupported(err error) bool {
	return errors.Is(err, syscall.ENOSYS) || errors.Is(err, syscall.ENOTSUP) || errors.Is(err, syscall.ENOLCK)
}

// sweep removes the temporary files of writers that were killed. What cannot be removed, the next writer tries again.
func sweep(parent string, dir *os.Root, prefix string) {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) && Temporary(e.Name()) && e.Type().IsRegular() {
			sweepOne(dir, e.Name())
		}
	}
}

// sweepOne removes a temporary file that nobody has locked. Where there are no locks, its age tells.
func sweepOne(dir *os.Root, name string) {
	f, err := dir.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return
	}
	defer f.Close()
	err = flock(f, syscall.LOCK_EX|syscall.LOCK_NB)
	if unsupported(err) {
		if info, statErr := f.Stat(); statErr == nil && time.Since(info.ModTime()) > writeTime {
			err = nil
		}
	}
	if err == nil {
		_ = dir.Remove(name)
	}
}

// writeTime is longer than any writer needs from making its temporary file to renaming it.
const writeTime = time.Minute

// Temporary reports whether a directory's entry has the name of a file that a writer of this package has not finished, or never
// will because it was killed.
func Temporary(name string) bool {
	i := strings.LastIndexByte(name, '-')
	return i > 1 && name[0] == '.' && len(name)-i-1 == len(rand.Text()) && strings.Trim(name[i+1:], "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == ""
}

// maxName leaves room for what a temporary file's name has more: names have at most 255 bytes.
const maxName = 200

// fill writes an open file and syncs it to disk.
func fill(f *os.File, data []byte) error {
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Sync()
}

func sync(dir *os.Root) error {
	d, err := dir.Open(".")
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// SyncDir makes renames in a directory durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// MkdirAll makes a directory and those above it that are missing. What root makes below the directory of another user
// belongs to that user.
func MkdirAll(path string, mode os.FileMode) error {
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		return &fs.PathError{Op: "make directory", Path: path, Err: notRegular{info.Mode(), "directory"}}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := MkdirAll(filepath.Dir(path), mode); err != nil {
		return err
	}
	dir, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	name := filepath.Base(path)
	if err := dir.Mkdir(name, mode); errors.Is(err, fs.ErrExist) {
		return nil // another process was faster
	} else if err != nil {
		return &fs.PathError{Op: "make directory", Path: path, Err: Cause(err)}
	}
	above, err := dir.Stat(".")
	if err != nil {
		return err
	}
	made, err := dir.Open(name)
	if err != nil {
		return err
	}
	defer made.Close()
	return own(made, above)
}

// MkdirTemp makes a directory with a name of its own in dir, which it makes, too, if it is missing.
func MkdirTemp(dir, prefix string) (string, error) {
	path := filepath.Join(dir, prefix+rand.Text())
	return path, MkdirAll(path, 0o700)
}

// named returns err as the failure of op on path; nil if it is nil.
func named(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: path, Err: Cause(err)}
}

// Cause is an error of package os without operation and path, for messages that name them already. Others stay as they are.
func Cause(err error) error {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		return path.Err
	case errors.As(err, &link):
		return link.Err
	}
	return err
}
