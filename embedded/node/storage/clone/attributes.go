//go:build linux

package clone

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// errOther is returned for a file that was replaced after it was looked at.
var errOther = errors.New("replaced meanwhile")

const permissions = 0o7777

// openDir opens the directory name in the directory at.
func openDir(at int, name string) (*os.File, error) {
	fd, err := unix.Openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// list returns the names in an open directory, sorted; none if the directory is gone.
func list(dir *os.File) ([]string, error) {
	if _, err := dir.Seek(0, 0); err != nil {
		return nil, err
	}
	names, err := dir.Readdirnames(-1)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	slices.Sort(names)
	return names, err
}

func statFile(f *os.File) (s unix.Stat_t, err error) {
	return s, wrap("stat", f.Name(), unix.Fstat(int(f.Fd()), &s))
}

func statAt(dir *os.File, name string, s *unix.Stat_t) error {
	return wrap("stat", name, unix.Fstatat(int(dir.Fd()), name, s, unix.AT_SYMLINK_NOFOLLOW))
}

// regular copies a regular file, which must be the one that was looked at.
func regular(ctx context.Context, from, to *os.File, name string, seen unix.Stat_t) error {
	fd, err := unix.Openat(int(from.Fd()), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO) { // a symbolic link or a socket now
		return errOther
	}
	if err != nil {
		return err
	}
	source := os.NewFile(uintptr(fd), name)
	defer source.Close()
	s, err := statFile(source)
	if err != nil {
		return err
	}
	if s.Mode&unix.S_IFMT != unix.S_IFREG || s.Ino != seen.Ino {
		return errOther
	}
	fd, err = unix.Openat(int(to.Fd()), name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	target := os.NewFile(uintptr(fd), name)
	_, err = contents(ctx, source, target)
	if err == nil {
		err = like(source, target, s)
	}
	return errors.Join(err, target.Close())
}

func symlink(from, to *os.File, name string, s unix.Stat_t) error {
	buffer := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(from.Fd()), name, buffer)
	if errors.Is(err, unix.EINVAL) {
		return errOther
	}
	if err != nil {
		return err
	}
	if err := unix.Symlinkat(string(buffer[:n]), int(to.Fd()), name); err != nil {
		return err
	}
	return likeAt(to, name, s)
}

// likeDir gives a directory the owner, permissions, extended attributes and times of another one.
func likeDir(from, to *os.File) error {
	s, err := statFile(from)
	if err != nil {
		return err
	}
	return like(from, to, s)
}

// like gives an open file the attributes of another one. A change of owner takes capabilities away, so it comes first.
func like(from, to *os.File, s unix.Stat_t) error {
	fd := int(to.Fd())
	if err := unix.Fchown(fd, int(s.Uid), int(s.Gid)); err != nil {
		return err
	}
	if err := unix.Fchmod(fd, s.Mode&permissions); err != nil {
		return err
	}
	if err := attributes(int(from.Fd()), fd); err != nil {
		return err
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), []unix.Timespec{s.Atim, s.Mtim}, 0)
}

// likeAt gives what is not opened (a symbolic link, a pipe, a device) the owner, permissions and times in s.
func likeAt(dir *os.File, name string, s unix.Stat_t) error {
	fd := int(dir.Fd())
	if err := unix.Fchownat(fd, name, int(s.Uid), int(s.Gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if s.Mode&unix.S_IFMT != unix.S_IFLNK { // which has no permissions; the copy's directory is nobody else's, so it is what was made
		if err := unix.Fchmodat(fd, name, s.Mode&permissions, 0); err != nil {
			return err
		}
	}
	return unix.UtimesNanoAt(fd, name, []unix.Timespec{s.Atim, s.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
}

// copied reports whether an extended attribute belongs to the file and not to the machine, as a label of SELinux does.
func copied(name string) bool {
	return strings.HasPrefix(name, "user.") || strings.HasPrefix(name, "system.posix_acl_") || name == "security.capability"
}

// attributes copies extended attributes, and removes those that the source has no longer.
func attributes(from, to int) error {
	want, err := attributeNames(from)
	if err != nil {
		return err
	}
	have, err := attributeNames(to)
	if err != nil {
		return err
	}
	for _, name := range have {
		if !slices.Contains(want, name) {
			if err := unix.Fremovexattr(to, name); err != nil && !errors.Is(err, unix.ENODATA) {
				return err
			}
		}
	}
	for _, name := range want {
		size, err := unix.Fgetxattr(from, name, nil)
		if errors.Is(err, unix.ENODATA) {
			continue
		}
		if err != nil {
			return err
		}
		value := make([]byte, size)
		if size, err = unix.Fgetxattr(from, name, value); errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ERANGE) { // changed meanwhile
			continue
		}
		if err != nil {
			return err
		}
		if err := unix.Fsetxattr(to, name, value[:size], 0); err != nil {
			return err
		}
	}
	return nil
}

// attributeNames returns the extended attributes that are copied.
func attributeNames(fd int) ([]string, error) {
	for {
		size, err := unix.Flistxattr(fd, nil)
		if errors.Is(err, unix.ENOTSUP) || err == nil && size == 0 {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		buffer := make([]byte, size)
		size, err = unix.Flistxattr(fd, buffer)
		if errors.Is(err, unix.ERANGE) {
			continue
		}
		if err != nil {
			return nil, err
		}
		names := strings.Split(strings.TrimSuffix(string(buffer[:size]), "\x00"), "\x00")
		return slices.DeleteFunc(names, func(n string) bool { return !copied(n) }), nil
	}
}
