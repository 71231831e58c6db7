package statefile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// maxLinks is how many symbolic links may follow one another, as for the kernel.
const maxLinks = 40

// Access modes of access(2).
const (
	mayExecute = 1
	mayWrite   = 2
)

// ErrNotRegular is the error for a device, a pipe, a socket or a directory where a file is needed.
var ErrNotRegular = errors.New("not a regular file")

// notRegular says what is there instead of what is needed.
type notRegular struct {
	mode fs.FileMode
	want string
}

func (e notRegular) Error() string { return "is a " + Kind(e.mode) + ", not a " + e.want }
func (e notRegular) Is(target error) bool {
	return target == ErrNotRegular && e.want == "regular file"
}

// Kind names what a file of that mode is.
func Kind(mode fs.FileMode) string {
	switch {
	case mode.IsRegular():
		return "file"
	case mode.IsDir():
		return "directory"
	case mode&fs.ModeCharDevice != 0:
		return "character device"
	case mode&fs.ModeDevice != 0:
		return "block device"
	case mode&fs.ModeNamedPipe != 0:
		return "named pipe"
	case mode&fs.ModeSocket != 0:
		return "socket"
	}
	return "special file"
}

// Follow returns where a path leads to through symbolic links, the last of which may dangle: the file that Write writes.
func Follow(path string) (string, error) {
	target, err := follow(path)
	return target, named("follow", path, err)
}

// follow returns where a path leads to through symbolic links; the last may dangle. Root does not follow a link of another
// user to what is not that user's.
func follow(path string) (string, error) {
	var links []fs.FileInfo
	for range maxLinks {
		info, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			dir, _ := split(path)
			info, err = os.Stat(dir) // whose directory it is, is whose the file will be
			if errors.Is(err, fs.ErrNotExist) {
				return path, nil
			}
		} else if err == nil && info.Mode()&fs.ModeSymlink != 0 {
			links = append(links, info)
			to, err := os.Readlink(path)
			if err != nil {
				return "", err
			}
			if dir, _ := split(path); !filepath.IsAbs(to) {
				to = dir + string(filepath.Separator) + to
			}
			path = to
			continue
		}
		if err != nil {
			return "", err
		}
		return path, trust(links, info)
	}
	return "", syscall.ELOOP
}

// split is filepath.Dir and filepath.Base, but keeps a/.. where a may be a link.
func split(path string) (dir, name string) {
	dir, name = filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	return dir, name
}

// trust returns an error if one of the links belongs to a user who could lead root astray with it.
func trust(links []fs.FileInfo, target fs.FileInfo) error {
	for _, l := range links {
		if owner, ok := OwnerOf(l); os.Geteuid() == 0 && ok && owner != 0 {
			if there, _ := OwnerOf(target); there != owner {
				return fmt.Errorf("is a link of %s to what belongs to %s", UserName(owner), UserName(there))
			}
		}
	}
	return nil
}

// existing returns what stat says of a file that may be replaced; nil if there is none.
func existing(path string, stat func(string) (fs.FileInfo, error)) (fs.FileInfo, error) {
	info, err := stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, notRegular{info.Mode(), "regular file"}
	case info.Mode()&0o222 == 0: // which would not keep root from writing
		return nil, fmt.Errorf("is read-only (mode %04o): %w", info.Mode().Perm(), fs.ErrPermission)
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok || os.Geteuid() == 0 {
		return info, nil
	}
	if int(s.Uid) != os.Geteuid() {
		return nil, fmt.Errorf("belongs to %s: %w", UserName(int(s.Uid)), fs.ErrPermission)
	}
	groups, err := os.Getgroups()
	if err == nil && int(s.Gid) != os.Getegid() && !slices.Contains(groups, int(s.Gid)) {
		err = fmt.Errorf("belongs to group %d, which it would lose: %w", s.Gid, fs.ErrPermission)
	}
	return info, err
}

// CheckDir returns an error if no file can be made in a directory.
func CheckDir(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	fail := func(err error) error { return fmt.Errorf("directory %s %w", dir, err) }
	switch {
	case !info.IsDir():
		return fail(notRegular{info.Mode(), "directory"})
	case info.Mode()&0o222 == 0: // which would not keep root from writing
		return fail(fmt.Errorf("is read-only (mode %04o): %w", info.Mode().Perm(), fs.ErrPermission))
	}
	if err := syscall.Access(dir, mayWrite|mayExecute); err != nil {
		owner, _ := OwnerOf(info)
		if errors.Is(err, syscall.EROFS) {
			return fail(fmt.Errorf("is on a %w", err))
		}
		return fail(fmt.Errorf("belongs to %s: %w", UserName(owner), err))
	}
	return nil
}

// own gives a new file or directory owner and group of another: a file that it replaces, or its directory. Of the
// directory they are taken by root alone, and from another user alone.
func own(f *os.File, like fs.FileInfo) error {
	mine, err := f.Stat()
	if err != nil {
		return err
	}
	have, ok := mine.Sys().(*syscall.Stat_t)
	want, same := like.Sys().(*syscall.Stat_t)
	if !ok || !same || have.Uid == want.Uid && have.Gid == want.Gid {
		return nil
	}
	if like.IsDir() && (os.Geteuid() != 0 || want.Uid == 0) {
		return nil
	}
	return f.Chown(int(want.Uid), int(want.Gid))
}

// ownAsDir is own for a file that was just made.
func ownAsDir(f *os.File, path string) error {
	dir, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return err
	}
	return own(f, dir)
}

// OwnerOf returns the ID of the user a file belongs to.
func OwnerOf(info fs.FileInfo) (uid int, ok bool) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(s.Uid), true
}

// UserName returns a user's name, or its ID for one that has no name on this machine.
func UserName(uid int) string {
	id := strconv.Itoa(uid)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return "user " + id
}
